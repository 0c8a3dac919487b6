package mx

import (
	"strings"
	"testing"

	"postern/internal/mail/address"
)

// TestNextGroup: recipients whose message is judged by something else are for the
// client's next message; those of one group go on together, whichever came first
// (RFC 5321, Section 4.5.3.1.10).
func TestNextGroup(t *testing.T) {
	t.Parallel()
	s, k := world(t, func(c *Config) {
		c.Group = func(to address.Address, n Needs) string {
			group, _, _ := strings.Cut(to.Local, "-")
			if n.Size > 0 {
				return "" // told already
			}
			return group
		}
	})
	conn, read := talk(t, s)
	ask := func(line string) string {
		send(t, conn, line)
		return read()
	}
	ask("EHLO client")
	deliver := func(mail, rcpts, want string) {
		t.Helper()
		ask(mail)
		var got []string
		for rcpt := range strings.FieldsSeq(rcpts) {
			r := ask("RCPT TO:<" + rcpt + "@example.test>")
			got = append(got, r[:3])
			if r[:3] == "452" && !strings.HasPrefix(r, "452 4.5.3 ") {
				t.Errorf("%s", r)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", rcpts, got, want)
		}
		ask("DATA")
		ask("A: 1\r\n\r\nx\r\n.")
	}
	deliver("MAIL FROM:<a@example.net>", "x-1 y-1 x-2 y-2 x-1", "250 452 250 452 250")
	deliver("MAIL FROM:<a@example.net>", "y-1 y-2", "250 250") // a new message, a new group
	deliver("MAIL FROM:<a@example.net> SIZE=10", "x-1 y-1", "250 250")
	ask("MAIL FROM:<a@example.net>")
	ask("RCPT TO:<x-1@example.test>")
	ask("RSET")
	deliver("MAIL FROM:<a@example.net>", "y-3", "250")
	envs, _ := k.taken()
	var got []string
	for _, e := range envs {
		var to []string
		for _, a := range e.To {
			to = append(to, a.Local)
		}
		got = append(got, strings.Join(to, ","))
	}
	if want := "x-1,x-2 y-1,y-2 x-1,y-1 y-3"; strings.Join(got, " ") != want {
		t.Errorf("taken %v, want %s", got, want)
	}
}
