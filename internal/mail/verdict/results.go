package verdict

import (
	"net/netip"

	"postern/internal/mail/dkim"
	"postern/internal/mail/dmarc"
	"postern/internal/mail/message"
	"postern/internal/mail/spf"
)

// Results writes the facts as an Authentication-Results field with its CRLF
// (RFC 8601). authservID is our public name. Every value that a stranger chose
// is a token or a quoted string, so that none can begin a result of its own.
func Results(authservID string, client netip.Addr, f Facts) string {
	w := writer{words: []string{message.Value(authservID)}}
	if f.Reverse.Status != ReverseNone {
		w.result("iprev=" + f.Reverse.Status.String())
		w.comment(f.Reverse.Name)
		w.property("policy.iprev", client.String())
	}
	if f.Ran.SPF {
		if f.From.Identity == spf.MailFrom { // with the null sender it is HELO's
			w.spf(f.From)
		}
		w.spf(f.HELO)
	}
	if f.Ran.DKIM {
		w.dkim(f.DKIM)
	}
	if f.Ran.DMARC {
		w.dmarc(f)
	}
	if len(w.words) == 1 {
		w.result("none") // RFC 8601, Section 2.2: no-result
	}
	return message.FormatField("Authentication-Results", w.words...)
}

// writer gathers the words of the field.
type writer struct{ words []string }

// result begins a resinfo: the semicolon goes to the word before it.
func (w *writer) result(words ...string) {
	w.words[len(w.words)-1] += ";"
	w.words = append(w.words, words...)
}

func (w *writer) comment(s string) {
	if s != "" {
		w.words = append(w.words, message.Comment(clip(s, 120)))
	}
}

func (w *writer) property(name, value string) {
	if value != "" {
		w.words = append(w.words, name+"="+message.Value(clip(value, 255)))
	}
}

func (w *writer) spf(r spf.Result) {
	if r.Identity == spf.NotChecked || r.Domain == "" {
		return
	}
	w.result("spf=" + r.Status.String())
	if r.Status != spf.Pass {
		w.comment(r.Explain)
	}
	w.property("smtp."+r.Identity.String(), r.Domain)
}

func (w *writer) dkim(sigs []dkim.Signature) {
	if len(sigs) == 0 {
		w.result("dkim=none")
		return
	}
	for _, s := range sigs {
		w.result("dkim=" + s.Status.String())
		switch {
		case s.Testing:
			w.comment("test key; " + s.Reason)
		default:
			w.comment(s.Reason)
		}
		w.property("header.d", s.Domain)
		w.property("header.s", s.Selector)
		w.property("header.a", s.Algorithm)
		w.property("header.b", s.B)
	}
}

func (w *writer) dmarc(f Facts) {
	r := f.DMARC
	switch {
	case f.Author != nil:
		w.result("dmarc=permerror")
		w.comment(f.Author.Error())
		return
	case r.TooManyAuthors:
		w.result("dmarc=permerror")
		w.comment("too many author domains")
		return
	}
	w.result("dmarc=" + r.Status.String())
	if r.Record != nil {
		w.comment(describe(r))
	}
	w.property("header.from", r.Author)
	if r.Status == dmarc.Fail {
		w.property("policy.dmarc", r.Applied.String())
	}
}

// describe tells which tag of which record spoke.
func describe(r dmarc.Result) string {
	tag := "p"
	switch {
	case r.At == r.Author:
	case r.Nonexistent && r.Record.NP != dmarc.NotStated:
		tag = "np"
	case r.Record.SP != dmarc.NotStated:
		tag = "sp"
	}
	s := tag + "=" + r.Published.String()
	if r.Record.Testing {
		s += " t=y"
	}
	if r.At != r.Author {
		s += " of " + r.At
	}
	return s
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
