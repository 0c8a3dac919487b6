package app

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// announcer is an inner server that tells what it can do. It takes what it is
// given, and says when somebody has heard it.
func announcer(t *testing.T, can string) (addr string, heard chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	heard = make(chan string, 100)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go announce(conn, can, heard)
		}
	}()
	return ln.Addr().String(), heard
}

func announce(conn net.Conn, can string, heard chan string) {
	defer conn.Close()
	say := func(text string) { _, _ = fmt.Fprintf(conn, "%s\r\n", text) }
	say("220 inner")
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		switch verb := strings.ToUpper(strings.Fields(lines.Text() + " .")[0]); verb {
		case "EHLO":
			say("250-inner\r\n250 " + can)
		case "QUIT":
			say("221 bye")
			heard <- "heard"
			return
		case "DATA":
			say("354 go ahead")
			for lines.Scan() && lines.Text() != "." {
				continue
			}
			say("250 taken")
		default:
			say("250 ok")
		}
	}
}

// TestWhatHopsTakeIsDecidedAtRCPT: before any mail went there it is known what the
// hop of each domain takes; what one alone would refuse at the dot is brought to
// it by itself, and no recipient is answered with another's.
func TestWhatHopsTakeIsDecidedAtRCPT(t *testing.T) {
	t.Parallel()
	small, smallHeard := announcer(t, "SIZE 1000")
	large, largeHeard := announcer(t, "SMTPUTF8")
	h := buildWith(t, strings.NewReplacer(
		`domains = ["city.example"]`, `domains = ["city.example", "small.example", "large.example"]`,
		`[mail.outbound]`, fmt.Sprintf(`[mail.route."small.example"]
next_hop = ["smtp://%s"]
[mail.route."large.example"]
next_hop = ["smtp://%s"]
[mail.inbound]
checks = []
[mail.outbound]`, small, large),
	).Replace(houseConfig), nil)
	<-smallHeard
	<-largeHeard

	conn, err := net.Dial("tcp", h.mxAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	read := func() string {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if len(line) > 3 && line[3] == ' ' {
				return strings.TrimSpace(line)
			}
		}
	}
	ask := func(line, want string) {
		t.Helper()
		_, _ = fmt.Fprintf(conn, "%s\r\n", line)
		if got := read(); !strings.HasPrefix(got, want) {
			t.Errorf("%.60s: %s, want %s", line, got, want)
		}
	}
	read()
	ask("EHLO client.example", "250 ")
	long := "Subject: x\r\n\r\n" + strings.Repeat("0123456789\r\n", 200) + "."

	// A size that was told is judged at RCPT, one that was not at the dot: by itself.
	ask("MAIL FROM:<a@far.example> SIZE=2000", "250 ")
	ask("RCPT TO:<a@small.example>", "552 5.3.4 ")
	ask("RCPT TO:<a@large.example>", "250 ")
	ask("RCPT TO:<a@city.example>", "250 ")
	ask("RSET", "250 ")
	ask("MAIL FROM:<a@far.example>", "250 ")
	ask("RCPT TO:<a@large.example>", "250 ")
	ask("RCPT TO:<a@small.example>", "452 4.5.3 ")
	ask("RCPT TO:<b@large.example>", "250 ")
	ask("RCPT TO:<a@city.example>", "250 ")
	ask("DATA", "354 ")
	ask(long, "250 ")
	ask("MAIL FROM:<a@far.example>", "250 ")
	ask("RCPT TO:<a@small.example>", "250 ")
	ask("RCPT TO:<a@city.example>", "452 4.5.3 ")
	ask("DATA", "354 ")
	ask(long, "552 5.3.4 ")

	// So are headers beyond ASCII.
	ask("MAIL FROM:<a@far.example> SMTPUTF8 SIZE=100", "250 ")
	ask("RCPT TO:<\u00e4@small.example>", "550 5.6.7 ")
	ask("RCPT TO:<a@small.example>", "250 ")
	ask("RCPT TO:<a@large.example>", "452 4.5.3 ")
	ask("DATA", "354 ")
	ask("Subject: \u00e4\r\n\r\nx\r\n.", "550 5.6.7 ")
	ask("MAIL FROM:<a@far.example> SMTPUTF8 SIZE=100", "250 ")
	ask("RCPT TO:<\u00e4@large.example>", "250 ")
	ask("RCPT TO:<a@city.example>", "250 ")
	ask("RSET", "250 ")

	// Nothing that was told differs: they share one message.
	ask("MAIL FROM:<a@far.example> SIZE=100", "250 ")
	ask("RCPT TO:<a@small.example>", "250 ")
	ask("RCPT TO:<a@large.example>", "250 ")
	ask("RCPT TO:<postmaster>", "250 ")
	ask("QUIT", "221 ")
}
