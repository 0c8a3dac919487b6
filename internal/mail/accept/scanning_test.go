package accept

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"postern/internal/mail/envelope"
	"postern/internal/mail/scan"
	"postern/internal/mail/smtpline"
)

// looker is an rspamd that wants one action, and counts how often it is asked.
func looker(t *testing.T, action string, asked *atomic.Int32, doors ...envelope.Origin) scan.Scanners {
	t.Helper()
	s, err := scan.New(scan.Config{
		Kind: scan.Rspamd, Network: "tcp", Address: "127.0.0.1:11333", Doors: doors,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			asked.Add(1)
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				req, err := http.ReadRequest(bufio.NewReader(theirs))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				answer := fmt.Sprintf(`{"action":%q}`, action)
				fmt.Fprintf(theirs, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
			}()
			return ours, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return scan.Scanners{s}
}

// TestScannedInbound: nothing that is refused is kept, a suspect is held or
// marked, and what is refused already is not scanned.
func TestScannedInbound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		action     string
		quarantine Quarantining
		from       string
		want       string // beginning of the reply
		asked      int32
		held       int
		mark       string
	}{
		"refused":                 {"reject", Hold, "a@example.org", "550 5.7.1", 1, 0, ""},
		"deferred":                {"soft reject", Hold, "a@example.org", "451 4.7.1", 1, 0, ""},
		"held":                    {"add header", Hold, "a@example.org", "250", 1, 1, "quarantine; reason=scan-suspect"},
		"marked":                  {"add header", Tag, "a@example.org", "250", 1, 0, "quarantine; reason=scan-suspect"},
		"clean":                   {"no action", Hold, "a@example.org", "250", 1, 0, ""},
		"refused before by DMARC": {"no action", Hold, "a@victim.example", "550 5.7.1", 0, 0, ""},
		"held before by DMARC":    {"no action", Hold, "a@soft.example", "250", 1, 1, "quarantine; reason=dmarc-quarantine"},
		"and refused then":        {"reject", Hold, "a@soft.example", "550 5.7.1", 1, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			w := newWorld(t, internet, func(cfg *Config) {
				cfg.Scanners, cfg.Quarantine = looker(t, c.action, &asked, envelope.MX), c.quarantine
			})
			r := w.arrive(c.from, unix("From: "+c.from, "", "x"))
			if !strings.HasPrefix(r.String(), c.want) || asked.Load() != c.asked {
				t.Errorf("got %s after %d scans, want %s after %d", r, asked.Load(), c.want, c.asked)
			}
			if r.Code != 250 {
				w.nothing()
				return
			}
			_, h, _ := w.stored()
			mark := ""
			if h.Count(Mark) > 0 {
				mark = value(h, Mark)
			}
			if mark != c.mark || len(w.queue.held) != c.held {
				t.Errorf("mark %q, %d held; want %q, %d", mark, len(w.queue.held), c.mark, c.held)
			}
		})
	}
}

// TestScannedOutbound: what our own send is refused, too; a suspect is held.
func TestScannedOutbound(t *testing.T) {
	t.Parallel()
	for action, want := range map[string]string{"reject": "550 5.7.1", "soft reject": "451 4.7.1", "add header": "250", "no action": "250"} {
		for _, door := range []envelope.Origin{envelope.Submission, envelope.Relay} {
			var asked atomic.Int32
			w := newWorld(t, nil, func(cfg *Config) {
				cfg.Scanners, cfg.Quarantine = looker(t, action, &asked, envelope.Submission, envelope.Relay), Tag
			})
			draft, env := w.draft(unix("From: a@city.example", "", "x")), w.envelope(door, "a@city.example", "b@example.org")
			send := func() *smtpline.Reply { return w.door.Relayed(t.Context(), draft, env, RelayPolicy{}) }
			if door == envelope.Submission {
				send = func() *smtpline.Reply { return w.door.Submitted(t.Context(), draft, env, only("a@city.example")) }
			}
			r := send()
			if !strings.HasPrefix(r.String(), want) {
				t.Errorf("%s, %s: %s", door, action, r)
			}
			if held := len(w.queue.held); (held > 0) != (action == "add header") {
				t.Errorf("%s, %s: %d held", door, action, held)
			}
		}
	}
}
