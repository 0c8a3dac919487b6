package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/listen"
	"postern/internal/manage"
)

// hardZone has what denial is hard for.
const hardZone = houseZone + `*.wild TXT "wild"
host.wild A 192.0.2.3
a.b.gap A 192.0.2.4
sub NS ns.sub
ns.sub A 192.0.2.53
sec NS ns.elsewhere.example.
sec DS 4711 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
moved DNAME elsewhere.example.
UPPER TXT "mixed"
sp\032ace TXT "blank"
`

// signedHouse has the zone in two views: the inner one is for 127.0.0.2.
func signedHouse(t *testing.T, policy string) *house {
	t.Helper()
	config := strings.Replace(houseConfig, "[[view]]", "[[view]]\nname = \"inside\"\nclients = [\"127.0.0.2\"]\noverlay = \"external\"\nzones = \"inner\"\n[[view]]", 1)
	return buildWith(t, config+policy, map[string]string{
		"zones/city.example.zone": hardZone, "inner/city.example.zone": "www 300 A 10.0.0.1\nintranet 300 A 10.0.0.2\n",
	})
}

const (
	outside = "127.0.0.1"
	inside  = "127.0.0.2"
)

// signingPolicies are configurations that sign all zones.
func signingPolicies() map[string]string {
	return map[string]string{
		"standard": "[zone_default]\ndnssec = \"standard\"\n",
		"hashed":   "[zone_default]\ndnssec = \"hashed\"\n[dnssec.hashed]\nkeys = \"ksk+zsk\"\ndenial = \"nsec3\"\nalgorithm = \"ed25519\"\n",
		"opt-out":  "[zone_default]\ndnssec = \"out\"\n[dnssec.out]\ndenial = \"nsec3\"\nopt_out = true\nzonemd = \"off\"\nalgorithm = \"ecdsap384sha384\"\n",
	}
}

// ask asks the desk as the command line does.
func ask[T any](h *house, verb string, args any) T {
	h.t.Helper()
	raw, err := json.Marshal(args)
	if err != nil {
		h.t.Fatal(err)
	}
	got, err := h.app.desk.Do(h.t.Context(), manage.Caller{}, verb, raw)
	if err != nil {
		h.t.Fatalf("%s %s: %v", verb, raw, err)
	}
	return got.(T)
}

// dig asks over UDP with DO, from one of our addresses.
func (h *house) dig(from, name string, qtype uint16) *dns.Msg {
	h.t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.SetEdns0(1232, true)
	c := &dns.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}, Timeout: 10 * time.Second}
	r, _, err := c.ExchangeContext(h.t.Context(), m, h.at(listen.UDP).String())
	if err != nil {
		h.t.Fatal(err)
	}
	if r.Truncated || !r.Authoritative {
		h.t.Errorf("%s %s: %v", name, dns.Type(qtype), r)
	}
	return r
}

// anchor is the zone's keys, as the parent's DS vouches for them.
func (h *house) anchor(from string) []*dns.DNSKEY {
	h.t.Helper()
	var trusted, all []*dns.DNSKEY
	delegation := ask[manage.Delegation](h, manage.VerbDNSSECDS, manage.ZoneRef{Zone: "city.example"})
	reply := h.dig(from, "city.example.", dns.TypeDNSKEY)
	for _, rr := range reply.Answer {
		k, ok := rr.(*dns.DNSKEY)
		if !ok {
			continue
		}
		all = append(all, k)
		for _, told := range delegation.Keys {
			for _, text := range told.DS {
				ds, err := dns.NewRR(text)
				if err != nil {
					h.t.Fatal(err)
				}
				if made := k.ToDS(ds.(*dns.DS).DigestType); made != nil && strings.EqualFold(made.Digest, ds.(*dns.DS).Digest) && made.KeyTag == ds.(*dns.DS).KeyTag {
					trusted = append(trusted, k)
				}
			}
		}
	}
	if len(trusted) == 0 {
		h.t.Fatalf("no key of %v is that of %+v", all, delegation)
	}
	verified(h.t, reply.Answer, trusted)
	return all
}

