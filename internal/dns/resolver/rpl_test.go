package resolver

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/outbound"
)

// The scenarios of other resolvers, replayed in process: those without
// signatures, forwarders or a script of outgoing packets. What is compared is
// what any resolver must agree on: rcode, TC, AD and the answer section.

const rplDir = "../../../../shared/vectors/rpl"

// rplSkip are scenarios that ask for what is not built, and why.
var rplSkip = map[string]string{
	"autotrust_revtp_read.rpl": "trust anchors are not built yet",
	"iter_prefetch_fail.rpl":   "prefetch is not built yet",
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(rplDir, "*", "*.rpl"))
	if err != nil || len(files) == 0 {
		t.Skipf("no scenarios under %s", rplDir)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dir, base := filepath.Split(file)
		if strings.Contains(string(text), "RRSIG") {
			continue // signed: for the validator
		}
		t.Run(filepath.Base(dir)+"/"+base, func(t *testing.T) {
			t.Parallel()
			if why := rplSkip[base]; why != "" {
				t.Skip(why)
			}
			s, err := parseRPL(string(text))
			if err != nil {
				t.Skip(err)
			}
			if len(s.anchors) > 0 {
				t.Skip("clients get nothing validated yet")
			}
			s.play(t)
		})
	}
}

type rplEntry struct {
	match  []string
	adjust []string
	msg    dns.Msg
	do     bool // of a query: asks for signatures
}

type rplRange struct {
	from, to int
	addrs    []string
	entries  []*rplEntry
}

type rplStep struct {
	id    int
	kind  string
	args  []string
	entry *rplEntry
}

type scenario struct {
	roots   []netip.Addr
	noIPv6  bool
	whole   bool // QNAME minimisation is off
	unbound bool
	anchors []string
	ranges  []*rplRange
	steps   []*rplStep
	now     time.Time
	at      int
}

