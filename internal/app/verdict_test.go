package app

import (
	"bufio"
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/mail/envelope"
	"postern/internal/mail/message"
	"postern/internal/mail/seal"
	"postern/internal/mail/smtpd"
)

const verdictConfig = `[server]
hostname = "edge.city.example"
state    = "state"
control  = "c.sock"
[[listen]]
serve   = "mx"
address = ["127.0.0.1:0"]
[[view]]
name    = "external"
clients = ["any"]
zones   = "zones"
[resolver]
validate   = false
root_hints = "root.hints"
[resolver.test]
upstream_map = "map"
allow_private_upstream = true
timeout = "200ms"
special_use = false
[mail]
domains = ["city.example"]
[mail.route."city.example"]
next_hop = ["smtp://127.0.0.1:1"]
[mail.outbound]
mode = "hold"
[limits]
exempt = ["127.0.0.0/8"]
`

// tree is the DNS of the world: a server of records in zone-file form, by owner
// and type, that is authoritative for everything. A name with anything at or
// below it exists. The text SERVFAIL makes a question fail.
type tree map[string][]string

func (d tree) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	asked := q.Question[0]
	at := strings.ToLower(asked.Name)
	kind := dns.TypeToString[asked.Qtype]
	if target := d[at+" CNAME"]; target != nil {
		m.Answer = append(m.Answer, record(at, "CNAME", target[0]))
		at = target[0]
	}
	for _, data := range d[at+" "+kind] {
		if data == "SERVFAIL" {
			m.Rcode = dns.RcodeServerFailure
			break
		}
		m.Answer = append(m.Answer, record(at, kind, data))
	}
	if len(m.Answer) == 0 && m.Rcode == dns.RcodeSuccess {
		if !d.exists(at) {
			m.Rcode = dns.RcodeNameError
		}
		m.Ns = []dns.RR{record(".", "SOA", "ns.root. host.root. 1 7200 3600 1209600 300")}
	}
	_ = w.WriteMsg(m) // a lost reply fails the question
}

func (d tree) exists(at string) bool {
	for k := range d {
		owner, _, _ := strings.Cut(k, " ")
		if owner == at || strings.HasSuffix(owner, "."+at) {
			return true
		}
	}
	return false
}

func record(at, kind, data string) dns.RR {
	rr, err := dns.NewRR(at + " 300 IN " + kind + " " + data)
	if err != nil {
		panic(err) // a record that a test wrote
	}
	return rr
}

// serve answers on a port of loopback until the test ends.
func (d tree) serve(t *testing.T) string { t.Helper(); return serveDNS(t, d) }

func serveDNS(t *testing.T, d dns.Handler) string {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: udp, Handler: d}
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		udp.Close()
		<-ended
	})
	return udp.LocalAddr().String()
}

// verdictHouse is an appliance before a world with that DNS.
func verdictHouse(t *testing.T, world tree, config string, files map[string]string) *house {
	t.Helper()
	all := map[string]string{
		"root.hints": ". 3600 NS ns.root.\nns.root. 3600 A 192.0.2.1\n",
		"map":        "192.0.2.1 " + world.serve(t) + "\n",
	}
	for name, text := range files {
		all[name] = text
	}
	return buildWith(t, config, all)
}

// dialogue is one connection to port 25 from an address of loopback.
type dialogue struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// mxAddr is where port 25 is.
func (h *house) mxAddr() string {
	addr := ""
	h.app.doors.each(func(k doorKey, s *smtpd.Server) {
		if k.name == "mx" {
			addr = s.Addr().String()
		}
	})
	return addr
}

func (h *house) connect(from, helo string) *dialogue {
	h.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(h.t.Context(), "tcp", h.mxAddr())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	d := &dialogue{h.t, conn, bufio.NewReader(conn)}
	d.read()
	d.say("EHLO " + helo)
	return d
}

func (d *dialogue) say(line string) string {
	d.t.Helper()
	if _, err := io.WriteString(d.conn, line+"\r\n"); err != nil {
		d.t.Fatal(err)
	}
	return d.read()
}