// verified checks the signatures of every set, and returns how many there are.
func verified(t *testing.T, section []dns.RR, keys []*dns.DNSKEY) int {
	t.Helper()
	sets, sigs := map[string][]dns.RR{}, map[string][]*dns.RRSIG{}
	id := func(owner string, rrtype uint16) string {
		return strings.ToLower(owner) + " " + dns.Type(rrtype).String()
	}
	for _, rr := range section {
		if sig, ok := rr.(*dns.RRSIG); ok {
			sigs[id(sig.Hdr.Name, sig.TypeCovered)] = append(sigs[id(sig.Hdr.Name, sig.TypeCovered)], sig)
			continue
		}
		sets[id(rr.Header().Name, rr.Header().Rrtype)] = append(sets[id(rr.Header().Name, rr.Header().Rrtype)], rr)
	}
	for name, set := range sets {
		good := false
		for _, sig := range sigs[name] {
			for _, k := range keys {
				good = good || sig.KeyTag == k.KeyTag() && sig.ValidityPeriod(time.Now()) && sig.Verify(k, set) == nil
			}
		}
		if !good {
			t.Errorf("%s: no good signature among %v", name, sigs[name])
		}
	}
	return len(sets)
}

// proofs are the NSEC or NSEC3 records of a reply.
type proofs []dns.RR

// covers reports whether one of them says that the name does not exist.
func (p proofs) covers(t *testing.T, qname string) bool {
	n := mustName(t, qname)
	return slices.ContainsFunc(p, func(rr dns.RR) bool {
		switch rr := rr.(type) {
		case *dns.NSEC3:
			return rr.Cover(qname)
		case *dns.NSEC:
			owner, after := mustName(t, rr.Hdr.Name), mustName(t, rr.NextDomain)
			return owner.Compare(n) < 0 && (n.Compare(after) < 0 || after.Compare(owner) <= 0)
		}
		return false
	})
}

// types returns what one of them says of the types of a name.
func (p proofs) types(qname string) ([]uint16, bool) {
	for _, rr := range p {
		switch rr := rr.(type) {
		case *dns.NSEC3:
			if rr.Match(qname) {
				return rr.TypeBitMap, true
			}
		case *dns.NSEC:
			if strings.EqualFold(rr.Hdr.Name, qname) {
				return rr.TypeBitMap, true
			}
		}
	}
	return nil, false
}

// denied checks a negative reply: everything in it is signed.
func (h *house) denied(r *dns.Msg, rcode int, keys []*dns.DNSKEY) proofs {
	h.t.Helper()
	if r.Rcode != rcode || len(r.Answer) != 0 {
		h.t.Errorf("not %s: %v", dns.RcodeToString[rcode], r)
	}
	verified(h.t, r.Ns, keys)
	return proofs(r.Ns)
}

func (h *house) asksOver(from, www string) {
	t, keys := h.t, h.anchor(from)
	t.Helper()
	r := h.dig(from, "www.city.example.", dns.TypeA)
	if verified(t, r.Answer, keys) != 1 || len(r.Answer) != 2 || r.Answer[0].(*dns.A).A.String() != www {
		t.Errorf("www from %s: %v", from, r)
	}

	p := h.denied(h.dig(from, "none.b.gap.city.example.", dns.TypeA), dns.RcodeNameError, keys)
	if !p.covers(t, "none.b.gap.city.example.") || !p.covers(t, "*.b.gap.city.example.") {
		t.Errorf("NXDOMAIN from %s is not proven: %v", from, p)
	}
	p = h.denied(h.dig(from, "upper.city.example.", dns.TypeMX), dns.RcodeSuccess, keys)
	if types, ok := p.types("upper.city.example."); !ok || slices.Contains(types, dns.TypeMX) || !slices.Contains(types, dns.TypeTXT) {
		t.Errorf("NODATA from %s is not proven: %v", from, p)
	}
	p = h.denied(h.dig(from, "gap.city.example.", dns.TypeA), dns.RcodeSuccess, keys)
	if types, ok := p.types("gap.city.example."); (!ok || len(types) > 0) && !p.covers(t, "gap.city.example.") {
		t.Errorf("an empty non-terminal from %s is not proven: %v", from, p)
	}
	p = h.denied(h.dig(from, "sub.city.example.", dns.TypeDS), dns.RcodeSuccess, keys)
	types, ok := p.types("sub.city.example.")
	if !ok { // left out: RFC 5155, Section 6
		ok = p.covers(t, "sub.city.example.") && slices.ContainsFunc(p, func(rr dns.RR) bool { n, is := rr.(*dns.NSEC3); return is && n.Flags == 1 })
	} else {
		ok = slices.Contains(types, dns.TypeNS) && !slices.Contains(types, dns.TypeDS) && !slices.Contains(types, dns.TypeSOA)
	}
	if !ok {
		t.Errorf("an insecure delegation from %s is not proven: %v", from, p)
	}
	r = h.dig(from, "sec.city.example.", dns.TypeDS)
	if verified(t, r.Answer, keys) != 1 {
		t.Errorf("DS from %s: %v", from, r)
	}
	r = h.dig(from, "any.wild.city.example.", dns.TypeTXT)
	if verified(t, r.Answer, keys) != 1 || len(r.Answer) != 2 || r.Answer[1].(*dns.RRSIG).Labels != 3 || !proofs(r.Ns).covers(t, "any.wild.city.example.") {
		t.Errorf("the wildcard from %s: %v", from, r)
	}
	verified(t, slices.DeleteFunc(r.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeNS }), keys)
}

