package smtpd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/smtpline"
)

// scripted is a connection whose client has said all it will say. Each Read
// gives one piece, as if it had arrived alone.
type scripted struct {
	net.Conn
	pieces [][]byte
	out    bytes.Buffer
}

func (s *scripted) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error)    { return s.out.Write(p) }
func (*scripted) SetReadDeadline(time.Time) error  { return nil }
func (*scripted) SetWriteDeadline(time.Time) error { return nil }
func (*scripted) Close() error                     { return nil }
func (*scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func (*scripted) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 25} }

// orderly is a Session that checks the order of its calls.
type orderly struct {
	t      *testing.T
	inMail bool
	rcpts  int
	closed bool
}

func (o *orderly) Mail(_ context.Context, from address.Address, _ MailParams) *smtpline.Reply {
	if o.inMail || o.closed {
		o.t.Error("MAIL inside a transaction")
	}
	o.inMail = true
	o.clean(from)
	return nil
}

func (o *orderly) Rcpt(_ context.Context, to address.Address, _ RcptParams) *smtpline.Reply {
	if !o.inMail || o.closed || to.IsZero() {
		o.t.Errorf("RCPT to %+v out of order", to)
	}
	o.rcpts++
	o.clean(to)
	return nil
}

func (o *orderly) clean(a address.Address) {
	if s := a.String(); bytes.ContainsAny([]byte(s), "\r\n\x00") {
		o.t.Errorf("address %q", s)
	}
}

func (o *orderly) Data(_ context.Context, r io.Reader) *smtpline.Reply {
	if !o.inMail || o.rcpts == 0 || o.closed {
		o.t.Error("DATA out of order")
	}
	b, err := io.ReadAll(r)
	if err == nil && !wellFramed(b) {
		o.t.Errorf("message %q", b)
	}
	return nil
}

func wellFramed(b []byte) bool {
	rest := bytes.ReplaceAll(b, []byte("\r\n"), nil)
	return !bytes.ContainsAny(rest, "\r\n\x00") && (len(b) == 0 || bytes.HasSuffix(b, []byte("\r\n")))
}

func (o *orderly) Reset() { o.inMail, o.rcpts = false, 0 }

func (o *orderly) Close() {
	if o.closed {
		o.t.Error("closed twice")
	}
	o.closed = true
}

// FuzzServer plays foreign bytes to the whole engine: it must end, keep the
// order of calls, and answer in lines that are replies.
func FuzzServer(f *testing.F) {
	for _, s := range []string{
		"EHLO x\r\n|MAIL FROM:<a@b.test> SIZE=5\r\nRCPT TO:<c@d.test>\r\nDATA\r\n|hi\r\n.\r\nQUIT\r\n",
		"HELO x\r\n|MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n|..\r\n.\r\n",
		"EHLO x\r\n|STARTTLS\r\n|junk", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "EHLO x\r\n|AUTH PLAIN\r\n|*\r\n",
		"EHLO x\r\n|MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n|a\n.\n\r\n.\r\n",
		"EHLO x\r\n|MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nBDAT 3\r\na\r\nNOOP\r\nBDAT 4 LAST\r\n|.\r\n\rQUIT\r\n",
		"EHLO x\r\n|MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nBDAT 9\r\na\r\n|RSET\r\nRSET\r\nBDAT x\r\n",
		"XCLIENT ADDR=192.0.2.9 HELO=x PROTO=SMTP\r\n|MAIL FROM:<>\r\nXCLIENT ADDR=IPV6:2001:db8::9\r\n|QUIT\r\n",
	} {
		f.Add([]byte(s))
	}
	log := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, in []byte) {
		var sessions []*orderly
		s, err := New(Config{
			Name: "fuzz", Hostname: "edge.example.test", Mode: Plain, MaxSize: 1000, Log: log,
			Exempt:   []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
			Chunking: true, XClient: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
			NewSession: func(context.Context, *Conn) (Session, *smtpline.Reply) {
				sessions = append(sessions, &orderly{t: t})
				return sessions[len(sessions)-1], nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		raw := &scripted{pieces: pieces(in)}
		c := newConn(s, s.conf.Load(), raw, Conn{Remote: netip.MustParseAddrPort("192.0.2.1:1")})
		c.serve(t.Context())
		for _, session := range sessions {
			if !session.closed {
				t.Error("a session was not closed")
			}
		}
		for line := range bytes.Lines(raw.out.Bytes()) {
			if len(line) < 6 || len(line) > 512 || line[0] < '2' || line[0] > '5' || line[3] != ' ' && line[3] != '-' || !bytes.HasSuffix(line, []byte("\r\n")) {
				t.Errorf("reply line %q", line)
			}
		}
	})
}

// pieces cuts the input where it holds a bar.
func pieces(in []byte) [][]byte {
	var out [][]byte
	for piece := range bytes.SplitSeq(in, []byte("|")) {
		if len(piece) > 0 {
			out = append(out, piece)
		}
	}
	return out
}
