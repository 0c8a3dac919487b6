package manage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/dns/authority"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/signer"
)

// openSigned is an office whose zone city.example is signed in both views;
// alone.example is not, bad.example cannot be, and file.example was by others.
func openSigned(t *testing.T) *office {
	t.Helper()
	o := open(t)
	o.must(os.Mkdir(filepath.Join(o.dir, "keys"), 0o700))
	o.must(os.WriteFile(filepath.Join(o.dir, "keys", "bad.example+013+00001.key"), []byte("no key\n"), 0o600))
	ring, err := keyring.Open(filepath.Join(o.dir, "keys"))
	o.must(err)
	policy := &authority.SignPolicy{Name: "standard", Model: signer.CSK, Algorithm: dnssec.ECDSAP256SHA256, Denial: signer.NSEC, ZONEMD: true}
	cfg := authority.Config{
		Views: []authority.ViewConfig{
			{Name: "in", Dir: filepath.Join(o.dir, "in"), Overlay: "out"},
			{Name: "out", Dir: filepath.Join(o.dir, "out")},
		},
		StateDir: filepath.Join(o.dir, "signed"), External: "out", Poll: -1, Log: o.cfg.Log,
		Keys: ring, Signing: map[string]*authority.SignPolicy{"city.example.": policy, "bad.example.": policy},
	}
	o.write("out/bad.example.zone", cityZone)
	o.write("out/file.example.zone", cityZone+presigned)
	zones, err := authority.New(cfg)
	o.must(err)
	o.must(zones.Start(t.Context()))
	o.later(zones.Stop)
	o.cfg.Authority, o.cfg.Keys = zones, ring
	o.desk = New(o.cfg)
	return o
}

// presigned is as much of a signed zone as is looked at.
const presigned = `@ DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==
@ RRSIG SOA 13 2 300 20991231000000 20200101000000 55648 file.example. AAAA
`

func TestSigningIsShown(t *testing.T) {
	t.Parallel()
	o := openSigned(t)
	for _, c := range []struct{ zone, reason, names string }{
		{"..", ReasonUsage, ".."}, {"none.example", ReasonUnknown, "none.example"},
	} {
		_, e := do[any](o, VerbDNSSECStatus, DNSSECArgs{Zone: c.zone})
		o.refused(e, c.reason, c.names)
		_, e = do[any](o, VerbDNSSECDS, ZoneRef{Zone: c.zone})
		o.refused(e, c.reason, c.names)
	}
	all, e := do[[]SignedZone](o, VerbDNSSECStatus, nil)
	if e != nil {
		t.Fatal(e)
	}
	got := map[string]SignedZone{}
	for _, z := range all {
		got[z.Zone+" "+z.View] = z
	}
	if z := got["alone.example. out"]; z.Signing != Unsigned || z.Failed() || len(z.Keys) > 0 || !z.Expires.IsZero() || z.Policy != "" {
		t.Errorf("%+v", z)
	}
	if z := got["bad.example. out"]; z.Signing != Unsigned || z.Reason != authority.ReasonSign || !z.Failed() || z.Problem == "" {
		t.Errorf("%+v", z)
	}
	if z := got["file.example. out"]; z.Signing != Presigned || z.Failed() || len(z.Keys) != 1 || z.Keys[0].Role != "ksk" || z.Policy != "" {
		t.Errorf("%+v", z)
	}
	for _, at := range []string{"city.example. in", "city.example. out"} {
		z := got[at]
		if z.Signing != SignedBy || z.Failed() || z.Policy != "standard" || len(z.Keys) != 1 || z.Keys[0].Role != "csk" || z.Keys[0].Algorithm != "ecdsap256sha256" ||
			!z.Renews.After(time.Now()) || !z.Expires.After(z.Renews) {
			t.Errorf("%s: %+v", at, z)
		}
	}
	if one, e := do[[]SignedZone](o, VerbDNSSECStatus, DNSSECArgs{Zone: "City.example"}); e != nil || len(one) != 2 {
		t.Errorf("%v %+v", e, one)
	}
	listed, _ := do[[]Zone](o, VerbZoneList, nil)
	for _, z := range listed {
		if (z.Policy == "standard") != (z.Zone == "city.example.") || z.SignedUntil.IsZero() == (z.Zone == "city.example.") {
			t.Errorf("%+v", z)
		}
	}
}

