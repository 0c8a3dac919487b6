// Package smtpline is the text of an SMTP session: what a command line says
// (RFC 5321, Section 4.1) and how a reply is written (Section 4.2, with the
// enhanced codes of RFC 2034 and RFC 3463). It is pure: it reads bytes and
// gives values, touches no socket, disk or clock, and decides nothing that
// depends on the session's state; mail/smtpd does.
package smtpline

import (
	"fmt"
	"strconv"
	"strings"
)

// Reply is an answer to a command and, where it refuses, the refusal as a
// value: what the client reads, what the operator reads, and the cause. A nil
// *Reply from a session means the usual success of that command.
type Reply struct {
	Code     int    // 250, 421, 550 …
	Enhanced string // "5.7.1"; "" for replies that carry none (220, 334, 354, EHLO)
	Text     string // public; "\n" parts the lines; tells the sender what to do and nothing about us
	Reason   string // stable reason word for log, metric and trace; "" for success
	Cause    error  // for the log alone
	Close    bool   // end the connection once this is written
}

// maxReply is a reply line with its code and CRLF (RFC 5321, Section
// 4.5.3.1.5).
const maxReply = 512

// Refuse returns a refusal.
func Refuse(code int, enhanced, reason, text string) *Reply {
	return &Reply{Code: code, Enhanced: enhanced, Reason: reason, Text: text}
}

// Positive reports whether the command did what it says: 2xx or 3xx, or nil.
func (r *Reply) Positive() bool { return r == nil || r.Code < 400 }

// Temporary reports a 4xx reply: trying again later may help.
func (r *Reply) Temporary() bool { return r != nil && r.Code >= 400 && r.Code < 500 }

// Permanent reports a 5xx reply.
func (r *Reply) Permanent() bool { return r != nil && r.Code >= 500 }

// Append appends the reply as it goes over the wire, one or more lines, each
// with code, enhanced code and CRLF. Lines that would be too long are broken at
// a space. Bytes outside printable ASCII become '?', so that a text that quotes
// the client cannot forge a line.
func (r *Reply) Append(dst []byte) []byte {
	lines := r.lines()
	for i, line := range lines {
		dst = strconv.AppendInt(dst, int64(r.Code), 10)
		if i < len(lines)-1 {
			dst = append(dst, '-')
		} else {
			dst = append(dst, ' ')
		}
		if r.Enhanced != "" {
			dst = append(append(dst, r.Enhanced...), ' ')
		}
		for j := range len(line) {
			c := line[j]
			if c < ' ' || c > '~' {
				c = '?'
			}
			dst = append(dst, c)
		}
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// lines cuts the text where it says so and where it must.
func (r *Reply) lines() []string {
	room := maxReply - len("250 \r\n")
	if r.Enhanced != "" {
		room -= len(r.Enhanced) + 1
	}
	var out []string
	for line := range strings.SplitSeq(r.Text, "\n") {
		line = strings.TrimRight(line, "\r")
		for len(line) > room {
			cut := strings.LastIndexByte(line[:room], ' ')
			if cut <= 0 {
				cut = room
			}
			out = append(out, line[:cut])
			line = strings.TrimPrefix(line[cut:], " ")
		}
		out = append(out, line)
	}
	return out
}

// String is the reply in one line, for logs; nil is "ok".
func (r *Reply) String() string {
	if r == nil {
		return "ok"
	}
	text := strings.ReplaceAll(r.Text, "\n", " / ")
	if r.Enhanced == "" {
		return fmt.Sprintf("%d %s", r.Code, text)
	}
	return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, text)
}