// TestSignedZonesAreServed in two views, by each policy: what is asked for is
// proven, one DS opens both, and nothing of it is gone after a restart.
func TestSignedZonesAreServed(t *testing.T) {
	t.Parallel()
	for name, policy := range signingPolicies() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := signedHouse(t, policy)
			h.asksOver(outside, "192.0.2.2")
			h.asksOver(inside, "10.0.0.1")
			keys := h.anchor(inside)
			if verified(t, h.dig(inside, "intranet.city.example.", dns.TypeA).Answer, keys) != 1 {
				t.Error("the inner name is not signed")
			}
			if p := h.denied(h.dig(outside, "intranet.city.example.", dns.TypeA), dns.RcodeNameError, keys); !p.covers(t, "intranet.city.example.") {
				t.Errorf("the inner name is not denied outside: %v", p)
			}
			before := h.signing()
			h.judgedByTools(name)
			h.again()
			if after := h.signing(); after != before {
				t.Errorf("after a restart %s\nbefore %s", after, before)
			}
			h.asksOver(inside, "10.0.0.1")
		})
	}
}

// signing is what operators see of it, which must be whole.
func (h *house) signing() string {
	h.t.Helper()
	zones := ask[[]manage.SignedZone](h, manage.VerbDNSSECStatus, manage.DNSSECArgs{Zone: "city.example"})
	first := time.Now().AddDate(1, 0, 0)
	var lines []string
	for _, z := range zones {
		if z.Signing != manage.SignedBy || z.Policy == "" || len(z.Keys) == 0 || z.Reason != "" || time.Until(z.Expires) < 14*24*time.Hour || time.Until(z.Renews) < time.Hour || !z.Renews.Before(z.Expires) {
			h.t.Errorf("%+v", z)
		}
		if z.Expires.Before(first) {
			first = z.Expires
		}
		lines = append(lines, fmt.Sprintf("%s %v %s %s", z.View, z.Keys, z.Expires, z.Renews))
	}
	if len(lines) != 2 {
		h.t.Errorf("%+v", zones)
	}
	for _, z := range ask[manage.Status](h, manage.VerbStatus, nil).Zones {
		if z.SignedUntil.IsZero() || z.Policy == "" {
			h.t.Errorf("%+v", z)
		}
	}
	if line := "postern_dns_signatures_expire_seconds " + strconv.FormatFloat(float64(first.Unix()), 'g', -1, 64); !h.metric(line) {
		h.t.Errorf("no %s", line)
	}
	for _, line := range []string{
		`postern_dns_zones_parent{state="none"} 1`, `postern_dns_zones_parent{state="unknown"} 0`, `postern_dns_zones_key_alarm{reason="ds-orphan"} 0`,
		"postern_dns_zones_keys_failed 0", "postern_dns_zones_rolling 0", "postern_dns_roll_stepped_seconds 0",
	} {
		if !h.metric(line) {
			h.t.Errorf("no %s", line)
		}
	}
	return strings.Join(lines, "\n")
}

