// Package dsn writes delivery status notifications: the multipart/report that
// tells a sender which recipients did not get the message, and why (RFC 3461,
// 3462, 3464, 6522, 6533; RFC 3834 for Auto-Submitted).
//
// It is pure: facts in, bytes out; the caller gives the time and the id. It
// says only what the caller hands it, so that the caller decides which names of
// the inside may be told. It never returns the body of the original, only its
// header (departs from RFC 3461, Section 4.3: RET=FULL is read as HDRS, so that
// a forged sender is never sent somebody's message).
package dsn

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"postern/internal/mail/address"
)

// Action is what became of a recipient (RFC 3464, Section 2.3.3). The zero
// value is not a valid action.
type Action string

// The actions that Postern reports.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered" // into the mailbox
	Relayed   Action = "relayed"   // to a server that will not tell
)

// Recipient is the fate of one recipient.
type Recipient struct {
	Final      address.Address
	Original   string // ORCPT as received, "rfc822;user@host"; "" if none
	Action     Action
	Status     string    // "5.1.1"; "" or malformed: 5.0.0, or 4.0.0 when delayed
	Code       int       // SMTP reply code; 0: no reply was received
	Text       string    // the remote reply or our own reason, may be ""
	RemoteMTA  string    // host that gave the reply, may be ""
	LastTry    time.Time // zero: none
	RetryUntil time.Time // for delayed
	Note       string    // a sentence of ours for people, may be ""
}

// Report is everything a notification says.
type Report struct {
	ID         string // unique; becomes the left side of the Message-ID and part of the boundary
	Hostname   string // our public name: reporting MTA, right side of the Message-ID, domain of From
	To         address.Address
	EnvID      string // ENVID as received, in xtext; "" if none
	QueueID    string // id of the original, for the operator; may be ""
	Arrived    time.Time
	Now        time.Time
	Recipients []Recipient
	Header     []byte // of the original: CRLF lines, without the empty line
	UTF8       bool   // the original was sent with SMTPUTF8
}

// Message is a finished notification, to be sent with the null reverse-path
// (RFC 3461, Section 6.1).
type Message struct {
	To       address.Address
	Header   []byte // CRLF lines, without the empty line
	Body     []byte // CRLF lines
	UTF8     bool   // needs SMTPUTF8
	Body8Bit bool   // needs 8BITMIME
}

// maxHeader bounds the part of the original's header that is returned.
const maxHeader = 64 << 10

// Build writes the notification.
func Build(r Report) Message {
	w := writer{Report: r, boundary: "=_" + token(r.ID) + ".report"}
	w.utf8 = r.UTF8 && !ascii(r.Header)
	for _, rcpt := range r.Recipients {
		w.utf8 = w.utf8 || !rcpt.Final.IsASCII()
	}
	body := w.body()
	m := Message{
		To:     r.To,
		Header: w.header(),
		Body:   body,
		UTF8:   !r.To.IsASCII(),
	}
	m.Body8Bit = !ascii(body)
	return m
}

type writer struct {
	Report
	boundary string
	utf8     bool // the report's parts hold UTF-8 (RFC 6533)
}