// read is one reply, its lines joined.
func (d *dialogue) read() string {
	d.t.Helper()
	var all []string
	for {
		line, err := d.in.ReadString('\n')
		if err != nil {
			d.t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(line[min(4, len(line)):]))
		if len(line) < 4 || line[3] != '-' {
			return line[:min(4, len(line))] + strings.Join(all, " ")
		}
	}
}

// send is one transaction; the answer is the last reply.
func (d *dialogue) send(from, msg string) string { return d.sendTo(from, "b", msg) }

func (d *dialogue) sendTo(from, to, msg string) string {
	d.t.Helper()
	for _, line := range []string{"MAIL FROM:<" + from + ">", "RCPT TO:<" + to + "@city.example>", "DATA"} {
		if r := d.say(line); r[0] != '2' && r[0] != '3' {
			d.say("RSET")
			return r
		}
	}
	return d.say(strings.ReplaceAll(msg, "\r\n.", "\r\n..") + "\r\n.")
}

var queuedAs = regexp.MustCompile(`^250 2\.0\.0 queued as (\S+)$`)

// outcome is what became of a message, in words: "accept", "hold" or the reply;
// of what was taken, our results too.
func (h *house) outcome(reply string) (word string, header *message.Header) {
	h.t.Helper()
	m := queuedAs.FindStringSubmatch(reply)
	if m == nil {
		return reply, nil
	}
	e, err := h.app.queue.Show(envelope.ID(m[1]))
	if err != nil {
		h.t.Fatal(err)
	}
	stored, err := h.app.spool.Load(e.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	defer stored.Close()
	if header, err = message.Parse(stored.Header()); err != nil {
		h.t.Fatal(err)
	}
	word = "accept"
	if e.Phase == "held" {
		word = "hold " + e.Reason
	}
	return word, header
}

func results(h *message.Header) string {
	if h == nil {
		return ""
	}
	f, _ := h.First("Authentication-Results")
	return strings.Join(strings.Fields(f.Value()), " ")
}

// pen signs for any domain with one key.
type pen struct {
	key ed25519.PrivateKey
	txt string
}

func newPen(t *testing.T) *pen {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.NewChaCha8([32]byte{7}))
	if err != nil {
		t.Fatal(err)
	}
	return &pen{key, `"v=DKIM1; k=ed25519; p=` + base64.StdEncoding.EncodeToString(pub) + `"`}
}

// sign puts signatures for domains in front of a message.
func (p *pen) sign(t *testing.T, msg string, domains ...string) string {
	t.Helper()
	header, body, _ := strings.Cut(msg, "\r\n\r\n")
	var keys []seal.Key
	for _, d := range domains {
		keys = append(keys, seal.Key{Domain: d, Selector: "s", Signer: p.key})
	}
	sigs, err := seal.Sign([]byte(header+"\r\n"), strings.NewReader(body), keys)
	if err != nil {
		t.Fatal(err)
	}
	return string(sigs) + msg
}