func parseRPL(text string) (*scenario, error) {
	s := &scenario{now: time.Unix(1_700_000_000, 0)}
	config, body, _ := strings.Cut(text, "CONFIG_END")
	if err := s.config(config); err != nil {
		return nil, err
	}
	var (
		rng     *rplRange
		entry   *rplEntry
		section string
	)
	for line := range strings.Lines(body) {
		line, _, _ = strings.Cut(line, ";")
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		switch w[0] {
		case "RANGE_BEGIN":
			rng = &rplRange{}
			rng.from, _ = strconv.Atoi(w[1])
			rng.to, _ = strconv.Atoi(w[2])
			rng.addrs = append(rng.addrs, w[3:]...)
			s.ranges = append(s.ranges, rng)
		case "RANGE_END", "END_RANGE":
			rng = nil
		case "ADDRESS":
			if rng != nil {
				rng.addrs = append(rng.addrs, w[1])
			}
		case "STEP":
			id, _ := strconv.Atoi(w[1])
			s.steps = append(s.steps, &rplStep{id: id, kind: w[2], args: w[3:]})
		case "ENTRY_BEGIN":
			entry, section = &rplEntry{}, ""
		case "ENTRY_END":
			if rng != nil {
				rng.entries = append(rng.entries, entry)
			} else if n := len(s.steps); n > 0 && s.steps[n-1].entry == nil {
				s.steps[n-1].entry = entry
			}
			entry = nil
		case "SCENARIO_BEGIN", "SCENARIO_END":
		default:
			if entry == nil {
				return nil, fmt.Errorf("not understood: %q", line)
			}
			if err := entry.line(w, line, &section); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

func (s *scenario) config(text string) error {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		switch {
		case !ok:
		case key == "server":
			s.unbound = true
		case key == "stub-addr":
			addr, err := netip.ParseAddr(value)
			if err != nil {
				return err
			}
			s.roots = append(s.roots, addr)
		case key == "do-ip6":
			s.noIPv6 = value == "no"
		case key == "qname-minimisation", key == "query-minimization":
			s.whole = value == "no" || value == "off"
		case key == "trust-anchor":
			s.anchors = append(s.anchors, value)
		case key == "val-override-date" && len(value) == 14:
			at, err := time.Parse("20060102150405", value)
			if err != nil {
				return err
			}
			s.now = at
		case key == "forward-zone":
			return fmt.Errorf("%s is not built yet", key)
		}
	}
	return nil
}

func (e *rplEntry) line(w []string, line string, section *string) error {
	switch w[0] {
	case "MATCH":
		e.match = append(e.match, w[1:]...)
	case "ADJUST":
		e.adjust = append(e.adjust, w[1:]...)
	case "REPLY":
		for _, f := range w[1:] {
			e.flag(f)
		}
	case "SECTION":
		*section = w[1]
	default:
		if *section == "QUESTION" {
			q := dns.Question{Name: w[0], Qclass: dns.ClassINET, Qtype: dns.StringToType[w[len(w)-1]]}
			e.msg.Question = []dns.Question{q}
			return nil
		}
		rr, err := dns.NewRR(strings.TrimSpace(line))
		if err != nil || rr == nil {
			return fmt.Errorf("record %q: %w", line, err)
		}
		switch rr := rr.(type) { // text may have the types in any order, a message not
		case *dns.NSEC:
			slices.Sort(rr.TypeBitMap)
		case *dns.NSEC3:
			slices.Sort(rr.TypeBitMap)
		}
		switch *section {
		case "ANSWER":
			e.msg.Answer = append(e.msg.Answer, rr)
		case "AUTHORITY":
			e.msg.Ns = append(e.msg.Ns, rr)
		case "ADDITIONAL":
			e.msg.Extra = append(e.msg.Extra, rr)
		default:
			return fmt.Errorf("not understood: %q", line)
		}
	}
	return nil
}

func (e *rplEntry) flag(f string) {
	switch f {
	case "AA":
		e.msg.Authoritative = true
	case "RA":
		e.msg.RecursionAvailable = true
	case "TC":
		e.msg.Truncated = true
	case "AD":
		e.msg.AuthenticatedData = true
	case "DO":
		e.do = true
	default:
		if rcode, ok := dns.StringToRcode[f]; ok {
			e.msg.Rcode = rcode
		}
	}
}

// matches is neutral to transport and flags.
func (e *rplEntry) matches(q iterate.Question) bool {
	if slices.Contains(e.match, "TCP") {
		return false
	}
	if len(e.msg.Question) == 0 {
		return true
	}
	own, err := name.Parse(e.msg.Question[0].Name)
	for _, m := range e.match {
		switch {
		case m == "qname" && (err != nil || own != q.Name),
			m == "qtype" && e.msg.Question[0].Qtype != q.Type,
			m == "subdomain" && (err != nil || !q.Name.IsBelow(own)):
			return false
		}
	}
	return true
}

func (s *scenario) Usable(a netip.Addr, _ bool) bool {
	return a.Is4() || !s.noIPv6
}

func (s *scenario) Pick(addrs []netip.Addr) netip.Addr { return addrs[0] }

func (s *scenario) Exchange(_ context.Context, a netip.Addr, q iterate.Question, _ bool) (*dns.Msg, int, error) {
	for _, r := range s.ranges {
		if s.at < r.from || s.at > r.to || len(r.addrs) > 0 && !slices.Contains(r.addrs, a.String()) {
			continue
		}
		for _, e := range r.entries {
			if !e.matches(q) {
				continue
			}
			if slices.Contains(e.adjust, "do_not_answer") {
				return nil, 1, outbound.ErrTimeout
			}
			m := e.msg.Copy()
			m.Response = true
			if len(m.Answer)+len(m.Ns) == 0 && m.Rcode == dns.RcodeSuccess && m.Truncated {
				return nil, 2, outbound.ErrTimeout
			}
			return m, 1, nil
		}
	}
	return s.fill(q), 1, nil
}

// fill answers what the scenario does not script from what it says elsewhere:
// glue as an answer, a name above scripted ones as an empty one.
func (s *scenario) fill(q iterate.Question) *dns.Msg {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
	known := false
	for _, r := range s.ranges {
		for _, e := range r.entries {
			for _, rr := range slices.Concat(e.msg.Extra, e.msg.Ns) {
				n, err := name.Parse(rr.Header().Name)
				_, isAddr := iterate.Addr(rr)
				if err != nil || n != q.Name {
					continue
				}
				known = true
				// Some scripts give a DS with the referral alone.
				sig, isSig := rr.(*dns.RRSIG)
				ofDS := q.DO && q.Type == dns.TypeDS && (rr.Header().Rrtype == q.Type || isSig && sig.TypeCovered == q.Type)
				if isAddr && rr.Header().Rrtype == q.Type || ofDS {
					m.Answer = append(m.Answer, rr)
				}
			}
			for _, asked := range e.msg.Question {
				n, err := name.Parse(asked.Name)
				known = known || err == nil && n.IsBelow(q.Name)
			}
		}
	}
	if !known {
		m.Rcode, m.Authoritative = dns.RcodeServerFailure, false
	}
	return m
}

func (s *scenario) play(t *testing.T) {
	cfg := Config{Now: func() time.Time { return s.now }, NoSpecialUse: true}
	if s.whole {
		cfg.Minimise = iterate.Whole
	}
	cfg.IPv4, cfg.IPv6 = true, !s.noIPv6
	cfg.Roots = []Hint{{mustName(t, "k.root-servers.net."), s.roots}}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Stop(context.Background()) }) // the test's own context has ended
	r.out = s
	var got *dns.Msg
	for i, step := range s.steps {
		switch step.kind {
		case "QUERY":
			s.at = step.id
			if s.unbound && i+1 < len(s.steps) {
				s.at = s.steps[i+1].id
			}
			q := step.entry.msg.Question[0]
			got, err = r.Resolve(t.Context(), Question{Name: mustName(t, q.Name), Type: q.Qtype})
			if err != nil {
				got = &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: failure(err).Rcode}}
				t.Log(err)
			}
		case "CHECK_ANSWER":
			s.compare(t, step, got)
		case "TIME_PASSES":
			n, err := strconv.Atoi(step.args[len(step.args)-1])
			if err != nil {
				t.Fatal(err)
			}
			s.now = s.now.Add(time.Duration(n) * time.Second)
		case "TRAFFIC", "NOTHING", "CHECK_OUT_QUERY":
		default:
			t.Skipf("step %s is about outgoing packets", step.kind)
		}
	}
}

func (s *scenario) compare(t *testing.T, step *rplStep, got *dns.Msg) {
	t.Helper()
	want := step.entry.msg
	key := func(rrs []dns.RR) []string {
		var out []string
		for _, rr := range rrs {
			rr = dns.Copy(rr)
			rr.Header().Ttl = 0
			out = append(out, strings.ToLower(rr.String()))
		}
		slices.Sort(out)
		return out
	}
	if got.Rcode != want.Rcode || got.Truncated != want.Truncated || !slices.Equal(key(got.Answer), key(want.Answer)) {
		t.Errorf("step %d: rcode %s, answer %q; want %s, %q", step.id, dns.RcodeToString[got.Rcode], key(got.Answer),
			dns.RcodeToString[want.Rcode], key(want.Answer))
	}
}
