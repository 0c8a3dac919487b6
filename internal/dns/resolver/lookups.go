package resolver

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/lookup"
)

// lookups is the resolver as the mail wing knows it.
type lookups struct {
	r    *Resolver
	view string
}

// errHost is a host name that no mail program should be handed: it ends in log
// lines, headers and commands.
var errHost = errors.New("no record holds a proper host name")

// Query asks, and turns records into plain values.
func (l lookups) Query(ctx context.Context, text string, t lookup.Type) (lookup.Answer, error) {
	n, err := name.Parse(text)
	if err != nil {
		return lookup.Answer{}, &lookup.Error{Name: text, Type: t, Cause: err}
	}
	msg, err := l.r.Resolve(ctx, Question{Name: n, Type: uint16(t), View: l.view})
	if err != nil {
		var f *Failure
		temporary := !errors.As(err, &f) || f.Temporary
		return lookup.Answer{}, &lookup.Error{Name: text, Type: t, Temporary: temporary, Cause: err}
	}
	out, err := answer(n, t, msg)
	if err != nil {
		return lookup.Answer{}, &lookup.Error{Name: text, Type: t, Cause: err}
	}
	return out, nil
}

func answer(n name.Name, t lookup.Type, msg *dns.Msg) (lookup.Answer, error) {
	out := lookup.Answer{Status: lookup.NoData}
	dropped := 0
	for _, rr := range msg.Answer {
		if c, ok := rr.(*dns.CNAME); ok && t != lookup.CNAME {
			if target, err := name.Parse(c.Target); err == nil {
				n = target
			}
			continue
		}
		if rr.Header().Rrtype != uint16(t) {
			continue
		}
		if rec, ok := record(rr); ok {
			out.Records = append(out.Records, rec)
		} else {
			dropped++
		}
	}
	out.Canonical = n.String()
	switch {
	case len(out.Records) > 0:
		out.Status = lookup.Found
	case dropped > 0:
		return lookup.Answer{}, errHost
	case msg.Rcode == dns.RcodeNameError:
		out.Status = lookup.NXDomain
	}
	return out, nil
}

func record(rr dns.RR) (lookup.Record, bool) {
	switch r := rr.(type) {
	case *dns.A, *dns.AAAA:
		addr, ok := iterate.Addr(rr)
		return lookup.Record{Addr: addr}, ok
	case *dns.MX:
		host, ok := printable(r.Mx)
		return lookup.Record{Host: host, Preference: r.Preference}, ok
	case *dns.PTR:
		host, ok := hostName(r.Ptr)
		return lookup.Record{Host: host}, ok
	case *dns.CNAME:
		host, ok := hostName(r.Target)
		return lookup.Record{Host: host}, ok
	case *dns.TXT:
		var b strings.Builder
		for _, s := range r.Txt {
			b.Write(unescape(s))
		}
		return lookup.Record{Text: b.String()}, true
	case *dns.TLSA:
		cert, err := hex.DecodeString(r.Certificate)
		return lookup.Record{Data: append([]byte{r.Usage, r.Selector, r.MatchingType}, cert...)}, err == nil
	}
	return lookup.Record{}, false
}

// printable returns a name in lower case with its final dot, if nothing in it is
// written with a backslash. Of MX records that is enough: an SPF policy may lead
// to odd names (RFC 7208, Section 7.1), and who routes by them takes host names
// alone.
func printable(s string) (string, bool) {
	n, err := name.Parse(s)
	if err != nil {
		return "", false
	}
	text := n.String()
	return text, !strings.ContainsAny(text, "\\ ")
}

// hostName returns a name in lower case with its final dot, if it consists of
// letters, digits, hyphens and underscores (RFC 1123, Section 2.1; the
// underscore is what the world writes). "." stands for itself: a null MX
// (RFC 7505).
func hostName(s string) (string, bool) {
	n, err := name.Parse(s)
	if err != nil {
		return "", false
	}
	text := n.String()
	for _, c := range []byte(text) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return "", false
		}
	}
	return text, true
}

// unescape undoes the DNS library's presentation form of a character string
// (RFC 1035, Section 5.1).
func unescape(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			continue
		}
		i++
		if v, ok := octet(s[i:]); ok {
			out, i = append(out, v), i+2
			continue
		}
		out = append(out, s[i])
	}
	return out
}

// octet reads three decimal digits.
func octet(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	v, err := strconv.ParseUint(s[:3], 10, 8)
	return byte(v), err == nil
}
