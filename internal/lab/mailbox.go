package lab

import (
	"context"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Mailbox is a maildir that some peer delivers into.
type Mailbox struct {
	l     *Lab
	owner string
	dir   string
	seen  map[string]bool
}

// Maildir is the maildir at a path, which need not exist yet.
func (l *Lab) Maildir(path string) *Mailbox {
	return &Mailbox{l: l, owner: filepath.Base(path), dir: path}
}

// Message is one delivered message.
type Message struct {
	Raw  string // lines end in LF
	Path string
}

// Receive waits for a message to an address, by Delivered-To or To, that was
// not received before; "" takes any.
func (b *Mailbox) Receive(to string) *Message {
	b.l.t.Helper()
	return b.ReceiveWhere("mail to "+to, func(m *Message) bool { return to == "" || m.isTo(to) })
}

// ReceiveWhere waits for a message that fits and was not received before.
func (b *Mailbox) ReceiveWhere(what string, fits func(*Message) bool) *Message {
	b.l.t.Helper()
	var found *Message
	b.l.Eventually(b.owner+" waits for "+what, func() error {
		others := 0
		for _, m := range b.All() {
			switch {
			case b.seen[m.Path]:
			case fits(m):
				found = m
				return nil
			default:
				others++
			}
		}
		return fmt.Errorf("not there, %d other new messages", others)
	})
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	b.seen[found.Path] = true
	return found
}

// All returns every message delivered so far.
func (b *Mailbox) All() []*Message {
	b.l.t.Helper()
	var all []*Message
	paths, err := filepath.Glob(filepath.Join(b.dir, "new", "*"))
	if err != nil {
		b.l.t.Fatal(err)
	}
	slices.Sort(paths)
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			b.l.t.Fatal(err)
		}
		all = append(all, &Message{Raw: strings.ReplaceAll(string(raw), "\r\n", "\n"), Path: path})
	}
	return all
}

// Len counts the messages delivered so far.
func (b *Mailbox) Len() int {
	b.l.t.Helper()
	return len(b.All())
}

func (m *Message) isTo(address string) bool {
	if delivered := m.Header("Delivered-To"); delivered != "" {
		return strings.EqualFold(delivered, address)
	}
	return strings.Contains(strings.ToLower(m.Header("To")), strings.ToLower(address))
}

// Header returns the first field of that name, unfolded, or "".
func (m *Message) Header(name string) string {
	if all := m.Headers(name); len(all) > 0 {
		return all[0]
	}
	return ""
}

// Headers returns all fields of that name, top first, unfolded.
func (m *Message) Headers(name string) []string {
	head, _, _ := strings.Cut(m.Raw, "\n\n")
	var all []string
	inside := false
	for line := range strings.SplitSeq(head, "\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			if inside {
				all[len(all)-1] += " " + strings.TrimSpace(line)
			}
			continue
		}
		field, value, ok := strings.Cut(line, ":")
		if inside = ok && strings.EqualFold(field, name); inside {
			all = append(all, strings.TrimSpace(value))
		}
	}
	return all
}

// Body returns what follows the header.
func (m *Message) Body() string {
	_, body, _ := strings.Cut(m.Raw, "\n\n")
	return body
}

// awaitGreeting waits until an SMTP server says 220 at an address.
func (l *Lab) awaitGreeting(server *Process, address string) {
	l.t.Helper()
	l.Eventually("SMTP greeting of "+address, func() error {
		server.alive()
		return greeting(l.ctx, address)
	})
}

func greeting(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	text := textproto.NewConn(conn)
	if _, _, err := text.ReadResponse(220); err != nil {
		return err
	}
	return text.PrintfLine("QUIT")
}

// crlf gives a message the line ends of the wire.
func crlf(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
}
