package lab_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
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
	if file := os.Getenv(envGuess); file != "" {
		guessOn(t, file)
		return
	}
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
		handshakesFlood(l, ask, long)
		for range floodTries {
			quiet := ask()
			stop := guess(l, "AUTH")
			busy := ask()
			login(l, "198.18.200.1", "anna@example.test", "correct horse battery").want(l, "235", "454")
			guessed := stop()
			t.Logf("quiet %v\nwith %d guesses %v", quiet, guessed, busy)
			if guessed < 10 {
				t.Errorf("%d guesses are no flood", guessed)
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

// handshakesFlood: those who shake hands and go, which nothing but the cores bounds,
// hold up no names for long.
func handshakesFlood(l *lab.Lab, ask func() *load.Result, long bool) {
	stop := guess(l, "QUIT")
	busy := ask()
	shaken := stop()
	l.T().Logf("with %d handshakes %v", shaken, busy)
	if shaken < 10 {
		l.T().Errorf("%d handshakes are no flood", shaken)
	}
	if p99 := busy.Calm.At(0.99); long && !raced && busy.CalmWindows*2 > busy.Windows && p99 > handshakeBound {
		l.T().Errorf("99 of 100 answers within %v beside handshakes, want %v", p99, handshakeBound)
	}
}

const handshakeBound = 3 * time.Millisecond

// envGuess makes the test binary one that guesses, and names the file that gets
// an octet for each guess.
const (
	envGuess = "POSTERN_GUESSES"
	envLast  = "POSTERN_GUESSES_LAST"
)

// guess has many guess, until they are stopped. They stand for other machines:
// theirs is a process of its own, which has the cores only while nobody else
// wants them.
// They end what they say with that word.
func guess(l *lab.Lab, last string) (stop func() (guessed int64)) {
	exe, err := os.Executable()
	if err != nil {
		l.T().Fatal(err)
	}
	file := l.Write("guesses", "")
	made := func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			l.T().Fatal(err)
		}
		return info.Size()
	}
	p := l.Start("guessers", "chrt", "--idle", "0", "env", envGuess+"="+file, envLast+"="+last, exe, "-test.run=^TestLoginFlood$", "-test.count=1")
	l.Eventually("the flood", func() error {
		if made() == 0 {
			return errors.New("no guess yet")
		}
		return nil
	})
	before := made()
	return func() int64 {
		p.Kill9()
		return made() - before
	}
}

// guessOn guesses until the process is ended.
func guessOn(t *testing.T, file string) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all sync.WaitGroup
	for i := range guessers {
		all.Go(func() {
			for n := 0; t.Context().Err() == nil; n++ {
				from := fmt.Sprintf("198.18.%d.%d", i, 1+n%250)
				last := "QUIT"
				if os.Getenv(envLast) == "AUTH" {
					last = authPlain(fmt.Sprintf("user%d.%d@example.test", i, n), "wrong horse")
				}
				if converse(t.Context(), from, last).err == nil {
					_, _ = f.WriteString(".") // told where it is counted
				}
			}
		})
	}
	all.Wait()
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
	return converse(l.T().Context(), from, authPlain(user, password))
}

func authPlain(user, password string) string {
	return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))
}

// converse says one command over TLS, after EHLO.
func converse(ctx context.Context, from, command string) said {
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
	reply := ""
	for _, say := range []string{"", "EHLO guesser.test\r\n", command + "\r\n"} {
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
