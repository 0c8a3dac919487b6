package rollover

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/attest"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/resolver/validate"
	"postern/internal/dns/signer"
	"postern/internal/dns/zone"
)

// The same years with a real zone: each version is signed by dns/signer as the
// plan says, dns/attest judges it, what may meet in caches is judged by the
// resolver's validator, and versions that do something new by programs of others.

const small = `
@ 21600 SOA ns hostmaster 1 3600 900 1209600 3600
@ NS ns
@ MX 10 mail
ns A 192.0.2.1
mail A 192.0.2.2
a.deep.down TXT "below names without records"
*.wild TXT "any"
dn DNAME example.net.
cut NS ns.cut
ns.cut A 192.0.2.3
UpPer.CaSe TXT "in any letters"
dot\.ted TXT "an escaped dot"
sp\032ace A 192.0.2.4
safe NS ns
safe DS 12345 13 2 0000000000000000000000000000000000000000000000000000000000000000
`

// real signs for a world.
type real struct {
	t      *testing.T
	x      *world
	origin name.Name
	nsec3  bool
	keys   map[uint16]dnssec.Key // by the world's tags
	last   *signer.Signed
	uses   map[uint16]Use // that were judged last
	cds    []uint16
	asked  map[string]bool // combinations that were judged
	tools  map[string]int
	novel  map[*content]bool // versions that did something new
	ends   int               // moments before something ended that were looked at
	alone  bool              // nobody else judges versions
}

func newReal(t *testing.T, x *world, nsec3 bool) *real {
	origin, err := name.Parse("example.")
	if err != nil {
		t.Fatal(err)
	}
	r := &real{t: t, x: x, origin: origin, nsec3: nsec3, keys: map[uint16]dnssec.Key{}, asked: map[string]bool{}, tools: map[string]int{}, novel: map[*content]bool{}}
	x.made, x.judge, x.ended = r.made, r.judge, r.ended
	r.made(x.sides[0].contents[0])
	return r
}

// plain signs without randomness, as the keyring's keys do.
type plain struct{ crypto.Signer }

func (p plain) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return p.Signer.Sign(nil, digest, opts)
}

