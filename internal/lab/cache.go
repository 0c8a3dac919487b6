package lab

import (
	"fmt"

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

// Cache starts both, at an address each. With from, the zone below the tree of
// that name is asked for at that server alone.
func (tree *SignedTree) Cache(name, address, judge string, from ...string) *Cache {
	tree.l.t.Helper()
	c := &Cache{tree: tree, name: name, address: address, judge: judge}
	keeps := "\n\tmodule-config: \"iterator\""
	for i := 0; i+1 < len(from); i += 2 {
		keeps += fmt.Sprintf("\nstub-zone:\n\tname: %q\n\tstub-addr: %s", from[i], from[i+1])
	}
	tree.startUnbound(name, address, keeps)
	tree.startUnbound(name+"-judge", judge, validates+"\n\tcache-max-ttl: 0\n\tcache-max-negative-ttl: 0\nforward-zone:\n\tname: \".\"\n\tforward-addr: "+address)
	return c
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

func (l *Lab) unboundControl(name string, args ...string) {
	l.t.Helper()
	control := l.program("unbound-control", "unbound")
	l.Exec(control, append([]string{"-c", l.Path(name, "unbound.conf")}, args...)...).Want(0)
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
