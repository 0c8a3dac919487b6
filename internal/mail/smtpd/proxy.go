package smtpd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// The PROXY protocol, version 2 ("The PROXY protocol", Section 2.2): how a
// balancer in front of us says whose connection it hands on. Version 1, which
// is a line of text, is not read: what it looks like depends on the reader.

// proxySignature opens the block.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// maxProxyBlock bounds what follows the first 16 octets: addresses, and fields
// that a balancer may add about its own TLS. The text asks for 536 at least.
const maxProxyBlock = 4096

var errProxy = errors.New("malformed PROXY block")

// proxied is what the block says.
type proxied struct {
	local    bool // the proxy speaks for itself, as to see whether we are well
	from, to netip.AddrPort
}

// readProxy reads exactly the block and nothing of what follows it.
func readProxy(r io.Reader) (proxied, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return proxied{}, err
	}
	if !bytes.HasPrefix(head[:], []byte(proxySignature)) {
		return proxied{}, fmt.Errorf("%w: no signature of version 2", errProxy)
	}
	size := int(binary.BigEndian.Uint16(head[14:]))
	if size > maxProxyBlock {
		return proxied{}, fmt.Errorf("%w: %d octets", errProxy, size)
	}
	block := make([]byte, size)
	if _, err := io.ReadFull(r, block); err != nil {
		return proxied{}, err
	}
	return parseProxy(head[12], head[13], block)
}

// parseProxy reads version and command, family and protocol, and the rest.
func parseProxy(command, family byte, block []byte) (proxied, error) {
	switch command {
	case 0x20: // LOCAL: the rest is to be ignored, whatever it is
		return proxied{local: true}, nil
	case 0x21: // PROXY
	default:
		return proxied{}, fmt.Errorf("%w: version and command %#x", errProxy, command)
	}
	var octets int
	switch family {
	case 0x11: // TCP over IPv4
		octets = 4
	case 0x21: // TCP over IPv6
		octets = 16
	default:
		// The text lets us go on with the proxy's own address where the client's
		// is not said. All strangers would then be one, and checked as a friend.
		return proxied{}, fmt.Errorf("%w: family %#x", errProxy, family)
	}
	if len(block) < 2*octets+4 {
		return proxied{}, fmt.Errorf("%w: too short", errProxy)
	}
	p := proxied{
		from: proxyAddr(block[:octets], block[2*octets:]),
		to:   proxyAddr(block[octets:2*octets], block[2*octets+2:]),
	}
	if a := p.from.Addr(); a.IsUnspecified() || a.IsMulticast() {
		return proxied{}, fmt.Errorf("%w: nobody can come from %s", errProxy, a)
	}
	return p, skipFields(block[2*octets+4:])
}

func proxyAddr(addr, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr) // 4 or 16 octets, so it is one
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

// skipFields looks only at whether the further fields end where they should.
func skipFields(b []byte) error {
	for len(b) > 0 {
		if len(b) < 3 {
			return fmt.Errorf("%w: half a field", errProxy)
		}
		size := 3 + int(binary.BigEndian.Uint16(b[1:]))
		if size > len(b) {
			return fmt.Errorf("%w: a field beyond the end", errProxy)
		}
		b = b[size:]
	}
	return nil
}
