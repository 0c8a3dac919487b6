package keyring

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
)

func TestDelegateRefusesAZSK(t *testing.T) {
	t.Parallel()
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	if d, err := Delegate(made(t, r, parsed(t, "example.test"), ZSK, dnssec.ED25519)); err == nil {
		t.Errorf("got %v", d)
	}
}

// The text for the registrar, made of a kept key; dnssec-dsfromkey gave the
// digests.
func TestDelegationText(t *testing.T) {
	t.Parallel()
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	keys, err := r.Import(parsed(t, "example.test"), noon(), kept(bindCSK+".key", bindCSK+".private")...)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Delegate(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := golden(t, "delegation.want"); d.String() != want {
		t.Errorf("got\n%swant\n%s", d, want)
	}
	// It is a zone file.
	parser := dns.NewZoneParser(strings.NewReader(d.String()), "", "")
	parser.SetDefaultTTL(60)
	count := 0
	for _, ok := parser.Next(); ok; _, ok = parser.Next() {
		count++
	}
	if parser.Err() != nil || count != 2 {
		t.Errorf("%d records, %v", count, parser.Err())
	}
}
