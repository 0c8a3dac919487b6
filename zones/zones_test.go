package zones_test

import (
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/view"
	"postern/internal/dns/zonefile"
	"postern/internal/dns/zonelint"
	"postern/zones"
)

func TestRootHints(t *testing.T) {
	t.Parallel()
	records, problems := zonefile.Parse(strings.NewReader(zones.RootHints), "root.hints", name.Root, zonefile.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	count := map[uint16]int{}
	servers := map[string]bool{}
	for _, r := range records {
		count[r.RR.Header().Rrtype]++
		if ns, ok := r.RR.(*dns.NS); ok {
			servers[ns.Ns] = true
		}
	}
	if count[dns.TypeNS] != 13 || count[dns.TypeA] != 13 || count[dns.TypeAAAA] != 13 || len(servers) != 13 {
		t.Errorf("%v %v", count, servers)
	}
}

func TestTrustAnchor(t *testing.T) {
	t.Parallel()
	records, problems := zonefile.Parse(strings.NewReader("$TTL 3600\n"+zones.TrustAnchor), "root.anchor", name.Root, zonefile.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	tags := map[uint16]bool{}
	for _, r := range records {
		if ds, ok := r.RR.(*dns.DS); ok && ds.Hdr.Name == "." && ds.Algorithm == dns.RSASHA256 && ds.DigestType == dns.SHA256 && len(ds.Digest) == 64 {
			tags[ds.KeyTag] = true
		}
	}
	if len(records) != 2 || !tags[20326] || !tags[38696] {
		t.Error(records)
	}
}

// The examples teach: they have not even a note.
func TestExamplesAreSound(t *testing.T) {
	t.Parallel()
	origin, err := name.Parse("example.test")
	if err != nil {
		t.Fatal(err)
	}
	load := func(file string) []zonefile.Record {
		text, err := fs.ReadFile(zones.Examples, file)
		if err != nil {
			t.Fatal(err)
		}
		records, problems := zonefile.Parse(strings.NewReader(string(text)), path.Base(file), origin, zonefile.Options{})
		if len(problems) > 0 {
			t.Error(problems)
		}
		return records
	}
	external := load("external/example.test.zone")
	inside, problems := view.Materialise(view.Overlay{
		Origin: origin, File: "internal", Notes: true, External: external, Internal: load("internal/example.test.zone"),
	})
	problems = append(problems, zonelint.Check(external, origin, zonelint.Context{Exposure: zonelint.Public, Notes: true})...)
	problems = append(problems, zonelint.Check(inside, origin, zonelint.Context{Exposure: zonelint.Inside, Notes: true})...)
	if len(problems) > 0 {
		t.Error(problems)
	}
}