func (w *writer) header() []byte {
	var b bytes.Buffer
	host := token(w.Hostname)
	fmt.Fprintf(&b, "Date: %s\r\n", date(w.Now))
	fmt.Fprintf(&b, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", host)
	fmt.Fprintf(&b, "To: %s\r\n", w.To.Path())
	fmt.Fprintf(&b, "Subject: %s\r\n", w.subject())
	fmt.Fprintf(&b, "Message-ID: <%s@%s>\r\n", token(w.ID), host)
	// RFC 3834, Section 5; it keeps responders from answering.
	b.WriteString("Auto-Submitted: auto-replied\r\n")
	b.WriteString("MIME-Version: 1.0\r\n")
	// RFC 6522, Section 3.
	fmt.Fprintf(&b, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n", w.boundary)
	if w.utf8 {
		b.WriteString("Content-Transfer-Encoding: 8bit\r\n")
	}
	return b.Bytes()
}

func (w *writer) subject() string {
	switch {
	case w.delayed():
		return "Your message is delayed"
	case w.delivered():
		return "Your message was delivered"
	}
	return "Your message could not be delivered"
}

func (w *writer) delayed() bool {
	for _, r := range w.Recipients {
		if r.Action != Delayed {
			return false
		}
	}
	return len(w.Recipients) > 0
}

func (w *writer) delivered() bool {
	for _, r := range w.Recipients {
		if r.Action != Delivered && r.Action != Relayed {
			return false
		}
	}
	return len(w.Recipients) > 0
}

func (w *writer) body() []byte {
	var b bytes.Buffer
	b.WriteString("This is a report in MIME format.\r\n")
	w.part(&b, "text/plain; charset="+w.charset(), w.explain())
	w.part(&b, w.kind("delivery-status"), w.status())
	if len(w.Header) > 0 { // RFC 6522, Section 3: it may be left out
		w.part(&b, w.headersKind(), w.original())
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", w.boundary)
	return b.Bytes()
}

func (w *writer) part(b *bytes.Buffer, contentType, content string) {
	fmt.Fprintf(b, "\r\n--%s\r\nContent-Type: %s\r\n", w.boundary, contentType)
	if !ascii([]byte(content)) {
		b.WriteString("Content-Transfer-Encoding: 8bit\r\n")
	}
	b.WriteString("\r\n" + content)
}

func (w *writer) charset() string {
	if w.utf8 {
		return "utf-8"
	}
	return "us-ascii"
}

// kind picks the media type: the global ones where UTF-8 is inside (RFC 6533,
// Sections 4 and 5).
func (w *writer) kind(name string) string {
	if w.utf8 {
		return "message/global-" + name
	}
	return "message/" + name
}

func (w *writer) headersKind() string {
	if w.utf8 {
		return "message/global-headers"
	}
	return "text/rfc822-headers"
}

// explain is the part for people.
func (w *writer) explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "This is the mail system at %s.\r\n\r\n", token(w.Hostname))
	switch {
	case w.delivered():
		b.WriteString("You asked to be told: your message was delivered to the recipients below.\r\n")
	case w.delayed():
		b.WriteString("Your message has not been delivered yet. It will be tried again;\r\nyou need not send it once more.\r\n")
	default:
		b.WriteString("Your message could not be delivered to the recipients below.\r\n")
	}
	for _, r := range w.Recipients {
		fmt.Fprintf(&b, "\r\n  %s\r\n", clean(r.Final.Path(), w.utf8))
		if said := reply(r, w.utf8); said != "" {
			who := "Reason"
			if r.RemoteMTA != "" {
				who = clean(r.RemoteMTA, false) + " said"
			}
			b.WriteString(wrap("    ", who+": "+said))
		}
		if r.Note != "" {
			b.WriteString(wrap("    ", clean(r.Note, w.utf8)))
		}
	}
	if w.QueueID != "" {
		fmt.Fprintf(&b, "\r\nThe message was received on %s and is known here as %s.\r\n", date(w.Arrived), token(w.QueueID))
	}
	return b.String()
}

// status is the part for programs (RFC 3464, Section 2).
func (w *writer) status() string {
	var b strings.Builder
	if w.EnvID != "" {
		fmt.Fprintf(&b, "Original-Envelope-Id: %s\r\n", clean(unxtext(w.EnvID), false))
	}
	fmt.Fprintf(&b, "Reporting-MTA: dns; %s\r\n", token(w.Hostname))
	if !w.Arrived.IsZero() {
		fmt.Fprintf(&b, "Arrival-Date: %s\r\n", date(w.Arrived))
	}
	for _, r := range w.Recipients {
		b.WriteString("\r\n")
		w.recipient(&b, r)
	}
	return b.String()
}

func (w *writer) recipient(b *strings.Builder, r Recipient) {
	if kind, addr, ok := strings.Cut(r.Original, ";"); ok {
		fmt.Fprintf(b, "Original-Recipient: %s; %s\r\n", token(kind), clean(unxtext(addr), w.utf8))
	}
	kind := "rfc822"
	if !r.Final.IsASCII() {
		kind = "utf-8" // RFC 6533, Section 3
	}
	fmt.Fprintf(b, "Final-Recipient: %s; %s\r\n", kind, clean(r.Final.String(), w.utf8))
	fmt.Fprintf(b, "Action: %s\r\n", r.Action)
	fmt.Fprintf(b, "Status: %s\r\n", statusOf(r))
	if r.RemoteMTA != "" {
		fmt.Fprintf(b, "Remote-MTA: dns; %s\r\n", clean(r.RemoteMTA, false))
	}
	if said := reply(r, w.utf8); said != "" {
		// RFC 3464, Section 2.3.6: "smtp" only for what an SMTP server said.
		kind := "x-postern"
		if r.Code != 0 {
			kind = "smtp"
		}
		b.WriteString(wrap("", "Diagnostic-Code: "+kind+"; "+said))
	}
	if !r.LastTry.IsZero() {
		fmt.Fprintf(b, "Last-Attempt-Date: %s\r\n", date(r.LastTry))
	}
	if r.Action == Delayed && !r.RetryUntil.IsZero() {
		fmt.Fprintf(b, "Will-Retry-Until: %s\r\n", date(r.RetryUntil))
	}
}

// original is the header of the message that failed.
func (w *writer) original() string {
	h := w.Header
	if len(h) > maxHeader {
		h = h[:maxHeader]
		h = h[:bytes.LastIndexByte(h, '\n')+1]
	}
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(string(h), "\r\n"), "\r\n") {
		b.WriteString(clean(line, w.utf8) + "\r\n")
	}
	return b.String()
}
