package manage

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"postern/internal/dns/authority"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

// bindKey is a key as BIND keeps it, and its tag.
func bindKey(t *testing.T, zone string, flags uint16) ([]KeyFile, uint16) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n, err := name.Parse(zone)
	if err != nil {
		t.Fatal(err)
	}
	k, err := dnssec.NewKey(n, flags, dnssec.ECDSAP256SHA256, private)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	stem := fmt.Sprintf("K%s+013+%05d", n, k.Tag)
	text := "Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: " + base64.StdEncoding.EncodeToString(scalar) + "\n"
	return []KeyFile{{stem + ".private", []byte(text)}, {stem + ".key", []byte(k.DNSKEY.String() + "\n")}}, k.Tag
}

func TestKeysAreRolled(t *testing.T) {
	t.Parallel()
	o := openSigned(t)
	for _, c := range []struct {
		args   RollArgs
		reason string
		names  string
	}{
		{RollArgs{Zone: ".."}, ReasonUsage, ".."},
		{RollArgs{Zone: "city.example", KSK: true, ZSK: true}, ReasonUsage, "not several"},
		{RollArgs{Zone: "city.example", KSK: true, Algorithm: "ed25519"}, ReasonUsage, "not several"},
		{RollArgs{Zone: "city.example", Algorithm: "rsamd5"}, ReasonUsage, "rsamd5"},
		{RollArgs{Zone: "city.example", Algorithm: "ed25519"}, authority.ReasonOther, "change it there first"},
		{RollArgs{Zone: "city.example", Algorithm: "ecdsap256sha256"}, authority.ReasonNoKeys, "already"},
		{RollArgs{Zone: "alone.example"}, authority.ReasonUnsigned, "no policy signs"},
		{RollArgs{Zone: "none.example"}, authority.ReasonUnsigned, "no policy signs"},
	} {
		_, e := do[any](o, VerbDNSSECRoll, c.args)
		o.refused(e, c.reason, c.names)
	}
	rows, e := do[[]SignedZone](o, VerbDNSSECRoll, RollArgs{Zone: "city.example"})
	if e != nil || len(rows) != 2 || len(rows[0].Keys) != 2 || rows[0].Next == "" || rows[0].Parent != ParentUnknown {
		t.Fatalf("%v %+v", e, rows)
	}
	_, e = do[any](o, VerbDNSSECRoll, RollArgs{Zone: "city.example"})
	o.refused(e, authority.ReasonUnder, "under way")
	for _, undo := range []bool{false, true} {
		if rows, e := do[[]SignedZone](o, VerbDNSSECDisable, DisableArgs{Zone: "city.example", Undo: undo}); e != nil || len(rows) != 2 {
			t.Errorf("%v %+v", e, rows)
		}
		_, e := do[any](o, VerbDNSSECDS, ZoneRef{Zone: "city.example"})
		if undo {
			if e != nil {
				t.Error(e)
			}
			continue
		}
		o.refused(e, ReasonNotThere, "loses its signatures")
	}
	_, e = do[any](o, VerbDNSSECDisable, DisableArgs{Zone: "alone.example"})
	o.refused(e, authority.ReasonUnsigned, "no policy signs")
}

func TestKeysAreImported(t *testing.T) {
	t.Parallel()
	o := openSigned(t)
	files, tag := bindKey(t, "alone.example.", 257)
	_, e := do[any](o, VerbDNSSECImport, ImportArgs{Zone: "alone.example"})
	o.refused(e, ReasonUsage, "no files")
	_, e = do[any](o, VerbDNSSECImport, ImportArgs{Zone: "alone.example", Files: files[:1]})
	o.refused(e, ReasonFailed, "no public part")
	_, e = do[any](o, VerbDNSSECImport, ImportArgs{Zone: "city.example", Adopt: true, Files: files})
	o.refused(e, authority.ReasonKeys, "dnssec roll")
	done, e := do[Imported](o, VerbDNSSECImport, ImportArgs{Zone: "alone.example", Adopt: true, Files: files})
	if e != nil || len(done.Keys) != 1 || done.Keys[0].Tag != tag || done.Keys[0].Role != "csk" {
		t.Fatalf("%v %+v", e, done)
	}
	// No policy signs it yet: one that fits is told.
	if want := "[zone.\"alone.example\"]\ndnssec = \"imported\"\n\n[dnssec.imported]\nalgorithm = \"ecdsap256sha256\"\nkeys = \"csk\"\n"; done.Policy != want {
		t.Errorf("policy %q", done.Policy)
	}
	if again, e := do[Imported](o, VerbDNSSECImport, ImportArgs{Zone: "alone.example", Adopt: true, Files: files}); e == nil {
		t.Errorf("%+v", again)
	}
}

// TestKeysAreNotLogged: the log of what operators did has no private key.
func TestKeysAreNotLogged(t *testing.T) {
	t.Parallel()
	files, _ := bindKey(t, "city.example.", 257)
	raw, err := json.Marshal(ImportArgs{Zone: "city.example", Adopt: true, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	if line := told(raw); strings.Contains(line, "text") || strings.Contains(line, base64.StdEncoding.EncodeToString(files[0].Text)) || !strings.Contains(line, "city.example") {
		t.Errorf("%s", line)
	}
}
