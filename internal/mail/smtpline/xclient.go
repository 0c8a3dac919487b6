package smtpline

import (
	"net/netip"
	"strconv"
	"strings"
)

// XClientWords are the attributes of XCLIENT that are taken, as EHLO announces
// them. LOGIN is not among them: nobody's word is as good as a password.
const XClientWords = "NAME ADDR PORT PROTO HELO"

// XClient is what the command says of a client (Postfix's XCLIENT_README).
type XClient struct {
	Addr  netip.Addr // invalid: not said
	Port  uint16
	Helo  string // "": not said
	ESMTP bool   // it was EHLO; so too where that is not said
}

// AddrPort is the client's address; its port is 0 where that is not known.
func (x XClient) AddrPort() netip.AddrPort { return netip.AddrPortFrom(x.Addr, x.Port) }

// ParseXClient reads the argument of XCLIENT. NAME is read over: what an
// address is called is for the DNS to say.
func ParseXClient(arg string) (XClient, *Reply) {
	params, refusal := cutParams(arg)
	if refusal != nil {
		return XClient{}, refusal
	}
	if len(params) == 0 {
		return XClient{}, badParam("XCLIENT wants NAME=value")
	}
	x := XClient{ESMTP: true}
	for _, p := range params {
		v, ok := decodeXtext(p.value)
		if !ok {
			return XClient{}, badParam("malformed value of " + p.name)
		}
		if r := x.set(p.name, v); r != nil {
			return XClient{}, r
		}
	}
	return x, nil
}

func (x *XClient) set(name, v string) *Reply {
	unknown := v == "[UNAVAILABLE]" || v == "[TEMPUNAVAIL]"
	ok := true
	switch name {
	case "NAME":
	case "ADDR":
		// Without an address a client would be checked as the one that speaks
		// for it.
		x.Addr, ok = xclientAddr(v)
	case "PORT":
		port, err := strconv.ParseUint(v, 10, 16)
		x.Port, ok = uint16(port), err == nil || unknown
	case "HELO":
		if unknown {
			return nil
		}
		var r *Reply
		if x.Helo, r = ParseHelo(v); r != nil {
			return r
		}
	case "PROTO":
		x.ESMTP = !strings.EqualFold(v, "SMTP")
		ok = !x.ESMTP || unknown || strings.EqualFold(v, "ESMTP")
	default:
		return badParam("attribute not offered: " + name)
	}
	if !ok {
		return badParam("malformed value of " + name)
	}
	return nil
}

func xclientAddr(v string) (netip.Addr, bool) {
	const tag = "IPV6:"
	six := len(v) > len(tag) && strings.EqualFold(v[:len(tag)], tag)
	if six {
		v = v[len(tag):]
	}
	a, err := netip.ParseAddr(v)
	if err != nil || a.Is6() != six || a.Zone() != "" {
		return netip.Addr{}, false
	}
	a = a.Unmap()
	return a, !a.IsUnspecified() && !a.IsMulticast()
}
