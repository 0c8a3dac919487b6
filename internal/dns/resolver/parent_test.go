package resolver

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dsync"
)

// dsyncLine is a DSYNC record for CDS in the form of RFC 3597.
func dsyncLine(t *testing.T, owner string, port uint16, target string) string {
	t.Helper()
	rdata := fmt.Sprintf("003b01%04x%s", port, hex.EncodeToString([]byte(mustName(t, target))))
	return fmt.Sprintf("\n%s 300 IN TYPE66 \\# %d %s", owner, len(rdata)/2, rdata)
}

// parentAgent takes notifications.
type parentAgent struct {
	mu    sync.Mutex // guards heard
	heard []string
	rcode int
	quiet bool
}

func (p *parentAgent) serve(w dns.ResponseWriter, m *dns.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, fmt.Sprintf("%s %s %s", dns.OpcodeToString[m.Opcode], m.Question[0].Name, dns.Type(m.Question[0].Qtype)))
	if p.quiet {
		return
	}
	reply := new(dns.Msg)
	reply.SetRcode(m, p.rcode)
	_ = w.WriteMsg(reply) // who left does not matter
}

func (p *parentAgent) all() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.heard, ", ")
}

const agentAddr, otherAddr = "192.0.2.70", "192.0.2.71"

// TestNotifyParent finds the parent's place in every way it may be published,
// and tells it.
func TestNotifyParent(t *testing.T) {
	t.Parallel()
	const heard = "NOTIFY example.net. CDS"
	agents := "\nagent A " + agentAddr + "\nagent2 A " + otherAddr + "\ninside A 10.0.0.1\nnone TXT x"
	for what, c := range map[string]struct {
		zone  string // "": example.net.
		text  string
		opt   string // text of opt.
		forge func(asked, *dns.Msg)
		rcode int  // what the agent answers
		quiet bool // or that it does not
		err   error
		first string // what the agent hears
		next  string // what the other hears
	}{
		"a wildcard":        {text: dsyncLine(t, "*._dsync", 5300, "agent.net."), first: heard},
		"for this child":    {text: dsyncLine(t, "example._dsync", 53, "agent.net.") + dsyncLine(t, "*._dsync", 53, "agent2.net."), first: heard},
		"without wildcard":  {text: dsyncLine(t, "_dsync", 53, "agent.net."), first: heard},
		"behind an opt-out": {zone: "safe.opt.", text: "", opt: dsyncLine(t, "*._dsync", 53, "agent.net."), first: "NOTIFY safe.opt. CDS"},
		"nothing":           {err: ErrNoEndpoint},
		"for CSYNC alone":   {text: strings.Replace(dsyncLine(t, "_dsync", 53, "agent.net."), "003b01", "003e01", 1), err: ErrNoEndpoint},
		"refused":           {text: dsyncLine(t, "_dsync", 53, "agent.net."), rcode: dns.RcodeRefused, first: heard, err: ErrNotHeard},
		"silent":            {text: dsyncLine(t, "_dsync", 53, "agent.net."), quiet: true, first: heard + ", " + heard, err: ErrNotHeard},
		"the second takes it": {
			text:  dsyncLine(t, "_dsync", 53, "agent.net.") + dsyncLine(t, "_dsync", 54, "agent2.net."),
			rcode: dns.RcodeNotImplemented, first: heard, next: heard,
		},
		"into our network":     {text: dsyncLine(t, "_dsync", 53, "inside.net."), err: ErrNotHeard},
		"without an address":   {text: dsyncLine(t, "_dsync", 53, "none.net."), err: ErrNotHeard},
		"the parent is forged": {text: dsyncLine(t, "_dsync", 53, "agent.net."), forge: func(q asked, m *dns.Msg) { m.Answer = without(m.Answer, dns.TypeRRSIG) }, err: ErrNotValid},
		"the record is forged": {text: dsyncLine(t, "_dsync", 53, "agent.net."), forge: func(q asked, m *dns.Msg) {
			for i, rr := range m.Answer {
				if u, ok := rr.(*dns.RFC3597); ok {
					c := *u
					c.Rdata = strings.Replace(c.Rdata, hex.EncodeToString([]byte("agent")), hex.EncodeToString([]byte("thief")), 1)
					m.Answer[i] = &c
				}
			}
		}, err: ErrNotValid},
		"the record is hidden": {text: dsyncLine(t, "_dsync", 53, "agent.net."), forge: func(q asked, m *dns.Msg) {
			if q.Type == dsync.Type {
				m.Answer = nil
			}
		}, err: ErrNotValid},
		"the parent is not signed": {zone: "sub.plain.net.", err: ErrNotValid},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if c.zone == "" {
				c.zone = "example.net."
			}
			agent, other := &parentAgent{rcode: c.rcode, quiet: c.quiet}, &parentAgent{}
			tr := newSignedTree(func(tr *signedTree) {
				tr.net.text += c.text + agents
				tr.opt.text += c.opt
				tr.net.forge = c.forge
			})
			w := signedWorld(t, tr.zones...)
			r := newTestResolver(t, nil, func(cfg *Config) {
				cfg.Now = func() time.Time { return signTime }
				cfg.Anchors = append(cfg.Anchors, tr.anchor(t))
				cfg.UpstreamMap, cfg.Timeout, cfg.IPv4 = tree(t, w), time.Second, true
				cfg.UpstreamMap[netip.MustParseAddr(agentAddr)] = listen(t, agent.serve)
				cfg.UpstreamMap[netip.MustParseAddr(otherAddr)] = listen(t, other.serve)
			})
			told, err := r.NotifyParent(t.Context(), mustName(t, c.zone), dns.TypeCDS)
			if !errors.Is(err, c.err) || (c.err == nil) != (err == nil) {
				t.Errorf("%+v, %v, want %v", told, err, c.err)
			}
			if agent.all() != c.first || other.all() != c.next {
				t.Errorf("heard %q and %q, want %q and %q", agent.all(), other.all(), c.first, c.next)
			}
			sent := uint64(strings.Count(c.first+c.next, "NOTIFY"))
			if n := r.Outbound().Counters.Notifies.Value(); n != sent {
				t.Errorf("%d sent, want %d", n, sent)
			}
		})
	}
}