// again stops the appliance and starts it on what it left.
func (h *house) again() {
	h.t.Helper()
	opts := h.app.opts
	if err := h.app.stop(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.app = nil
	opts.Stderr = &bytes.Buffer{}
	cfg, err := opts.load()
	if err != nil {
		h.t.Fatal(err, opts.Stderr)
	}
	if h.app, err = newApp(opts, cfg); err != nil {
		h.t.Fatal(err)
	}
	if err := h.app.start(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// judgedByTools lets other programs look at what is served: those that are
// there.
func (h *house) judgedByTools(policy string) {
	h.t.Helper()
	verify, digest, wildcard := []string{"dnssec-verify", "-q"}, []string{"ldns-verify-zone", "-ZZ"}, "; fully validated"
	if policy != "hashed" {
		verify = append(verify, "-z") // one key for all
	}
	if policy == "opt-out" {
		digest, wildcard = digest[:1], "; unsigned answer" // an opt-out span proves less: RFC 5155, Section 9.2
	}
	for _, view := range []string{"external", "inside"} {
		text := ask[manage.ZonePage](h, manage.VerbZoneExport, manage.ExportArgs{Zone: "city.example", View: view, Signed: true}).Text
		file := view + ".signed"
		h.write(file, text)
		h.tool(append(slices.Clone(verify), "-o", "city.example", file)...)
		h.tool(append(slices.Clone(digest), file)...)
		h.tool("kzonecheck", "-d", "on", "-o", "city.example", file)

		plain := ask[manage.ZonePage](h, manage.VerbZoneExport, manage.ExportArgs{Zone: "city.example", View: view}).Text
		for _, made := range []string{"RRSIG", "DNSKEY", "NSEC", "ZONEMD"} {
			if strings.Contains(plain, "\t"+made+"\t") || strings.Contains(plain, " "+made+" ") {
				h.t.Errorf("%s in what was not signed:\n%s", made, plain)
			}
		}
		if !strings.Contains(plain, "wild") || !strings.Contains(text, "RRSIG") {
			h.t.Errorf("not what was asked for:\n%s\n%s", plain, text)
		}
	}
	h.write("anchors", h.anchors())
	_, port, err := net.SplitHostPort(h.at(listen.UDP).String())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, from := range []string{outside, inside} {
		for _, c := range [][3]string{
			{"www.city.example", "A", "; fully validated"},
			{"any.wild.city.example", "TXT", wildcard},
			{"sec.city.example", "DS", "; fully validated"},
			{"none.b.gap.city.example", "A", "; negative response, fully validated"},
			{"upper.city.example", "MX", "; negative response, fully validated"},
			{"sub.city.example", "DS", "; negative response, fully validated"},
		} {
			out := h.tool("delv", "@127.0.0.1", "-p", port, "-b", from, "-a", "anchors", "+root=city.example", c[0], c[1])
			if out != "" && !strings.Contains(out, c[2]+"\n") {
				h.t.Errorf("delv from %s: no %q in %s", from, c[2], out)
			}
		}
	}
}

// anchors are delv's.
func (h *house) anchors() string {
	var b strings.Builder
	b.WriteString("trust-anchors {\n")
	for _, k := range ask[manage.Delegation](h, manage.VerbDNSSECDS, manage.ZoneRef{Zone: "city.example"}).Keys {
		for _, ds := range k.DS {
			f := strings.Fields(ds) // owner TTL class type tag algorithm digest-type digest
			fmt.Fprintf(&b, "  city.example. static-ds %s %s %s \"%s\";\n", f[4], f[5], f[6], f[7])
		}
	}
	return b.String() + "};\n"
}

// tool runs a program in the house, and returns what it prints; "" where it is
// not there.
func (h *house) tool(args ...string) string {
	h.t.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		h.t.Logf("%s is not there", args[0])
		return ""
	}
	c := exec.CommandContext(h.t.Context(), path, args[1:]...)
	c.Dir = h.dir
	out, err := c.CombinedOutput()
	if err != nil {
		h.t.Errorf("%v: %v\n%s", args, err, out)
	}
	return string(out) + "\n"
}

// TestNoDSWithoutSignatures: what is not signed gets none.
func TestNoDSWithoutSignatures(t *testing.T) {
	t.Parallel()
	h := build(t)
	_, err := h.app.desk.Do(t.Context(), manage.Caller{}, manage.VerbDNSSECDS, []byte(`{"zone":"city.example"}`))
	var refused *manage.Error
	if !errors.As(err, &refused) || refused.Reason != manage.ReasonNotThere || !strings.Contains(refused.Text, "not signed") {
		t.Errorf("%v", err)
	}
	zones := ask[[]manage.SignedZone](h, manage.VerbDNSSECStatus, nil)
	if len(zones) != 1 || zones[0].Signing != manage.Unsigned || len(zones[0].Keys) > 0 || !zones[0].Expires.IsZero() {
		t.Errorf("%+v", zones)
	}
	if !h.metric("postern_dns_signatures_expire_seconds 0") || !h.metric("postern_dns_keyring_created_total 0") {
		t.Error("metrics")
	}
	if _, err := os.Stat(filepath.Join(h.dir, "state", "keys", "dnssec")); err != nil {
		t.Error(err)
	}
}
