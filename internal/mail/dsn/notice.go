package dsn

import (
	"bytes"
	"fmt"
	"strings"

	"postern/internal/mail/address"
)

// Kept is a message that failed and is held, because nothing shows that its
// sender sent it.
type Kept struct {
	Report                  // To is whom it is told
	From    address.Address // the sender that was not told
	Others  int             // held for the same reason, and not told of yet
	Dropped int             // of those held before, dropped since the last notice
	Age     string          // how long one is held: "14 days"
}

// Notice writes what postmaster is told of it. Nothing of the message itself
// goes along: it may be anything.
func Notice(k Kept) Message {
	w := writer{Report: k.Report}
	w.utf8 = !k.From.IsASCII()
	for _, r := range k.Recipients {
		w.utf8 = w.utf8 || !r.Final.IsASCII()
	}
	body := []byte(w.noticeText(k))
	return Message{To: k.To, Header: w.noticeHeader(), Body: body, UTF8: !k.To.IsASCII(), Body8Bit: !ascii(body)}
}

func (w *writer) noticeHeader() []byte {
	var b bytes.Buffer
	host := token(w.Hostname)
	fmt.Fprintf(&b, "Date: %s\r\n", date(w.Now))
	fmt.Fprintf(&b, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", host)
	fmt.Fprintf(&b, "To: %s\r\n", w.To.Path())
	fmt.Fprintf(&b, "Subject: A message that could not be delivered is held: %s\r\n", token(w.QueueID))
	fmt.Fprintf(&b, "Message-ID: <%s@%s>\r\n", token(w.ID), host)
	b.WriteString("Auto-Submitted: auto-generated\r\n") // RFC 3834, Section 5
	fmt.Fprintf(&b, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=%s\r\n", w.charset())
	if w.utf8 {
		b.WriteString("Content-Transfer-Encoding: 8bit\r\n")
	}
	return b.Bytes()
}

func (w *writer) noticeText(k Kept) string {
	var b strings.Builder
	id := token(w.QueueID)
	fmt.Fprintf(&b, "This is the mail system at %s.\r\n\r\n", token(w.Hostname))
	b.WriteString("A message was taken from the world and could not be delivered. Nothing shows\r\n" +
		"that its sender sent it, so the sender was not told. The message is held.\r\n\r\n")
	fmt.Fprintf(&b, "  Id:       %s\r\n  Sender:   %s\r\n  Received: %s\r\n", id, clean(k.From.Path(), w.utf8), date(w.Arrived))
	for _, r := range w.Recipients {
		fmt.Fprintf(&b, "\r\n  %s\r\n", clean(r.Final.Path(), w.utf8))
		if said := reply(r, w.utf8); said != "" {
			b.WriteString(wrap("    ", strings.TrimSpace(clean(r.RemoteMTA, false)+" said: "+said)))
		}
	}
	fmt.Fprintf(&b, "\r\n  postern queue show %[1]s\r\n  postern queue release %[1]s    tries it once more\r\n  postern queue drop %[1]s       throws it away\r\n", id)
	if k.Age != "" {
		fmt.Fprintf(&b, "\r\nIt is dropped after %s.\r\n", k.Age)
	}
	if k.Dropped > 0 {
		fmt.Fprintf(&b, "\r\n%d that were held before have been dropped since the last notice like this one:\r\nthey were the oldest of too many, or nobody decided on them in time.\r\n", k.Dropped)
	}
	if k.Others > 0 {
		fmt.Fprintf(&b, "\r\n%d more were held for the same reason since the last notice like this one, of\r\nwhich there is one an hour at most: postern queue list\r\n", k.Others)
	}
	return b.String()
}
