package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/lab"
)

// ofBob are swaks's arguments for a message of Bob's with this body.
func ofBob(subject, body string, more ...string) []string {
	return append(append(rcpts(subject, "ann@alpha.lab"), "--body", body), more...)
}

// TestScanners: clamd and rspamd look at what comes before it is taken. What
// clamd knows is refused, from outside and from our own users; without clamd mail
// is deferred, or taken by choice.
func TestScanners(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		const rspamdAt = "10.0.0.77:11333"
		clamd := l.Clamd("1M")
		in := tree(l, "")
		inner := l.Postfix(lab.PostfixConfig{Host: "inner.alpha.lab", Address: alphaInner, Domains: []string{"alpha.lab"}})
		l.Rspamd(rspamdAt, `
			rspamd_config:register_symbol{
				name = 'LATER', type = 'prefilter',
				callback = function(task)
					local from, to = task:get_from('smtp'), task:get_recipients('smtp')
					if task:get_helo() == 'later.beta.lab' and tostring(task:get_from_ip()) == '203.0.113.25'
						and from[1].addr == 'bob@beta.lab' and #to == 1 and to[1].addr == 'ann@alpha.lab' then
						task:set_pre_result('soft reject', 'come again')
					elseif task:get_subject() == 'mark me' then
						task:set_pre_result('add header', 'probably')
					end
				end,
			}
		`)
		scanners := `
	[[mail.scanner]]
	kind    = "clamd"
	address = "unix:` + clamd.Socket + `"
	timeout = "5s"

	[[mail.scanner]]
	kind    = "rspamd"
	address = "` + rspamdAt + `"

	[mail.outbound]`
		edge := alphaPosternWith(l, in, nil, "[mail.outbound]", scanners)
		edge.AddUser("ann@alpha.lab", password)

		l.Step("a clean message is taken, and the log says who looked at it", func() {
			mark := edge.Log.Mark()
			l.Swaks(ofBob("clean", "hello")...).Want(0)
			edge.Log.Wait(mark, "message accepted", "clamd:clean", "rspamd:clean(no action")
			inner.ReceiveWhere("clean", func(m *lab.Message) bool { return m.Header("Subject") == "clean" })
		})

		l.Step("EICAR is refused, from outside and from inside", func() {
			l.Swaks(ofBob("eicar", lab.Eicar)...).Want(26, "550 5.7.1 ", "Lab.Eicar.UNOFFICIAL")
			big := filepath.Join(l.Path(), "big")
			l.Write(big, strings.Repeat(strings.Repeat("x", 70)+"\n", 9000)+lab.Eicar+"\n")
			l.Swaks(append(rcpts("eicar far down", "ann@alpha.lab"), "--body", "@"+big)...).Want(26, "Lab.Eicar")
			args := append([]string{"--tlsc", "--port", "465"}, submit("PLAIN", "eicar from ann")...)
			l.Swaks(append(args, "--body", lab.Eicar)...).Want(26, "550 5.7.1 ")
		})

		l.Step("what clamd never takes is refused for good", func() {
			large := filepath.Join(l.Path(), "large")
			l.Write(large, strings.Repeat(strings.Repeat("x", 70)+"\n", 30000))
			l.Swaks(append(rcpts("large", "ann@alpha.lab"), "--body", "@"+large)...).Want(26, "552 5.3.4 ")
			if err := os.Remove(large); err != nil {
				l.T().Error(err)
			}
		})

		l.Step("rspamd's actions are followed", func() {
			const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
			l.Swaks(ofBob("reject", gtube)...).Want(26, "550 5.7.1 ", "spam")
			l.Swaks(ofBob("later", "x", "--ehlo", "later.beta.lab")...).Want(26, "451 4.7.1 ")
			mark := edge.Log.Mark()
			l.Swaks(ofBob("mark me", "x")...).Want(0)
			edge.Log.Wait(mark, "message accepted", "scan-suspect", "held=true")
			edge.Run("queue", "list").Want(0, "held")
			edge.Run("queue", "release", "--all").Want(0)
			m := inner.ReceiveWhere("the held one", func(m *lab.Message) bool { return m.Header("Subject") == "mark me" })
			if m.Header("X-Postern-Verdict") != "quarantine; reason=scan-suspect" {
				l.T().Errorf("released without its mark:\n%s", m.Raw)
			}
		})

		l.Step("without clamd mail is deferred", func() {
			clamd.Kill9()
			mark := edge.Log.Mark()
			l.Swaks(ofBob("unscanned", "hello")...).Want(26, "451 4.3.0 ")
			edge.Log.Wait(mark, "message not scanned", "clamd")
		})

		l.Step("or taken, by choice", func() {
			open := strings.Replace(alphaConfig, "[mail.outbound]", strings.Replace(scanners, `timeout = "5s"`, `fail = "accept"`, 1), 1)
			edge.Write("postern.toml", open)
			edge.Reload().Want(0, "scanner 1")
			mark := edge.Log.Mark()
			l.Swaks(ofBob("taken unscanned", "hello")...).Want(0)
			edge.Log.Wait(mark, "message accepted", "clamd:failed", "rspamd:clean")
		})

		l.Step("and scanned again when it is back", func() {
			clamd.Start()
			l.Swaks(ofBob("eicar", lab.Eicar)...).Want(26)
			for _, m := range inner.All() {
				if strings.Contains(m.Raw, "EICAR") {
					l.T().Errorf("arrived:\n%s", m.Raw)
				}
			}
		})
	})
}