// key is the real key behind one of the world's.
func (r *real) key(tag uint16) dnssec.Key {
	if k, ok := r.keys[tag]; ok {
		return k
	}
	var private crypto.Signer
	var err error
	alg := r.x.algs[tag]
	switch alg {
	case dnssec.ECDSAP256SHA256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case dnssec.ECDSAP384SHA384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case dnssec.RSASHA256:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	flags := uint16(dnssec.FlagZone)
	for _, k := range r.x.s.Keys {
		if k.Tag == tag && k.Role.entry() {
			flags |= dnssec.FlagSEP
		}
	}
	k, err := dnssec.NewKey(r.origin, flags, alg, plain{private})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, other := range r.keys {
		if other.Tag == k.Tag {
			return r.key(tag) // as the keyring does
		}
	}
	r.keys[tag] = k
	return k
}

// inputs are the keys and the policy for a version.
func (r *real) inputs(c *content) ([]dnssec.Key, signer.Policy) {
	p := signer.Policy{
		Model: signer.CSK, Denial: signer.NSEC, ZONEMD: true, DNSKEYTTL: uint32(c.keyTTL / time.Second),
		Validity: 20 * day, Refresh: 16 * day, Ask: signer.Ask{Withdraw: c.remove},
	}
	if r.x.p.Split {
		p.Model = signer.KSKZSK
	}
	if r.nsec3 {
		p.Denial = signer.NSEC3
	}
	var keys []dnssec.Key
	for _, tag := range slices.Sorted(maps.Keys(c.uses)) {
		k := r.key(tag)
		k.Use = dnssec.Use(c.uses[tag])
		keys = append(keys, k)
	}
	for _, tag := range c.cds {
		p.Ask.Keys = append(p.Ask.Keys, r.key(tag))
	}
	return keys, p
}

func (r *real) unsigned(c *content) *zone.Zone {
	b := zone.NewBuilder(r.origin)
	text := strings.Replace(small, " 1 3600", fmt.Sprintf(" %d 3600", c.serial), 1)
	for p := dns.NewZoneParser(strings.NewReader("$TTL 21600\n"+text), "example.", ""); ; {
		rr, ok := p.Next()
		if !ok {
			if p.Err() != nil {
				r.t.Fatal(p.Err())
			}
			break
		}
		if err := b.Add(rr); err != nil {
			r.t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil {
		r.t.Fatal(err)
	}
	return z
}

// made signs a version, by what was signed before, and has it judged.
func (r *real) made(c *content) {
	plain := r.unsigned(c)
	if len(c.uses) == 0 {
		c.zone, r.last, r.uses = plain, nil, nil
		return
	}
	keys, p := r.inputs(c)
	var err error
	if r.last == nil {
		r.last, err = signer.Sign(plain, keys, p, r.x.now)
	} else {
		r.last, err = r.last.Next(plain, keys, p, r.x.now)
	}
	if err != nil {
		r.t.Fatalf("uses %s: %v\n%s", uses(c.uses), err, r.x.story())
	}
	c.zone = r.last.Zone()
	if r.alone {
		return
	}
	judged := attest.Context{ZONEMD: true, Workers: 1}
	for _, k := range keys {
		if k.Use&dnssec.InSet == 0 {
			judged.Outside = append(judged.Outside, k.DNSKEY)
		}
	}
	for _, tag := range r.x.above.target.tags {
		judged.DS = append(judged.DS, r.ds(tag))
	}
	if problems := attest.Check(c.zone, r.x.now, judged); len(problems) > 0 {
		r.t.Fatalf("uses %s: %v\n%s", uses(c.uses), problems, r.x.story())
	}
	if !maps.Equal(c.uses, r.uses) || !slices.Equal(c.cds, r.cds) {
		r.uses, r.cds, r.novel[c] = maps.Clone(c.uses), slices.Clone(c.cds), true
		r.others(c)
	}
}

// ended has others judge a version that some cache is about to lose.
func (r *real) ended(c *content) {
	if r.ends++; r.novel[c] {
		r.others(c)
	}
}

func (r *real) ds(tag uint16) *dns.DS {
	ds, err := dnssec.DS(r.origin, r.key(tag).DNSKEY, dns.SHA256)
	if err != nil {
		r.t.Fatal(err)
	}
	return ds
}

// judge validates data of one version with the keys of another and a DS set.
func (r *real) judge(ds []uint16, keys, data *content) string {
	asked := fmt.Sprint(ds, keys.serial, data.serial)
	if len(ds) == 0 || r.asked[asked] && !r.x.last {
		return ""
	}
	r.asked[asked] = true
	a := validate.Anchor{Zone: r.origin}
	for _, tag := range ds {
		a.DS = append(a.DS, r.ds(tag))
	}
	j := validate.New(validate.Limits{Signatures: 1000})
	k, v := j.Keys(a.Trust(), answer(keys.zone, r.origin, dns.TypeDNSKEY), r.x.now)
	if v.Security != validate.Secure {
		return fmt.Sprintf("keys are %s: %s", v.Security, v.Reason)
	}
	for _, q := range []struct {
		at    string
		rtype uint16
	}{{"example.", dns.TypeSOA}, {"mail.example.", dns.TypeA}, {"example.", dns.TypeCDS}} {
		at, err := name.Parse(q.at)
		if err != nil {
			r.t.Fatal(err)
		}
		if n := data.zone.Node(at); n == nil || n.Set(q.rtype) == nil {
			continue
		}
		if f := j.Set(k, at, q.rtype, answer(data.zone, at, q.rtype), r.x.now); f.Security != validate.Secure {
			return fmt.Sprintf("%s %s is %s: %s", q.at, dns.Type(q.rtype), f.Security, f.Reason)
		}
	}
	return ""
}

// answer is one set of a zone with its signatures, as a server gives it.
func answer(z *zone.Zone, at name.Name, rtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(at.String(), rtype)
	m.Response, m.Authoritative = true, true
	n := z.Node(at)
	if set := n.Set(rtype); set != nil {
		m.Answer = append(m.Answer, set.RRs...)
	}
	if sigs := n.Set(dns.TypeRRSIG); sigs != nil {
		for _, rr := range sigs.RRs {
			if rr.(*dns.RRSIG).TypeCovered == rtype {
				m.Answer = append(m.Answer, rr)
			}
		}
	}
	return m
}

// others has programs of others judge a version, at the world's time.
func (r *real) others(c *content) {
	if r.alone {
		return
	}
	file := r.file(c.zone)
	how, inSet := "-x", 0 // the KSK alone signs the keys
	for tag, u := range c.uses {
		if u&InSet != 0 {
			inSet++
		}
		if k := r.key(tag); k.SEP() && u&SignsData != 0 {
			how = "-z"
		}
	}
	r.runAt(r.x.now, "dnssec-verify", how, "-q", "-o", r.origin.String(), file)
	// kzonecheck 3.2.6 finds no valid signature where a key with the SEP flag
	// signs data and others are in the set; so it says of what dnssec-signzone -z
	// makes, too.
	if how == "-x" || inSet == 1 {
		r.run("kzonecheck", "-v", "-o", r.origin.String(), "-d", "on", "-t", fmt.Sprint(r.x.now.Unix()), file)
	}
	ldns := []string{"-t", r.x.now.UTC().Format("20060102150405"), "-ZZ", file}
	if r.nsec3 {
		return // ldns 1.8.3 never ends where NSEC3 and ZONEMD meet
	}
	r.run("ldns-verify-zone", ldns...)
}

func (r *real) file(z *zone.Zone) string {
	var b strings.Builder
	for n := range z.Nodes() {
		for _, s := range n.Sets {
			for _, rr := range s.RRs {
				fmt.Fprintln(&b, rr)
			}
		}
	}
	file := filepath.Join(r.t.TempDir(), "zone")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return file
}

func (r *real) run(tool string, args ...string) {
	r.wants(true, nil, tool, args...)
}

// runAt runs a tool that takes the time from the clock.
func (r *real) runAt(at time.Time, tool string, args ...string) {
	if env := r.clock(at); env != nil {
		r.wants(true, env, tool, args...)
	}
}

// clock is what makes a program see that time: libfaketime, and the C library's
// allocator before BIND's, which asks for the time too soon. Nil: it is not here.
func (r *real) clock(at time.Time) []string {
	found, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if err != nil || len(found) == 0 {
		if os.Getenv("CI") != "" {
			r.t.Error("libfaketime is not installed")
		}
		return nil
	}
	return []string{"LD_PRELOAD=" + found[0] + ":libc.so.6", "FAKETIME_FMT=%s", fmt.Sprintf("FAKETIME=%d", at.Unix())}
}

// wants has a tool say well or not.
func (r *real) wants(well bool, env []string, tool string, args ...string) {
	path, err := exec.LookPath(tool)
	if err != nil {
		if os.Getenv("CI") != "" {
			r.t.Errorf("%s is not installed", tool)
		}
		return
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	r.tools[tool]++
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err == nil != well {
		r.t.Errorf("%s %s: %v\n%s\n%s", tool, strings.Join(args, " "), err, out, r.x.story())
		r.x.wrong = append(r.x.wrong, tool)
	}
}

// tooLate shows that who is told the time goes by it: weeks later the signatures
// have expired.
func (r *real) tooLate() {
	file, at, how := r.file(r.last.Zone()), r.x.now.Add(40*day), "-z"
	if r.x.p.Split {
		how = "-x"
	}
	r.runAt(r.x.now, "dnssec-verify", how, "-q", "-o", r.origin.String(), file)
	if env := r.clock(at); env != nil {
		r.wants(false, env, "dnssec-verify", how, "-q", "-o", r.origin.String(), file)
	}
	r.wants(false, nil, "kzonecheck", "-o", r.origin.String(), "-d", "on", "-t", fmt.Sprint(at.Unix()), file)
	if !r.nsec3 {
		r.wants(false, nil, "ldns-verify-zone", "-t", at.UTC().Format("20060102150405"), file)
	}
}

func TestRealYear(t *testing.T) {
	t.Parallel()
	for _, l := range lives() {
		for _, denial := range []string{"nsec", "nsec3"} {
			short := l.name == "algorithm" && denial == "nsec3" || l.name == "csk" && denial == "nsec"
			if !short && os.Getenv("POSTERN_PROVE") == "" {
				continue
			}
			t.Run(l.name+"/"+denial, func(t *testing.T) {
				t.Parallel()
				x := newWorld(t, l.p, trouble{kinds: []string{"lagging", "good"}}, 3)
				r := newReal(t, x, denial == "nsec3")
				l.live(x)
				if len(x.wrong) > 0 {
					t.Fatal(x.story())
				}
				if x.steps < l.least || len(r.asked) < 20 {
					t.Errorf("%d steps, %d combinations: too few to show anything", x.steps, len(r.asked))
				}
				t.Logf("%d steps, %d combinations, %d moments before something ended, runs of tools %v", x.steps, len(r.asked), r.ends, r.tools)
				r.tooLate()
				if r.ends < 100 {
					t.Error("too little ended")
				}
			})
		}
	}
}

// TestRealYearBroken: the resolver's validator alone notices a machine that does
// not wait.
func TestRealYearBroken(t *testing.T) {
	t.Parallel()
	for _, broken := range []fault{noGuard, noTTL, noSecondaries, noDSGone, noDSTTL} {
		t.Run(broken.String(), func(t *testing.T) {
			t.Parallel()
			l := lives()[0]
			l.p.broken = broken
			x := newWorld(t, l.p, trouble{kinds: []string{"lagging", "good"}}, 3)
			newReal(t, x, false).alone = true
			x.earnest = true
			if l.live(x); len(x.wrong) == 0 {
				t.Error("it did not notice")
			}
			t.Log(x.wrong)
		})
	}
}
