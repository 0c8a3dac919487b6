package lab

import (
	"fmt"
	"strings"
)

// What a receiver elsewhere makes of a message, by programs that share no code
// with Postern. All of them look names up through resolv.conf, so through
// Unbound and the tree.

// DKIM verifies the first signature with dkimpy: "pass d=DOMAIN s=SELECTOR", or "fail" and
// why.
func (l *Lab) DKIM(m *Message) string {
	l.t.Helper()
	return l.judge(`
		import sys, dkim
		message = sys.stdin.buffer.read()
		try:
		    d = dkim.DKIM(message)
		    ok = d.verify()
		    print('pass' if ok else 'fail', 'd=' + d.domain.decode(), 's=' + d.selector.decode())
		except Exception as e:
		    print('fail', repr(e))
	`, m)
}

// SPF evaluates a client with pyspf: "pass", "fail", "softfail" and so on.
func (l *Lab) SPF(client, from, helo string) string {
	l.t.Helper()
	out := l.Python(`
		import sys, spf
		print(spf.check2(i=sys.argv[1], s=sys.argv[2], h=sys.argv[3])[0])
	`, "", client, from, helo).Want(0)
	return strings.TrimSpace(out.Stdout)
}

// Authenticate runs SPF, DKIM and DMARC with authheaders and returns the
// Authentication-Results it would write, on one line.
func (l *Lab) Authenticate(m *Message, client, from, helo string) string {
	l.t.Helper()
	return l.judge(`
		import sys, warnings
		warnings.simplefilter('ignore')
		import authheaders
		ip, sender, helo = sys.argv[1:4]
		result = authheaders.authenticate_message(sys.stdin.buffer.read(), 'judge.lab',
		    spf=True, dkim=True, dmarc=True, ip=ip, mail_from=sender, helo=helo)
		print(' '.join(str(result).split()))
	`, m, client, from, helo)
}

func (l *Lab) judge(script string, m *Message, args ...string) string {
	l.t.Helper()
	return strings.TrimSpace(l.Python(script, crlf(m.Raw), args...).Want(0).Stdout)
}

// DMARCPolicy asks opendmarc-check for the policy a domain publishes, "reject"
// say.
func (l *Lab) DMARCPolicy(domain string) string {
	l.t.Helper()
	out := l.Exec(l.program("opendmarc-check", "opendmarc"), domain)
	for line := range strings.Lines(out.Stdout) {
		if policy, ok := strings.CutPrefix(strings.TrimSpace(line), "Domain policy:"); ok {
			return strings.TrimSpace(policy)
		}
	}
	return fmt.Sprintf("none found: %s", out)
}

// WantAuthentic fails the test unless the judges find the message's DKIM
// signature, SPF and DMARC right for domain.
func (l *Lab) WantAuthentic(m *Message, domain, client, helo string) {
	l.t.Helper()
	if got := l.DKIM(m); !strings.HasPrefix(got, "pass d="+domain+" ") {
		l.t.Errorf("dkimpy: %s\n%s", got, m.Raw)
	}
	from := strings.Trim(m.Header("Return-Path"), "<>")
	if got := l.SPF(client, from, helo); got != "pass" {
		l.t.Errorf("pyspf for %s, %s, %s: %s", client, from, helo, got)
	}
	results := l.Authenticate(m, client, from, helo)
	for _, want := range []string{"spf=pass", "dkim=pass", "dmarc=pass"} {
		if !strings.Contains(results, want) {
			l.t.Errorf("authheaders: no %s in %s\n%s", want, results, m.Raw)
		}
	}
}
