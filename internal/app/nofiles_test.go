package app

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestNoFileIsLeft has clients use up all files that the process may open. Who is
// in conversation is told to come again, in words; when they are gone, mail is
// taken as before.
func TestNoFileIsLeft(t *testing.T) {
	t.Parallel()
	if racing {
		t.Skip("nothing here is about races")
	}
	prlimit, err := exec.LookPath("prlimit")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("prlimit is not installed")
		}
		t.Skip("prlimit is not installed")
	}
	p := startCosting(t, prlimit, "--nofile=120:120")
	conn, err := net.Dial("tcp", p.addrs["mx"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	if err := say(conn, in, []string{"220", "EHLO localhost", "250"}); err != nil {
		t.Fatal(err)
	}
	var crowd []net.Conn
	for range 150 {
		c, err := net.Dial("tcp", p.addrs["mx"])
		if err != nil {
			break // the kernel's own queue is full, too
		}
		defer c.Close()
		crowd = append(crowd, c)
	}
	taken := attemptUntil(t, conn, in, "451 4.3.0 ")
	for _, c := range crowd {
		_ = c.Close()
	}
	attemptUntil(t, conn, in, "250 2.0.0 queued as ")
	t.Logf("%d messages before all files were in use by %d clients", taken, len(crowd))
	if err := p.send(2); err != nil { // a new conversation
		t.Error(err)
	}
}

// attemptUntil brings messages until the reply begins so, and says how many were
// taken before.
func attemptUntil(t *testing.T, conn net.Conn, in *bufio.Reader, want string) int {
	t.Helper()
	last := ""
	for n := range 1000 {
		if err := say(conn, in, []string{"MAIL FROM:<a@localhost>", "250", "RCPT TO:<b@city.example>", "250"}); err != nil {
			t.Fatal(err)
		}
		for _, said := range []string{"DATA\r\n", fmt.Sprintf("From: a@localhost\r\n\r\n%d\r\n.\r\n", n)} {
			if _, err := io.WriteString(conn, said); err != nil {
				t.Fatal(err)
			}
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if last = line; last[0] != '3' {
				break
			}
		}
		if len(last) >= len(want) && last[:len(want)] == want {
			if err := say(conn, in, []string{"RSET", "250"}); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if err := say(conn, in, []string{"RSET", "250"}); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("never %q; last %q", want, last)
	return 0
}
