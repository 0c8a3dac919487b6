package spf

import (
	"net/netip"
	"strconv"
)

// ReverseName is the name that a PTR record of ip stands at (RFC 1035, Section 3.5;
// RFC 3596, Section 2.5).
func ReverseName(ip netip.Addr) string {
	if ip.Is4() {
		raw := ip.As4()
		var name []byte
		for i := len(raw) - 1; i >= 0; i-- {
			name = append(strconv.AppendUint(name, uint64(raw[i]), 10), '.')
		}
		return string(name) + "in-addr.arpa"
	}
	name := []byte(nibbles(ip))
	for i, j := 0, len(name)-1; i < j; i, j = i+1, j-1 {
		name[i], name[j] = name[j], name[i]
	}
	return string(name) + ".ip6.arpa"
}

// nibbles is an IPv6 address as 32 hexadecimal digits with dots between them.
func nibbles(ip netip.Addr) string {
	const hex = "0123456789abcdef"
	var out []byte
	for _, b := range ip.As16() {
		out = append(out, hex[b>>4], '.', hex[b&15], '.')
	}
	return string(out[:len(out)-1])
}
