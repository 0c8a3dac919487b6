package zonelint

import (
	"net/netip"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// kind is who can reach an address.
type kind int

const (
	public kind = iota
	private
	special
	documentation
)

func kindOf(ip netip.Addr) kind {
	switch {
	case ip.IsUnspecified(), ip.IsLoopback(), ip.IsMulticast(), ip.IsLinkLocalUnicast():
		return special
	case ip.IsPrivate():
		return private
	case ip.Is6():
		b := ip.As16()
		if b[0] == 0x20 && b[1] == 0x01 && b[2] == 0x0d && b[3] == 0xb8 || b[0] == 0x3f && b[1] == 0xff && b[2] < 0x10 { // RFC 3849, RFC 9637
			return documentation
		}
		return public
	}
	switch b := ip.As4(); {
	case b[0] == 100 && b[1]&0xc0 == 64: // RFC 6598
		return private
	case b[0] >= 240: // RFC 1112, Section 4
		return special
	case b[0] == 192 && b[1] == 0 && b[2] == 2, b[0] == 198 && b[1] == 51 && b[2] == 100, b[0] == 203 && b[1] == 0 && b[2] == 113: // RFC 5737
		return documentation
	}
	return public
}

// addresses looks at who can reach them. A zone below a name of RFC 6761 and
// RFC 2606 is an example itself: nobody takes example.test for real, so the
// documentation ranges are at home there and nowhere else.
func (l *lint) addresses(o *owner) {
	if l.exposure == Inside {
		return
	}
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for _, r := range o.of(t) {
			ip, ok := zone.Address(r.RR)
			if !ok {
				continue
			}
			switch kindOf(ip) {
			case special:
				l.special(r, o, ip)
			case private:
				if l.exposure == Public {
					if l.full("private-address") {
						continue
					}
					l.report(r, "private-address", "%s has the private address %s", o.name, ip)
				} else if _, ok := l.private[r.File]; !ok {
					l.private[r.File] = r
				}
			case documentation:
				if !l.example {
					l.report(r, "documentation-address", "%s has the address %s, which nobody has", o.name, ip)
				}
				l.public[r.File] = true
			default:
				l.public[r.File] = true
			}
		}
	}
}

// special lets loopback be where it has a use: localhost, lists such as DNSBLs
// that answer in 127/8, and zones that we do not know to be the world's.
func (l *lint) special(r zonefile.Record, o *owner, ip netip.Addr) {
	if ip.IsLoopback() && (l.exposure != Public || o.name.First() == "localhost" || ip.Is4() && ip.As4()[3] > 1) {
		return
	}
	l.report(r, "special-address", "%s has the address %s", o.name, ip)
}

// mixed tells of a file that has both kinds, where nobody said who sees it.
func (l *lint) mixed() {
	for file, r := range l.private {
		if l.public[file] {
			l.report(r, "mixed-addresses", "%s is private, others in this file are not", r.RR.Header().Name)
		}
	}
}

// reserved reports whether a zone stands at or below a name that is kept for
// examples and tests.
func reserved(origin name.Name) bool {
	for _, text := range []string{"test.", "example.", "invalid.", "localhost.", "example.com.", "example.net.", "example.org."} {
		if n, err := name.Parse(text); err == nil && origin.IsBelow(n) {
			return true
		}
	}
	return false
}