// strict is a DNS tree of domains by what their records say. Those that send,
// send from 127.0.0.2.
func (p *pen) world() tree {
	d := tree{"edge.city.example. A": {"127.0.0.1"}}
	spf := []string{`"v=spf1 ip4:127.0.0.2 -all"`}
	for name, records := range map[string][]string{
		"reject.example":           {"v=DMARC1; p=reject"},
		"quarantine.example":       {"v=DMARC1; p=quarantine"},
		"nothing.example":          {"v=DMARC1; p=none"},
		"late.example":             {"p=reject; v=DMARC1"},
		"lower.example":            {"v=dmarc1; p=reject"},
		"twice.example":            {"v=DMARC1; p=reject", "v=DMARC1; p=reject; t=n"},
		"among.example":            {"v=spf1 -all", "v=DMARC1; p=reject", "google-site-verification=x"},
		"pct.example":              {"v=DMARC1; p=reject; pct=0; ri=1; rf=afrf; x=y"},
		"missing.example":          {"v=DMARC1; rua=mailto:a@missing.example"},
		"bad.example":              {"v=DMARC1; p=rejekt"},
		"badrua.example":           {"v=DMARC1; p=rejekt; rua=mailto:a@x.example!10m"},
		"badsp.example":            {"v=DMARC1; p=reject; sp=rejekt"},
		"badnp.example":            {"v=DMARC1; p=reject; np="},
		"caps.example":             {"v=DMARC1; p=REJECT; ASPF=s; aspf=S"},
		"spaces.example":           {"v = DMARC1\t;\t p =  reject ; ; "},
		"junk.example":             {"v=DMARC1; p=reject; nonsense; =; fo=zz; adkim=q"},
		"order.example":            {"v=DMARC1; rua=mailto:a@order.example; sp=none; p=reject"},
		"split.example":            {`v=DMARC1; p=rej" "ect`},
		"ty.example":               {"v=DMARC1; p=reject; t=y"},
		"tyq.example":              {"v=DMARC1; p=quarantine; t=Y"},
		"tyn.example":              {"v=DMARC1; p=none; t=y"},
		"tx.example":               {"v=DMARC1; p=reject; t=x"},
		"sp.example":               {"v=DMARC1; p=reject; sp=quarantine"},
		"spnone.example":           {"v=DMARC1; p=reject; sp=none"},
		"np.example":               {"v=DMARC1; p=none; sp=none; np=reject"},
		"npsp.example":             {"v=DMARC1; p=none; sp=quarantine"},
		"own.sp.example":           {"v=DMARC1; p=none"},
		"bank.example":             {"v=DMARC1; p=reject; psd=y"},
		"giant.bank.example":       {"v=DMARC1; p=quarantine"},
		"unit.np.example":          {"v=DMARC1; p=reject; psd=n"},
		"psdu.example":             {"v=DMARC1; p=reject; psd=u"},
		"spf.example":              {"v=DMARC1; p=reject; aspf=s"},
		"dkim.example":             {"v=DMARC1; p=reject; adkim=s"},
		"e.f.g.h.i.deep.example":   {"v=DMARC1; p=quarantine"}, // seven labels
		"d.e.f.g.h.i.deep.example": {"v=DMARC1; p=none"},       // eight
		"deep.example":             {"v=DMARC1; p=reject"},
		"test":                     {"v=DMARC1; p=quarantine"},
		"xn--bcher-kva.example":    {"v=DMARC1; p=reject"},
		"broken.example":           {"SERVFAIL"},
		"middle.broken.example":    {"v=DMARC1; p=reject"},
		"strict.broken.example":    {"v=DMARC1; p=reject; aspf=s; adkim=s"},
		"keyless.example":          {"v=DMARC1; p=reject"},
		"keylessnothing.example":   {"v=DMARC1; p=none"},
	} {
		for _, r := range records {
			if r != "SERVFAIL" {
				r = `"` + r + `"`
			}
			d["_dmarc."+name+". TXT"] = append(d["_dmarc."+name+". TXT"], r)
		}
	}
	for _, name := range strings.Fields(`reject quarantine nothing sub.reject spf sub.spf dkim deep stranger notreject spnone
		a.sp own.sp a.giant.bank giant.bank a.mega.bank np unit.np a.unit.np xn--bcher-kva sub.xn--bcher-kva mail.late soft
		middle.broken strict.broken sub.strict.broken a.psdu psdu`) {
		d[name+".example. TXT"] = spf
	}
	d["soft.example. TXT"] = []string{`"v=spf1 ip4:127.0.0.99 ~all"`}
	d["neutral.reject.example. TXT"] = []string{`"v=spf1 ?all"`}
	d["softfail.reject.example. TXT"] = []string{`"v=spf1 ~all"`}
	d["spferror.reject.example. TXT"] = []string{"SERVFAIL"}
	for _, name := range strings.Fields("reject sub.reject dkim sub.dkim stranger notreject np giant.bank") {
		d["s._domainkey."+name+".example. TXT"] = []string{p.txt}
	}
	for _, name := range strings.Fields("keyless keylessnothing stranger2") {
		d["s._domainkey."+name+".example. TXT"] = []string{"SERVFAIL"}
	}
	d["_dmarc.alias.example. CNAME"] = []string{"_dmarc.reject.example."}
	d["there.np.example. A"] = []string{"192.0.2.9"}
	d["x.branch.np.example. A"] = []string{"192.0.2.9"} // branch.np is empty, and exists
	d["there.npsp.example. MX"] = []string{"0 ."}
	return d
}

