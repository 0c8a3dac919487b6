package lab

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Cache is an Unbound that keeps what it was told for as long as it may, and
// judges nothing; behind it stands one that judges all that it gets from there,
// and keeps nothing. So what caches hold from different times is held against
// each other.
type Cache struct {
	tree           *SignedTree
	name           string
	address, judge string
}

// Cache starts both, at an address each. It asks the servers named in from, by
// zone, for what is at and below that, instead of those that the parent leads to.
func (tree *SignedTree) Cache(name, address, judge string, from map[string][]string) *Cache {
	tree.l.t.Helper()
	c := &Cache{tree: tree, name: name, address: address, judge: judge}
	tree.startUnbound(name, address, "\n\tmodule-config: \"iterator\"")
	tree.startUnbound(name+"-judge", judge, validates+"\n\tcache-max-ttl: 0\n\tcache-max-negative-ttl: 0\nforward-zone:\n\tname: \".\"\n\tforward-addr: "+address)
	for zone, servers := range from {
		c.From(zone, servers...)
	}
	return c
}

// From has it ask these servers alone for a zone from now on, or, with none,
// those that the parent leads to. It forgets nothing.
func (c *Cache) From(zone string, servers ...string) {
	c.tree.l.t.Helper()
	if len(servers) == 0 {
		c.tree.l.unboundControl(c.name, "stub_remove", zone)
		return
	}
	c.tree.l.unboundControl(c.name, "stub_add", append([]string{zone}, servers...)...)
}

// Ask has it keep the answer.
func (c *Cache) Ask(name string, rtype uint16) {
	c.tree.l.t.Helper()
	c.tree.l.Eventually(c.name+" about "+name, func() error {
		m, err := resolve(c.address, name, rtype)
		if err == nil && m.Rcode == dns.RcodeServerFailure {
			err = fmt.Errorf("SERVFAIL")
		}
		return err
	})
}

// Forget has it ask for these sets again.
func (c *Cache) Forget(name string, rtypes ...uint16) {
	c.tree.l.t.Helper()
	for _, rtype := range rtypes {
		c.tree.l.unboundControl(c.name, "flush_type", name, dns.TypeToString[rtype])
	}
}

// Judge begins to judge: nothing of what was judged before counts.
func (c *Cache) Judge() {
	c.tree.l.t.Helper()
	c.tree.l.unboundControl(c.name+"-judge", "flush_zone", ".")
}

// unboundControl speaks as unbound-control does, of which starting it many times
// would be most of a test.
func (l *Lab) unboundControl(name, command string, args ...string) {
	l.t.Helper()
	line := strings.Join(append([]string{command}, args...), " ")
	l.Eventually(name+" "+line, func() error {
		conn, err := net.Dial("unix", l.Path(name, "control"))
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience)) // what fails is told by what follows
		if _, err := fmt.Fprintf(conn, "UBCT1 %s\n", line); err != nil {
			return err
		}
		said, err := io.ReadAll(conn)
		if err == nil && !strings.HasPrefix(string(said), "ok") {
			err = fmt.Errorf("%q", said)
		}
		return err
	})
}

// Unbound says what the one behind makes of a question.
func (c *Cache) Unbound(name string, rtype uint16) string {
	c.tree.l.t.Helper()
	return c.tree.verdict(c.judge, name, rtype)
}

// Delv says what BIND's delv makes of it.
func (c *Cache) Delv(name string, rtype uint16) string {
	c.tree.l.t.Helper()
	return c.tree.delv(c.address, name, rtype)
}
