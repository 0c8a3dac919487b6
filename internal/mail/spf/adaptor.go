package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"postern/internal/lookup"
)

var errCharset = errors.New("record holds bytes beyond printable ASCII")

// adaptor answers the library's questions from a lookup.Resolver.
type adaptor struct {
	r      lookup.Resolver
	client netip.Addr
}

// query asks and turns what the library must tell apart into *net.DNSError: an
// absent name, and a failure that may pass. A name that cannot be asked for
// does not exist (RFC 7208, Section 4.8).
func (a adaptor) query(ctx context.Context, name string, t lookup.Type) ([]lookup.Record, error) {
	answer, err := a.r.Query(ctx, name, t)
	switch {
	case err != nil && lookup.IsTemporary(err):
		return nil, &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true}
	case err != nil, answer.Status == lookup.NXDomain:
		return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
	}
	return answer.Records, nil
}

// LookupTXT implements spf.DNSResolver.
func (a adaptor) LookupTXT(ctx context.Context, name string) ([]string, error) {
	records, err := a.query(ctx, name, lookup.TXT)
	out := make([]string, 0, len(records))
	for _, r := range records {
		if isPolicy(r.Text) && !isPrintable(r.Text) {
			return nil, errCharset
		}
		out = append(out, r.Text)
	}
	return out, err
}

func isPolicy(txt string) bool { return len(txt) >= 6 && strings.EqualFold(txt[:6], "v=spf1") }

// isPrintable holds a record to RFC 7208, Section 3.1, which the library does
// not: ASCII, and terms parted by spaces alone.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// LookupMX implements spf.DNSResolver.
func (a adaptor) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	records, err := a.query(ctx, name, lookup.MX)
	out := make([]*net.MX, 0, len(records))
	for _, r := range records {
		out = append(out, &net.MX{Host: r.Host, Pref: r.Preference})
	}
	return out, err
}

// LookupIPAddr implements spf.DNSResolver: the addresses of the client's
// family (RFC 7208, Section 5), and IPv4 ones for IPv6 clients too, since
// "exists" asks for those whoever connects (Section 5.7).
func (a adaptor) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	records, err := a.query(ctx, host, lookup.A)
	if err == nil && a.client.Is6() {
		var more []lookup.Record
		more, err = a.query(ctx, host, lookup.AAAA)
		records = append(records, more...)
	}
	if err != nil {
		return nil, err
	}
	out := make([]net.IPAddr, 0, len(records))
	for _, r := range records {
		out = append(out, net.IPAddr{IP: net.IP(r.Addr.AsSlice())})
	}
	return out, nil
}

// LookupAddr implements spf.DNSResolver.
func (a adaptor) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: err.Error(), Name: addr, IsNotFound: true}
	}
	records, err := a.query(ctx, ReverseName(ip.Unmap()), lookup.PTR)
	out := make([]string, 0, len(records))
	for _, r := range records {
		out = append(out, r.Host)
	}
	return out, err
}

// ReverseName is the name that a PTR record of ip stands at (RFC 1035, Section 3.5;
// RFC 3596, Section 2.5).
func ReverseName(ip netip.Addr) string {
	const hex = "0123456789abcdef"
	raw := ip.AsSlice()
	var name []byte
	for i := len(raw) - 1; i >= 0; i-- {
		if ip.Is4() {
			name = append(strconv.AppendUint(name, uint64(raw[i]), 10), '.')
			continue
		}
		name = append(name, hex[raw[i]&15], '.', hex[raw[i]>>4], '.')
	}
	if ip.Is4() {
		return string(name) + "in-addr.arpa"
	}
	return string(name) + "ip6.arpa"
}