type verdictCase struct {
	name   string // with the section of RFC 9989 that decides
	client string // last octet; 2 sends for the domains above, 9 for none
	from   string // MAIL FROM; "" is the null sender
	author string // what follows "From: "; with "\n" whole lines
	signed string // domains
	want   string // "accept", "hold REASON" or the beginning of the reply
	result string // in our Authentication-Results, or in the reply
}

func verdictCases() []verdictCase {
	const refused, again = "550 5.7.1 ", "451 4."
	no, ok := "x@stranger.example", "x@reject.example"
	held := "hold dmarc-quarantine"
	return []verdictCase{
		// From: who is judged at all.
		{"11.5 no From", "2", ok, "\nSubject: x", "", "550 5.6.0", "no From"},
		{"11.5 two From", "2", ok, "a@reject.example\nFrom: ceo@quarantine.example", "", "550 5.6.0", "more than one From"},
		{"11.5 two From, one in obsolete form", "2", ok, "a@reject.example\nFROM : a@reject.example", "", "550 5.6.0", "more than one From"},
		{"11.5 no address in From", "2", ok, "The Mayor", "", "550 5.6.0", "malformed"},
		{"11.5 From in one encoded word", "2", ok, "=?utf-8?q?ceo=40reject=2Eexample?=", "", "550 5.6.0", "malformed"},
		{"11.5 six author domains", "2", ok, "a@a.example, a@b.example, a@c.example, a@d.example, a@e.example, a@f.example", "", "550 5.7.1", "too many"},
		{"11.5 several, all vouched for", "2", ok, "a@reject.example, b@sub.reject.example", "", "accept", "dmarc=pass"},
		{"11.5 several, the strictest is refused", "2", "x@nothing.example", "a@nothing.example, b@reject.example", "", refused, "reject.example"},
		{"11.5 several, one without a policy", "2", ok, "a@stranger.example, b@reject.example", "", "accept", "dmarc=pass (p=reject) header.from=reject.example"},
		{"11.5 group", "9", no, "Team: a@reject.example;", "", refused, "reject.example"},
		{"11.5 group of several", "9", no, "Team: a@nothing.example, b@quarantine.example;", "", held, "header.from=quarantine.example"},
		{"11.5 empty group", "2", ok, "Nobody:;", "", "550 5.6.0", "no From address"},
		{"11.5 address as a display name", "2", "x@stranger.example", "ceo@reject.example <x@stranger.example>", "", refused, "reject.example"},
		{"11.5 address in a quoted display name", "2", "x@stranger.example", `"ceo@reject.example" <x@stranger.example>`, "", "accept", "dmarc=none header.from=stranger.example"},
		{"11.5 address in a comment", "9", no, "a@reject.example (<x@stranger.example>)", "", refused, "reject.example"},
		{"11.5 folded", "9", no, "A\n <a@\n\treject.example>", "", refused, "reject.example"},
		{"11.5 route", "9", no, "<@stranger.example:a@reject.example>", "", refused, "reject.example"},
		{"11.5 quoted local part with an at sign", "9", no, `"x@stranger.example"@reject.example`, "", refused, "reject.example"},
		{"11.5 capitals", "9", no, "A@REJECT.Example", "", refused, "reject.example"},
		{"11.5 address literal", "9", no, "a@[192.0.2.1]", "", "accept", "dmarc=none"},
		{"11.5 A-labels", "9", no, "a@xn--bcher-kva.example", "", refused, "xn--bcher-kva.example"},
		{"11.5 U-labels", "9", no, "A <a@bücher.example>", "", refused, "xn--bcher-kva.example"},
		{"11.5 A-labels, aligned", "2", "x@sub.xn--bcher-kva.example", "a@xn--bcher-kva.example", "", "accept", "dmarc=pass (p=reject) header.from=xn--bcher-kva.example"},

		// Records.
		{"4.7 p=reject", "9", no, "a@reject.example", "", refused, "DMARC policy of reject.example"},
		{"4.7 p=quarantine", "9", no, "a@quarantine.example", "", held, "dmarc=fail (p=quarantine) header.from=quarantine.example policy.dmarc=quarantine"},
		{"4.7 p=none", "9", no, "a@nothing.example", "", "accept", "dmarc=fail (p=none) header.from=nothing.example policy.dmarc=none"},
		{"4.7 v does not come first", "9", no, "a@late.example", "", "accept", "dmarc=none"},
		{"4.7 v in lower case", "9", no, "a@lower.example", "", "accept", "dmarc=none"},
		{"4.7 two records", "9", no, "a@twice.example", "", "accept", "dmarc=none"},
		{"4.7 one record among other texts", "9", no, "a@among.example", "", refused, "among.example"},
		{"4.7 pct and others are unknown", "9", no, "a@pct.example", "", refused, "pct.example"},
		{"4.7 p is missing", "9", no, "a@missing.example", "", "accept", "dmarc=fail (p=none)"},
		{"4.7 p invalid, nobody to tell", "9", no, "a@bad.example", "", "accept", "dmarc=none"},
		{"4.7 p invalid, somebody to tell", "9", no, "a@badrua.example", "", "accept", "dmarc=fail (p=none)"},
		{"4.7 sp invalid, nobody to tell", "9", no, "a@badsp.example", "", "accept", "dmarc=none"},
		{"4.7 np empty, nobody to tell", "9", no, "a@badnp.example", "", "accept", "dmarc=none"},
		{"4.7 value in capitals", "9", no, "a@caps.example", "", refused, "caps.example"},
		{"4.7 white space", "9", no, "a@spaces.example", "", refused, "spaces.example"},
		{"4.7 junk between tags", "9", no, "a@junk.example", "", refused, "junk.example"},
		{"4.7 order of tags", "9", no, "a@order.example", "", refused, "order.example"},
		{"4.7 in two strings", "9", no, "a@split.example", "", refused, "split.example"},
		{"4.7 behind an alias", "9", no, "a@alias.example", "", refused, "alias.example"},
		{"4.7 no record", "9", no, "a@stranger.example", "", "accept", "dmarc=none header.from=stranger.example"},
		{"4.7 t=y lowers reject", "9", no, "a@ty.example", "", held, "dmarc=fail (p=reject t=y)"},
		{"4.7 t=y lowers quarantine", "9", no, "a@tyq.example", "", "accept", "dmarc=fail (p=quarantine t=y) header.from=tyq.example policy.dmarc=none"},
		{"4.7 t=y with none", "9", no, "a@tyn.example", "", "accept", "policy.dmarc=none"},
		{"4.7 t=x is ignored", "9", no, "a@tx.example", "", refused, "tx.example"},

		// Which policy.
		{"4.10.1 sp below", "9", no, "a@below.sp.example", "", held, "dmarc=fail (sp=quarantine of sp.example) header.from=below.sp.example"},
		{"4.10.1 sp not at its own name", "9", no, "a@sp.example", "", refused, "sp.example"},
		{"4.10.1 own record before sp", "9", no, "a@own.sp.example", "", "accept", "dmarc=fail (p=none)"},
		{"4.10.1 p where sp is not said", "9", no, "a@below.reject.example", "", refused, "below.reject.example"},
		{"4.10.1 sp=none frees what is below", "9", no, "a@below.spnone.example", "", "accept", "sp=none of spnone.example"},
		{"4.10.1 np for a name that does not exist", "9", no, "a@absent.np.example", "", refused, "absent.np.example"},
		{"4.10.1 np not for one that does", "9", no, "a@there.np.example", "", "accept", "sp=none of np.example"},
		{"4.10.1 np not for an empty name", "9", no, "a@branch.np.example", "", "accept", "sp=none of np.example"},
		{"4.10.1 np not said, sp for a name that does not exist", "9", no, "a@absent.npsp.example", "", held, "sp=quarantine of npsp.example"},
		{"4.10.1 psd=y speaks for a name without a record", "9", no, "a@mega.bank.example", "", refused, "mega.bank.example"},
		{"4.10.1 psd=y at the author itself", "9", no, "a@bank.example", "", refused, "bank.example"},

		// The walk.
		{"4.10 a record at the eighth label is its own", "9", no, "a@d.e.f.g.h.i.deep.example", "", "accept", "dmarc=fail (p=none)"},
		{"4.10 from nine labels the eighth is passed over", "9", no, "a@c.d.e.f.g.h.i.deep.example", "", refused, "c.d.e.f.g.h.i.deep.example"},
		{"4.10 thirteen labels", "9", no, "a@1.2.3.4.c.d.e.f.g.h.i.deep.example", "", refused, "1.2.3.4.c.d.e.f.g.h.i.deep.example"},
		{"4.10 thirteen labels, aligned at the top", "2", "x@deep.example", "a@1.2.3.4.c.d.e.f.g.h.i.deep.example", "", "accept", "dmarc=pass (p=reject of deep.example)"},
		{"4.10 gaps are walked over", "9", no, "a@x.y.z.reject.example", "", refused, "x.y.z.reject.example"},
		{"4.10 up to the single label", "9", no, "a@some.test", "", held, "p=quarantine of test"},
		{"4.10 the DNS fails", "9", no, "a@broken.example", "", again, "does not answer"},
		{"4.10 the DNS fails on the way", "9", no, "a@below.broken.example", "", again, "does not answer"},
		{"4.10 it fails above a record that stands alone", "2", "x@middle.broken.example", "a@middle.broken.example", "", "accept", "dmarc=pass"},
		{"4.10 it fails where strict alignment needs no walk", "2", "x@sub.strict.broken.example", "a@strict.broken.example", "", refused, "strict.broken.example"},

		// The organizational domain.
		{"4.10.2 psd=n makes its own organization", "2", "x@np.example", "a@unit.np.example", "", refused, "unit.np.example"},
		{"4.10.2 psd=n holds those below", "2", "x@a.unit.np.example", "a@unit.np.example", "", "accept", "dmarc=pass"},
		{"4.10.2 one below psd=y", "2", "x@a.giant.bank.example", "a@giant.bank.example", "", "accept", "dmarc=pass"},
		{"4.10.2 another one below psd=y", "2", "x@a.mega.bank.example", "a@giant.bank.example", "", held, "dmarc=fail"},
		{"4.10.2 psd=u is not saying", "2", "x@a.psdu.example", "a@psdu.example", "", "accept", "dmarc=pass"},
		{"4.10.2 a name that only ends alike", "2", "x@notreject.example", "a@reject.example", "", refused, "reject.example"},

		// Alignment.
		{"4.4 SPF, equal", "2", ok, "a@reject.example", "", "accept", "spf=pass smtp.mailfrom=reject.example"},
		{"4.4 SPF, relaxed, below", "2", "x@sub.reject.example", "a@reject.example", "", "accept", "dmarc=pass"},
		{"4.4 SPF, relaxed, above", "2", ok, "a@below.reject.example", "", "accept", "dmarc=pass"},
		{"4.4 SPF, strict, below", "2", "x@sub.spf.example", "a@spf.example", "", refused, "spf.example"},
		{"4.4 SPF, strict, equal", "2", "x@spf.example", "a@spf.example", "", "accept", "dmarc=pass"},
		{"4.4 SPF passes for another", "2", "x@stranger.example", "a@reject.example", "", refused, "reject.example"},
		{"4.4 SPF fails", "9", ok, "a@reject.example", "", refused, "reject.example"},
		{"4.4 SPF is neutral", "2", "x@neutral.reject.example", "a@reject.example", "", refused, "reject.example"},
		{"4.4 SPF softly fails", "2", "x@softfail.reject.example", "a@reject.example", "", refused, "reject.example"},
		{"4.4 SPF has a temporary error", "2", "x@spferror.reject.example", "a@reject.example", "", "451 4.7.24", "does not answer"},
		{"4.4 the null sender's HELO", "2", "", "a@reject.example", "", "accept", "spf=pass smtp.helo=sub.reject.example"},
		{"4.4 HELO does not stand in for MAIL FROM", "2", "x@soft.example", "a@reject.example", "", refused, "reject.example"},
		{"4.4 DKIM, equal", "9", no, "a@reject.example", "reject.example", "accept", "dkim=pass header.d=reject.example"},
		{"4.4 DKIM, relaxed, below", "9", no, "a@reject.example", "sub.reject.example", "accept", "dmarc=pass"},
		{"4.4 DKIM, relaxed, above", "9", no, "a@below.reject.example", "reject.example", "accept", "dmarc=pass"},
		{"4.4 DKIM, strict, below", "9", no, "a@dkim.example", "sub.dkim.example", refused, "dkim.example"},
		{"4.4 DKIM, strict, equal", "9", no, "a@dkim.example", "dkim.example", "accept", "dmarc=pass"},
		{"4.4 DKIM of a stranger", "9", no, "a@reject.example", "stranger.example", refused, "reject.example"},
		{"4.4 DKIM, one of two", "9", no, "a@reject.example", "stranger.example reject.example", "accept", "dmarc=pass"},
		{"4.4 DKIM of a name that only ends alike", "9", no, "a@reject.example", "notreject.example", refused, "reject.example"},
		{"4.4 DKIM without a key", "9", no, "a@quarantine.example", "quarantine.example", held, "dkim=permerror"},
		{"4.4 the author's key cannot be had", "9", no, "a@keyless.example", "keyless.example", "451 4.4.3", "does not answer"},
		{"4.4 that of an author who asks for nothing", "9", no, "a@keylessnothing.example", "keylessnothing.example", "accept", "dmarc=temperror"},
		{"4.4 a stranger's key cannot be had", "9", no, "a@reject.example", "stranger2.example", refused, "reject.example"},
	}
}

