package smtpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"postern/internal/mail/address"
	"postern/internal/mail/smtpline"
)

// sink is a Session that takes everything and keeps nothing.
type sink struct{}

func (sink) Mail(context.Context, address.Address, MailParams) *smtpline.Reply { return nil }
func (sink) Rcpt(context.Context, address.Address, RcptParams) *smtpline.Reply { return nil }
func (sink) Reset()                                                            {}
func (sink) Close()                                                            {}

func (sink) Data(_ context.Context, r io.Reader) *smtpline.Reply {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return smtpline.Refuse(451, "4.3.0", "test", "lost")
	}
	return nil
}

// BenchmarkMessage is one pipelined transaction on an open connection.
func BenchmarkMessage(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) { benchmark(b, size) })
	}
}

func benchmark(b *testing.B, size int) {
	s, err := New(Config{
		Name: "bench", Hostname: "edge.example.test", Addr: netip.MustParseAddrPort("127.0.0.1:0"), Mode: Plain,
		Log: slog.New(slog.DiscardHandler), Limits: Limits{Messages: 1 << 30},
		NewSession: func(context.Context, *Conn) (Session, *smtpline.Reply) { return sink{}, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Stop(context.WithoutCancel(b.Context())); err != nil {
			b.Error(err)
		}
	}()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	body := strings.Repeat(strings.Repeat("x", 76)+"\r\n", size/78) + ".\r\n"
	step := func(out string, replies int) {
		if _, err := io.WriteString(conn, out); err != nil {
			b.Fatal(err)
		}
		for range replies {
			if line, err := r.ReadSlice('\n'); err != nil || line[0] > '3' {
				b.Fatalf("%q %v", line, err)
			}
		}
	}
	step("", 1)
	step("HELO x\r\n", 1)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		step("MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n", 3)
		step(body, 1)
	}
}
