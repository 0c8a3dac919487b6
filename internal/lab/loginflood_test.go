package lab_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/lab"
	"postern/internal/lab/load"
)

const loginConfig = `
	[server]
	hostname = "edge.example.test"
	state    = "state"
	control  = "run/control.sock"
	[dns]
	rrl = "off"     # one client asks everything
	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]
	[[listen]]
	serve     = "submission"
	address   = ["198.51.100.53:465"]
	transport = ["tls"]
	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones"
	[mail]
	domains = ["example.test"]
	[mail.route."example.test"]
	next_hop   = ["maildir:mail"]
	recipients = "any"
`

// guessers are how many guess at once, each from a network of its own, so that
// no rate of one address stops them.
const guessers = 40

// TestLoginFlood: while many guess passwords, names are answered as soon as
// before: at most twice as late, in the long form, where the machine does
// nothing else; and the owner of an account still gets in.
func TestLoginFlood(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		long := os.Getenv("POSTERN_PROVE") != ""
		l.ExecInput("route add local 198.18.0.0/15 dev lo\n", "ip", "-batch", "-").Want(0)
		edge := l.Prepare(lab.PosternConfig{Name: "postern", Config: loginConfig})
		newEditor(l, edge.Path("zones", "example.test.zone"), 1000, 0)
		edge.Start()
		edge.AddUser("anna@example.test", "correct horse battery")
		during, rate := 3*time.Second, 2000
		if long {
			during, rate = 20*time.Second, 10_000
		}
		ask := func() *load.Result {
			client, err := load.New(load.Config{Server: netip.MustParseAddrPort("198.51.100.53:53"), Hosts: 1000, Mix: load.Mixed, Rate: rate, Window: 1 << 12, Seed: 3})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			overflowed := overflows(l)
			r, err := client.Run(during)
			if err != nil {
				t.Fatal(err)
			}
			if lost := overflows(l) - overflowed; r.Wrong > 0 || r.Answered == 0 || r.Lost > lost {
				t.Errorf("%v; the kernel dropped %d", r, lost)
			}
			return r
		}
		for range floodTries {
			quiet := ask()
			stop, guessed := guess(l)
			busy := ask()
			login(l, "198.18.200.1", "anna@example.test", "correct horse battery").want(l, "235", "454")
			stop()
			t.Logf("quiet %v\nwith %d guesses %v", quiet, guessed.Load(), busy)
			if guessed.Load() < 10 {
				t.Errorf("%d guesses are no flood", guessed.Load())
			}
			if !long || raced {
				return
			}
			if quiet.CalmWindows*2 <= quiet.Windows || busy.CalmWindows*2 <= busy.Windows {
				continue
			}
			if a, b := quiet.Calm.At(0.99), busy.Calm.At(0.99); b > 2*a {
				t.Errorf("99 of 100 answers within %v, without guesses within %v", b, a)
			}
			return
		}
		t.Errorf("the host took something most of the time in each of %d tries: nothing is shown", floodTries)
	})
}

// guess has many guess, until they are stopped.
func guess(l *lab.Lab) (stop func(), guessed *atomic.Uint64) {
	ctx, cancel := context.WithCancel(l.T().Context())
	guessed = new(atomic.Uint64)
	var all sync.WaitGroup
	for i := range guessers {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				from := fmt.Sprintf("198.18.%d.%d", i, 1+n%250)
				r := loginIn(ctx, from, fmt.Sprintf("user%d.%d@example.test", i, n), "wrong horse")
				if ctx.Err() == nil && r.err == nil {
					guessed.Add(1)
				}
			}
		})
	}
	return func() { cancel(); all.Wait() }, guessed
}

// said is what a login came to.
type said struct {
	reply string
	err   error
}

func (s said) want(l *lab.Lab, codes ...string) {
	l.T().Helper()
	for _, code := range codes {
		if s.err == nil && strings.HasPrefix(s.reply, code) {
			return
		}
	}
	l.T().Errorf("%q, %v: want one of %v", s.reply, s.err, codes)
}

func login(l *lab.Lab, from, user, password string) said {
	return loginIn(l.T().Context(), from, user, password)
}

// loginIn tries one login over TLS.
func loginIn(ctx context.Context, from, user, password string) said {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	raw, err := d.DialContext(ctx, "tcp", "198.51.100.53:465")
	if err != nil {
		return said{err: err}
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) // who it is matters to nobody here
	in := bufio.NewReader(conn)
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	reply := ""
	for _, say := range []string{"", "EHLO guesser.test\r\n", "AUTH PLAIN " + plain + "\r\n"} {
		if _, err := conn.Write([]byte(say)); err != nil {
			return said{err: err}
		}
		for more := true; more; more = len(reply) > 3 && reply[3] == '-' {
			if reply, err = in.ReadString('\n'); err != nil {
				return said{reply, err}
			}
		}
	}
	return said{reply: strings.TrimSpace(reply)}
}