// TestVerdicts sends messages over sockets to an appliance that asks a DNS of
// its own over sockets, and looks what became of them.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	h := verdictHouse(t, p.world(), verdictConfig, nil)
	lines := map[string]*dialogue{}
	cases := verdictCases()
	if len(cases) < 60 {
		t.Errorf("%d cases", len(cases))
	}
	for i, c := range cases {
		if i%8 == 0 { // a client that is refused too often is sent away
			lines["2"], lines["9"] = h.connect("127.0.0.2", "sub.reject.example"), h.connect("127.0.0.9", "nobody.example")
		}
		author := strings.ReplaceAll(c.author, "\n", "\r\n")
		msg := "From: " + author + "\r\nSubject: hello\r\n\r\nhello\r\n"
		if rest, without := strings.CutPrefix(author, "\r\n"); without {
			msg = rest + "\r\n\r\nhello\r\n"
		}
		if c.signed != "" {
			msg = p.sign(t, msg, strings.Fields(c.signed)...)
		}
		reply := lines[c.client].send(c.from, strings.TrimSuffix(msg, "\r\n"))
		word, header := h.outcome(reply)
		told := reply
		if header != nil {
			told = results(header)
		}
		if !strings.HasPrefix(word, c.want) || !strings.Contains(told, c.result) {
			t.Errorf("%s: %s\n\t%s\n\twant %s, %s", c.name, word, told, c.want, c.result)
		}
	}
}
