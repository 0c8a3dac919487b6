package gate

import (
	"net/netip"
	"testing"
)

func TestACL(t *testing.T) {
	t.Parallel()
	some := NewACL([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::ffff:192.0.2.0/120"), netip.MustParsePrefix("fe80::/10")})
	for _, c := range []struct {
		name   string
		acl    *ACL
		client string
		want   bool
	}{
		{"outside", some, "11.0.0.1", false},
		{"other family", some, "2001:db8::1", false},
		{"inside", some, "10.1.2.3", true},
		{"mapped client", some, "::ffff:10.1.2.3", true},
		{"mapped prefix", some, "192.0.2.9", true},
		{"with a zone", some, "fe80::1%eth0", true},
		{"no list", NewACL(nil), "192.0.2.1", true},
		{"nil", nil, "192.0.2.1", true},
	} {
		if got := c.acl.Admits(netip.MustParseAddr(c.client)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
