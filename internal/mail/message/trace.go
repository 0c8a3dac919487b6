package message

import (
	"net/mail"
	"net/netip"
	"strings"
	"time"

	"postern/internal/mail/address"
)

// Trace is what a Received field says (RFC 5321, Section 4.4).
type Trace struct {
	Helo   string          // as the client said it; "" leaves the from clause out
	Client netip.Addr      // not valid: not told, to protect who submits
	Name   string          // the client's verified reverse name, if known
	By     string          // our name
	With   string          // protocol keyword of RFC 3848, Section 2
	ID     string          // queue id
	For    address.Address // the only recipient; zero where there are more
	Time   time.Time
}

// Field writes the Received field with its CRLF.
func (t Trace) Field() string {
	var words []string
	if t.Helo != "" {
		words = append(words, "from", atomOr(t.Helo))
		if c := t.client(); c != "" {
			words = append(words, "("+c+")")
		}
	}
	words = append(words, "by", atomOr(t.By), "with", atomOr(t.With), "id", atomOr(t.ID))
	if !t.For.IsZero() && t.For.Domain != "" && t.For.IsASCII() {
		words = append(words, "for", "<"+t.For.String()+">")
	}
	words[len(words)-1] += ";"
	return FormatField("Received", append(words, Date(t.Time))...)
}

// client is the TCP-info of RFC 5321, Section 4.4.
func (t Trace) client() string {
	if !t.Client.IsValid() {
		return ""
	}
	lit := "[" + t.Client.Unmap().String() + "]"
	if t.Client.Unmap().Is6() {
		lit = "[IPv6:" + t.Client.WithZone("").String() + "]"
	}
	if t.Name != "" {
		return atomOr(strings.TrimSuffix(t.Name, ".")) + " " + lit
	}
	return lit
}

// atomOr keeps what can stand in a trace field as a domain, a literal or an
// atom and replaces everything else: a HELO name is whatever the client sends.
func atomOr(s string) string {
	if len(s) > 255 {
		s = s[:255]
	}
	out := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;\"`, r) {
			return '?'
		}
		return r
	}, s)
	if out == "" {
		return "?"
	}
	return out
}

// Protocol is the "with" keyword of RFC 3848 and RFC 6531, Section 4.3.
func Protocol(extended, tls, auth, utf8 bool) string {
	if !extended {
		return "SMTP"
	}
	word := "ESMTP"
	if utf8 {
		word = "UTF8SMTP"
	}
	if tls {
		word += "S"
	}
	if auth {
		word += "A"
	}
	return word
}

// Complete does for a submitted message what RFC 6409, Sections 8.2 and 8.3
// let a submission server do: a Date or Message-ID that is missing or cannot be
// read as one is made, of several the first stays (RFC 5322, Section 3.6), and Bcc
// goes (Section 3.6.3), Resent-Bcc with it. id is the left side of a Message-ID of
// our own making, domain its right side.
func (h *Header) Complete(now time.Time, id, domain string) (*Header, error) {
	dated, named := false, false
	out, _ := h.Without(func(f Field) bool {
		switch {
		case f.Is("Bcc"), f.Is("Resent-Bcc"):
			return true
		case f.Is("Date"):
			had := dated
			dated = dated || isDate(f.Value())
			return had || !dated
		case f.Is("Message-ID"):
			had := named
			named = named || isMessageID(f.Value())
			return had || !named
		}
		return false
	})
	var add []string
	if !dated {
		add = append(add, FormatField("Date", Date(now)))
	}
	if !named {
		add = append(add, FormatField("Message-ID", "<"+atomOr(id)+"@"+atomOr(domain)+">"))
	}
	if len(add) == 0 {
		return out, nil
	}
	return out.Prepend(add...)
}

// isDate takes what a reader can make a time of, obsolete forms included.
func isDate(s string) bool {
	_, err := mail.ParseDate(s)
	return err == nil
}

// isMessageID is not strict about what stands in the brackets: other messages
// may refer to it already.
func isMessageID(s string) bool {
	inner, ok1 := strings.CutPrefix(s, "<")
	inner, ok2 := strings.CutSuffix(inner, ">")
	return ok1 && ok2 && inner != "" && !strings.ContainsAny(inner, "<> \t")
}

// MessageID is the value of the Message-ID field, for logs; "" if there is none.
func (h *Header) MessageID() string {
	f, ok := h.First("Message-ID")
	if !ok {
		return ""
	}
	v := f.Value()
	if len(v) > 250 {
		v = v[:250]
	}
	return v
}