func TestDelegationIsOfWhatIsServed(t *testing.T) {
	t.Parallel()
	o := openSigned(t)
	o.peers.list = []Secondary{
		{Zone: "city.example.", View: "out", Peer: "isp", Address: "192.0.2.53:53", State: SecondaryLagging},
		{Zone: "city.example.", View: "out", Peer: "isp", Address: "192.0.2.54:53", State: SecondaryOK},
		{Zone: "alone.example.", View: "out", Peer: "isp", Address: "192.0.2.55:53", State: SecondaryLagging},
	}
	to, e := do[Delegation](o, VerbDNSSECDS, ZoneRef{Zone: "city.example"})
	if e != nil || to.Zone != "city.example." || len(to.Keys) != 1 || len(to.Keys[0].DS) != 1 ||
		!strings.HasPrefix(to.Keys[0].DNSKEY, "city.example. ") || !strings.Contains(to.Keys[0].DNSKEY, "DNSKEY 257 3 13 ") ||
		!strings.Contains(to.Keys[0].Text, "SHA-256") || to.Keys[0].Key.Role != "csk" {
		t.Fatalf("%v %+v", e, to)
	}
	if len(to.Behind) != 1 || to.Behind[0] != "isp 192.0.2.53:53 is lagging" {
		t.Errorf("%v", to.Behind)
	}
	if inner, e := do[Delegation](o, VerbDNSSECDS, ZoneRef{Zone: "city.example", View: "in"}); e != nil || inner.Keys[0].DS[0] != to.Keys[0].DS[0] || len(inner.Behind) > 0 {
		t.Errorf("%v %+v", e, inner)
	}
	if others, e := do[Delegation](o, VerbDNSSECDS, ZoneRef{Zone: "file.example"}); e != nil || len(others.Keys) != 1 {
		t.Errorf("%v %+v", e, others)
	}
	_, e = do[any](o, VerbDNSSECDS, ZoneRef{Zone: "alone.example"})
	o.refused(e, ReasonNotThere, "alone.example. is not signed")
}

// TestOneDSForAllViews: where they show different keys, it must be said which.
func TestOneDSForAllViews(t *testing.T) {
	t.Parallel()
	o := openSigned(t)
	o.write("in/file.example.zone", "@ 300 DNSKEY 257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==\n")
	_, err := o.cfg.Authority.Reload(t.Context())
	o.must(err)
	_, e := do[any](o, VerbDNSSECDS, ZoneRef{Zone: "file.example"})
	o.refused(e, ReasonUsage, "other keys")
	if _, e := do[Delegation](o, VerbDNSSECDS, ZoneRef{Zone: "file.example", View: "out"}); e != nil {
		t.Error(e)
	}
}

// TestExportIsPlainUnlessAsked, of zones that we sign; those that others signed
// have one form.
func TestExportIsPlainUnlessAsked(t *testing.T) {
	t.Parallel()
	o := openSigned(t)
	for _, c := range []struct {
		args   ExportArgs
		signed bool
	}{
		{ExportArgs{Zone: "city.example", View: "out"}, false},
		{ExportArgs{Zone: "city.example", View: "in"}, false},
		{ExportArgs{Zone: "city.example", View: "in", Signed: true}, true},
		{ExportArgs{Zone: "alone.example", View: "out", Signed: true}, false},
		{ExportArgs{Zone: "alone.example", View: "in"}, false},
		{ExportArgs{Zone: "file.example", View: "out"}, true},
		{ExportArgs{Zone: "file.example", View: "in", Signed: true}, true},
	} {
		text, e := do[Text](o, VerbZoneExport, c.args)
		if e != nil || !strings.Contains(text.Text, "192.0.2.1") {
			t.Fatalf("%+v: %v %s", c.args, e, text.Text)
		}
		if strings.Contains(text.Text, "RRSIG") != c.signed || strings.Contains(text.Text, "DNSKEY") != c.signed {
			t.Errorf("%+v:\n%s", c.args, text.Text)
		}
	}
}
