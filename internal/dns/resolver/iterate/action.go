package iterate

import (
	"net/netip"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Act says what the caller of a Machine is to do next.
type Act uint8

// The actions. Each is answered by the events named.
const (
	Wrong   Act = iota
	Seek        // look for Question in own zones and cache: Own, Known or Cut
	Ask         // ask one of Servers the Question: Got or Silent
	Address     // find addresses of the server Name: Addresses
	Done        // Result is the answer
	Fail        // there is no answer: Err
)

// Action is one thing to do, and what was learned on the way to it.
type Action struct {
	Act      Act
	Question Question
	Servers  []netip.Addr // Ask
	Name     name.Name    // Address
	Zone     name.Name    // Ask, Address, Fail: the cut at work
	Inside   bool         // Ask, Address: the servers may have private addresses
	Result   Result
	Err      error

	Learned []Set       // to be cached, whatever the action is
	Cut     *Delegation // to be cached
}

// Result is an answer as a client gets it.
type Result struct {
	Rcode     int
	Answer    []dns.RR
	Authority []dns.RR  // the SOA of a denial
	Canonical name.Name // where the alias chain ended
	Own       bool      // all of it came from our own zones, AA included
	Msg       *dns.Msg  // with DO only: what the server said, not scrubbed
}

// Event is what happened. Exactly one of the kinds below.
type Event interface{ event() }

// The events.
type (
	// Begin is the first event.
	Begin struct{}
	// Own is what our own zones answer: data, an alias chain, a denial, an
	// error or a referral.
	Own struct{ Msg *dns.Msg }
	// Known is a cached set: the type asked for, a CNAME, or a denial.
	Known struct{ Set Set }
	// Cut is the deepest known delegation at or above the name.
	Cut struct{ Delegation Delegation }
	// Got is a reply that is known to come from the server.
	Got struct {
		From netip.Addr
		Msg  *dns.Msg
	}
	// Silent is a server that did not reply. Dead: there is no use in trying
	// it again.
	Silent struct {
		From netip.Addr
		Dead bool
	}
	// Addresses are those of a server name; none where it has none. Absent:
	// the DNS says so, rather than some failure.
	Addresses struct {
		Name   name.Name
		Addrs  []netip.Addr
		Spare  []netip.Addr // glue of the zone that holds the name: asked after Addrs
		Absent bool
	}
	// Rejected answers Done where the question had DO: the message did not
	// validate, and another server may know better.
	Rejected struct{ Err error }
	// Stop ends the work.
	Stop struct{ Err error }
)

func (Begin) event()     {}
func (Own) event()       {}
func (Known) event()     {}
func (Cut) event()       {}
func (Got) event()       {}
func (Silent) event()    {}
func (Addresses) event() {}
func (Rejected) event()  {}
func (Stop) event()      {}
