package deliver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/route"
)

// TestMisbehaviour has one server fail at every stage in every way. What the
// sender loses is decided by one thing: whether it was a refusal for good.
func TestMisbehaviour(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name, reply string
		want        Outcome
		reason      string // "": the stage's own
	}{
		{"closes", closes, Deferred, "lost"},
		{"hangs", hangs, Deferred, "timeout"},
		{"floods", floods, Deferred, "protocol"},
		{"prattles", prattles, Deferred, "protocol"},
		{"temporary", "450 4.2.0 later", Deferred, ""},
		{"permanent", "550 5.7.1 never", Failed, ""},
		{"shutting down", "421 4.3.2 bye", Deferred, "closing"},
		{"not SMTP", "HTTP/1.1 400 Bad Request", Deferred, "protocol"},
		{"empty line", "", Deferred, "protocol"},
		{"code of six", "650 what", Deferred, "protocol"},
		{"code without separator", "250x ok", Deferred, "protocol"},
		{"code changes", "250-a\r\n251 b", Deferred, "protocol"},
		{"out of turn", "334 what", Deferred, "unexpected-reply"},
		{"controls", "550 5.7.1 a\x00b\x1b[31m\x85c", Failed, ""},
	}
	for _, stage := range []struct{ name, reason string }{
		{"greeting", "greeting"}, {"ehlo", "hello"}, {"mail", "mail-refused"}, {"rcpt", "rcpt-refused"}, {"data", "data-refused"}, {"message", "message-refused"},
	} {
		for _, f := range faults {
			t.Run(stage.name+" "+f.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := &server{say: map[string]string{stage.name: f.reply}}
					if stage.name == "ehlo" && f.want == Failed {
						s.say["helo"] = f.reply // else HELO saves it
					}
					r := client(world{first: s}).Deliver(context.Background(), job(1, "b@example.net")).Results[0]
					want := f.reason
					if want == "" {
						want = stage.reason
					}
					if r.Outcome != f.want || r.Reason != want || r.Host != "mx1.example" || r.Addr != first {
						t.Errorf("%+v, want %s %s", r, f.want, want)
					}
					if r.Enhanced == "" || (r.Enhanced[0] == '5') != (r.Outcome == Failed) || r.Text == "" || strings.ContainsAny(r.Text, "\x00\x1b\r\n") {
						t.Errorf("enhanced %q text %q", r.Enhanced, r.Text)
					}
				})
			})
		}
	}
}

// TestInjection: bytes that nobody asked for must not become replies.
func TestInjection(t *testing.T) {
	t.Parallel()
	cert, _ := certificate(t, "mx1.example")
	for _, c := range []struct{ name, stage, reply string }{
		{"after the greeting", "greeting", "220 hi\r\n250 mx.example"},
		{"after EHLO", "ehlo", "250-mx.example\r\n250 STARTTLS\r\n220 go\r\n250 ok"},
		{"before TLS", "starttls", "220 go ahead\r\n250-mx.example\r\n250 AUTH PLAIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{ext: []string{"STARTTLS"}, say: map[string]string{c.stage: c.reply}, tls: serverTLS(cert)}
				r := client(world{first: s}).Deliver(context.Background(), job(1, "b@example.net")).Results[0]
				if r.Outcome != Deferred || r.Reason != "protocol" || strings.Contains(s.told(), "MAIL") {
					t.Errorf("%+v after %s", r, s.told())
				}
			})
		})
	}
}

// TestRepliesAheadAreNoReceipt: a server that is a reply ahead of us, whether
// broken or false, would say "delivered" before it has the message.
func TestRepliesAheadAreNoReceipt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ stage, reply string }{
		{"rcpt", "250 2.1.5 ok\r\n354 go ahead\r\n250 2.0.0 delivered"},
		{"data", "354 go ahead\r\n250 2.0.0 delivered"},
	} {
		t.Run(c.stage, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{say: map[string]string{c.stage: c.reply}}
				r := client(world{first: s}).Deliver(context.Background(), job(1, "b@example.net")).Results[0]
				if r.Outcome != Deferred || r.Reason != "protocol" || len(s.got()) != 0 {
					t.Errorf("%+v after %s", r, s.told())
				}
			})
		})
	}
}

// TestDialogue shows what is said to a server by what it announces.
func TestDialogue(t *testing.T) {
	t.Parallel()
	eight := mail{"Subject: x\r\n", "h\xc3\xa9\r\n"}
	eightHeader := mail{"Subject: \xc3\xa9\r\n", "hello\r\n"}
	for _, c := range []struct {
		name   string
		ext    []string
		change func(*Job)
		want   string
	}{
		{"nothing announced", nil, nil, "MAIL FROM:<a@example.test> | RCPT TO:<b@example.net>"},
		{"SIZE", []string{"SIZE 1000"}, nil, "MAIL FROM:<a@example.test> SIZE=21 | RCPT TO:<b@example.net>"},
		{"SIZE without limit", []string{"SIZE"}, nil, "MAIL FROM:<a@example.test> SIZE=21 | RCPT TO:<b@example.net>"},
		{"RFC 6152: 8BITMIME only for 8 bits", []string{"8BITMIME"}, nil, "MAIL FROM:<a@example.test> | RCPT TO:<b@example.net>"},
		{"8BITMIME", []string{"8bitmime"}, func(j *Job) { j.Message = eight }, "MAIL FROM:<a@example.test> BODY=8BITMIME | RCPT TO:<b@example.net>"},
		{"8 bits without 8BITMIME go as they are", nil, func(j *Job) { j.Message = eight }, "MAIL FROM:<a@example.test> | RCPT TO:<b@example.net>"},
		{"8-bit header of a sender without SMTPUTF8", []string{"SMTPUTF8", "8BITMIME"}, func(j *Job) { j.Message = eightHeader }, "MAIL FROM:<a@example.test> BODY=8BITMIME | RCPT TO:<b@example.net>"},
		{"SMTPUTF8 asked for but not needed", []string{"SMTPUTF8"}, func(j *Job) { j.Envelope.UTF8 = true }, "MAIL FROM:<a@example.test> | RCPT TO:<b@example.net>"},
		{"SMTPUTF8 for the header", []string{"SMTPUTF8", "8BITMIME"}, func(j *Job) { j.Message, j.Envelope.UTF8 = eightHeader, true }, "MAIL FROM:<a@example.test> BODY=8BITMIME SMTPUTF8 | RCPT TO:<b@example.net>"},
		{"SMTPUTF8 for a recipient", []string{"SMTPUTF8"}, func(j *Job) { j.Envelope.To[0] = addr("é@example.net") }, "MAIL FROM:<a@example.test> SMTPUTF8 | RCPT TO:<é@example.net>"},
		{"null sender", nil, func(j *Job) { j.Envelope.From = address.Address{} }, "MAIL FROM:<> | RCPT TO:<b@example.net>"},
		{"quoted locals stay one address", nil, func(j *Job) {
			j.Envelope.To[0] = address.Address{Local: "x> NOTIFY=NEVER", Domain: "example.net"}
		}, `MAIL FROM:<a@example.test> | RCPT TO:<"x> NOTIFY=NEVER"@example.net>`},
		{"DSN not announced", nil, func(j *Job) { j.Envelope.Ret = "HDRS" }, "MAIL FROM:<a@example.test> | RCPT TO:<b@example.net>"},
		{"DSN", []string{"DSN"}, func(j *Job) {
			j.Envelope.Ret, j.Envelope.EnvID = "HDRS", "q+3D1"
			j.Envelope.Notify, j.Envelope.ORcpt = []envelope.Notify{envelope.Failure}, []string{"rfc822;b@x"}
		}, "MAIL FROM:<a@example.test> RET=HDRS ENVID=q+3D1 | RCPT TO:<b@example.net> NOTIFY=FAILURE ORCPT=rfc822;b@x"},
		{"DSN values that could inject", []string{"DSN"}, func(j *Job) {
			j.Envelope.EnvID, j.Envelope.ORcpt = "a b", []string{"rfc822;x\r\nDATA"}
		}, "MAIL FROM:<a@example.test> | RCPT TO:<b@example.net>"},
		{"DSN of a bounce", []string{"DSN"}, func(j *Job) { j.Envelope.Origin = envelope.Bounce }, "MAIL FROM:<a@example.test> | RCPT TO:<b@example.net> NOTIFY=NEVER"},
		{"PIPELINING", []string{"PIPELINING"}, nil, "MAIL FROM:<a@example.test> | RCPT TO:<b@example.net>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{ext: c.ext}
				j := job(1, "b@example.net")
				if c.change != nil {
					c.change(&j)
				}
				r := client(world{first: s}).Deliver(context.Background(), j).Results[0]
				want := "EHLO edge.example.test | " + c.want + " | DATA | QUIT"
				if r.Outcome != Delivered || r.Code != 250 || r.Enhanced != "2.0.0" || r.Text != "queued as 42" || s.told() != want {
					t.Errorf("%+v\nsaid %s\nwant %s", r, s.told(), want)
				}
			})
		})
	}
}

// TestRefusedBeforeSending saves the trouble of sending what cannot be taken.
func TestRefusedBeforeSending(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, enhanced, reason string
		ext                    []string
		change                 func(*Job)
	}{
		{"RFC 1870, 6.1: too large", "5.3.4", "too-large", []string{"SIZE 20"}, nil},
		{"RFC 6531, 3.5: SMTPUTF8 needed", "5.6.7", "no-smtputf8", nil, func(j *Job) { j.Envelope.To[0] = addr("é@example.net") }},
		{"SMTPUTF8 needed by the header", "5.6.7", "no-smtputf8", []string{"8BITMIME"}, func(j *Job) {
			j.Message, j.Envelope.UTF8 = mail{"Subject: \xc3\xa9\r\n", ""}, true
		}},
		{"bare LF", "5.6.0", "framing", nil, func(j *Job) { j.Message = mail{"A: 1\r\n", "x\n.\nMAIL FROM:<evil>\r\n"} }},
		{"bare CR", "5.6.0", "framing", nil, func(j *Job) { j.Message = mail{"A: 1\r\n", "x\r.\r\n"} }},
		{"bare CR at the end", "5.6.0", "framing", nil, func(j *Job) { j.Message = mail{"A: 1\r\n", "x\r"} }},
		{"CR CR LF", "5.6.0", "framing", nil, func(j *Job) { j.Message = mail{"A: 1\r\n", "x\r\r\n.\r\r\n"} }},
		{"NUL", "5.6.0", "framing", nil, func(j *Job) { j.Message = mail{"A: 1\r\n", "x\x00\r\n"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{ext: c.ext}
				j := job(1, "b@example.net")
				if c.change != nil {
					c.change(&j)
				}
				r := client(world{first: s}).Deliver(context.Background(), j).Results[0]
				if r.Outcome != Failed || r.Enhanced != c.enhanced || r.Reason != c.reason || strings.Contains(s.told(), "MAIL") {
					t.Errorf("%+v after %s", r, s.told())
				}
			})
		})
	}
}

// TestDots sends what the receiver must read as it was written.
func TestDots(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"":                              "",
		".":                             "..\r\n",
		".\r\n":                         "..\r\n",
		"..\r\n.a\r\nb.\r\n":            "...\r\n..a\r\nb.\r\n",
		"no end":                        "no end\r\n",
		"a\r\n\r\n.\r\n\r\n":            "a\r\n\r\n..\r\n\r\n",
		strings.Repeat(".\r\n", 50_000): strings.Repeat("..\r\n", 50_000),
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &server{}
			j := job(1, "b@example.net")
			j.Message = mail{".Odd: 1\r\n", body}
			r := client(world{first: s}).Deliver(context.Background(), j).Results[0]
			if got := s.got(); r.Outcome != Delivered || len(got) != 1 || got[0] != "..Odd: 1\r\n\r\n"+want {
				t.Errorf("%.40q: %+v, arrived %.80q", body, r, got)
			}
		})
	}
}

// TestRecipients gives each its own fate, with and without PIPELINING.
func TestRecipients(t *testing.T) {
	t.Parallel()
	for _, ext := range [][]string{nil, {"PIPELINING"}} {
		t.Run(fmt.Sprint(ext), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{ext: ext, say: map[string]string{
					"TO:<BAD@EXAMPLE.NET>":  "550 5.1.1 unknown",
					"TO:<BUSY@EXAMPLE.NET>": "450 4.2.0 greylisted",
					"TO:<MANY@EXAMPLE.NET>": "552 too many recipients",
					"TO:<FULL@EXAMPLE.NET>": "552 5.2.2 mailbox full",
				}}
				r := client(world{first: s}).Deliver(context.Background(), job(1, "bad@example.net", "good@example.net", "busy@example.net", "many@example.net", "full@example.net"))
				want := []Outcome{Failed, Delivered, Deferred, Deferred, Failed}
				for i, o := range want {
					if r.Results[i].Outcome != o || r.Results[i].Rcpt != i {
						t.Errorf("%d: %+v, want %s", i, r.Results[i], o)
					}
				}
				if r.Results[0].Enhanced != "5.1.1" || r.Results[2].Text != "greylisted" || len(s.got()) != 1 || !s.ended {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

// TestAllRefused sends no DATA, resets and leaves politely.
func TestAllRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{ext: []string{"PIPELINING"}, say: map[string]string{"rcpt": "550 5.1.1 unknown"}}
		client(world{first: s}).Deliver(context.Background(), job(1, "b@example.net"))
		if want := "EHLO edge.example.test | MAIL FROM:<a@example.test> | RCPT TO:<b@example.net> | RSET | QUIT"; s.told() != want {
			t.Errorf("said %s, want %s", s.told(), want)
		}
	})
}

// TestSenderRefused asks nobody else, and reads the replies to what was
// pipelined behind.
func TestSenderRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := make([]string, 230)
		for i := range to {
			to[i] = fmt.Sprintf("r%d@example.net", i)
		}
		s := &server{ext: []string{"PIPELINING"}, say: map[string]string{"mail": "550 5.7.1 no", "rcpt": "503 5.5.1 no MAIL"}}
		r := client(world{first: s, second: {}}).Deliver(context.Background(), job(2, to...))
		for _, one := range r.Results {
			if one.Outcome != Failed || one.Reason != "mail-refused" {
				t.Fatalf("%+v", one)
			}
		}
		if n := strings.Count(s.told(), "MAIL"); n != 1 || !s.ended {
			t.Errorf("%d times MAIL, ended %v", n, s.ended)
		}
	})
}

// TestManyRecipients splits them into transactions of a hundred.
func TestManyRecipients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := make([]string, 250)
		for i := range to {
			to[i] = fmt.Sprintf("r%d@example.net", i)
		}
		s := &server{ext: []string{"PIPELINING"}, say: map[string]string{"TO:<R3@EXAMPLE.NET>": "450 4.2.0 later"}}
		r := client(world{first: s}).Deliver(context.Background(), job(1, to...))
		for i, one := range r.Results {
			if (one.Outcome == Delivered) == (i == 3) {
				t.Errorf("%d: %+v", i, one)
			}
		}
		if n := len(s.got()); n != 3 {
			t.Errorf("%d transactions", n)
		}
	})
}

// TestDataRefusedLeavesNoTransactionOpen has a server that will not take the
// message now and, like any, no MAIL inside a transaction: the recipients of
// the second transaction must not fail for good over that.
func TestDataRefusedLeavesNoTransactionOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := make([]string, 101)
		for i := range to {
			to[i] = fmt.Sprintf("r%d@example.net", i)
		}
		s := &server{say: map[string]string{"data": "451 4.3.0 later"}}
		client(world{first: s}).Deliver(context.Background(), job(1, to...))
		if n := strings.Count(s.told(), "DATA | RSET"); n != 2 {
			t.Errorf("%d of 2 transactions were ended: %s", n, s.told()[max(0, len(s.told())-200):])
		}
	})
}

// TestNextHost tries another host when one is out of order, and only then.
func TestNextHost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		say  map[string]string
		want Outcome
		host string
	}{
		{"greets with 554", map[string]string{"greeting": "554 no mail here"}, Delivered, "mx2.example"},
		{"greets with 421", map[string]string{"greeting": "421 busy"}, Delivered, "mx2.example"},
		{"closes", map[string]string{"greeting": closes}, Delivered, "mx2.example"},
		{"refuses the sender for now", map[string]string{"mail": "451 4.7.1 later"}, Delivered, "mx2.example"},
		{"defers the recipient", map[string]string{"rcpt": "451 4.7.1 later"}, Delivered, "mx2.example"},
		{"defers the message", map[string]string{"message": "451 4.7.1 later"}, Delivered, "mx2.example"},
		{"closes at RCPT", map[string]string{"rcpt": "421 4.3.2 bye"}, Delivered, "mx2.example"},
		{"refuses the recipient", map[string]string{"rcpt": "550 5.1.1 unknown"}, Failed, "mx1.example"},
		{"refuses the message", map[string]string{"message": "550 5.7.1 spam"}, Failed, "mx1.example"},
		{"may have the message", map[string]string{"message": closes}, Deferred, "mx1.example"},
		{"says bye after the message", map[string]string{"message": "421 4.3.2 bye"}, Deferred, "mx1.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := client(world{first: {say: c.say}, second: {}}).Deliver(context.Background(), job(2, "b@example.net")).Results[0]
				if r.Outcome != c.want || r.Host != c.host {
					t.Errorf("%+v, want %s by %s", r, c.want, c.host)
				}
			})
		})
	}
}

// TestBoundsOfAnAttempt: neither many hosts nor many kind refusals keep us.
func TestBoundsOfAnAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		report := client(world{}).Deliver(context.Background(), job(20, "b@example.net"))
		if took := time.Since(began); took != maxAddrs*30*time.Second || len(report.Dead) != maxAddrs {
			t.Errorf("%v for %d dead hosts", took, len(report.Dead))
		}
		w := world{}
		for i := range 9 {
			w[fmt.Sprintf("192.0.2.%d:25", i+1)] = &server{say: map[string]string{"rcpt": "450 4.2.0 later"}}
		}
		report = client(w).Deliver(context.Background(), job(9, "b@example.net"))
		if report.Results[0].Host != "mx2.example" || len(report.Dead) != 0 {
			t.Errorf("%+v", report)
		}
	})
}

// TestDead tells which addresses did not answer as mail servers.
func TestDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world{first: nil, second: {say: map[string]string{"greeting": hangs}}, "192.0.2.3:25": {say: map[string]string{"mail": closes}}, "192.0.2.4:25": {}}
		report := client(w).Deliver(context.Background(), job(4, "b@example.net"))
		want := []netip.AddrPort{netip.MustParseAddrPort(first), netip.MustParseAddrPort(second)}
		if !slices.Equal(report.Dead, want) || report.Results[0].Outcome != Delivered {
			t.Errorf("%+v", report)
		}
	})
}

// TestHELO falls back for a server of old.
func TestHELO(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{say: map[string]string{"ehlo": "502 what"}}
		r := client(world{first: s}).Deliver(context.Background(), job(1, "b@example.net")).Results[0]
		if r.Outcome != Delivered || !strings.HasPrefix(s.told(), "EHLO edge.example.test | HELO edge.example.test | MAIL") {
			t.Errorf("%+v after %s", r, s.told())
		}
	})
}

// TestCutShort ends an attempt from outside at a server that hangs.
func TestCutShort(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"greeting", "mail", "data", "message"} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			began := time.Now()
			r := client(world{first: {say: map[string]string{stage: hangs}}, second: {}}).Deliver(ctx, job(2, "b@example.net")).Results[0]
			if r.Outcome != Deferred || time.Since(began) != time.Second {
				t.Errorf("%s: %+v after %v", stage, r, time.Since(began))
			}
		})
	}
}

// TestRefusedWhileSending keeps what the server said over the broken pipe.
func TestRefusedWhileSending(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		say  string
		want Outcome
	}{{"552 5.3.4 too much", Failed}, {closes, Deferred}} {
		synctest.Test(t, func(t *testing.T) {
			j := job(1, "b@example.net")
			j.Message = mail{"A: 1\r\n", strings.Repeat("a long body\r\n", 100_000)}
			r := client(world{first: {say: map[string]string{"body": c.say}}}).Deliver(context.Background(), j).Results[0]
			if r.Outcome != c.want {
				t.Errorf("%s: %+v", c.say, r)
			}
		})
	}
}

// TestNoHost still reports on everybody.
func TestNoHost(t *testing.T) {
	t.Parallel()
	r := client(world{}).Deliver(context.Background(), job(0, "b@example.net", "c@example.net"))
	if len(r.Results) != 2 || r.Results[1].Outcome != Deferred || r.Results[1].Enhanced == "" {
		t.Errorf("%+v", r)
	}
}

// TestSources come from the right family, and only for the world.
func TestSources(t *testing.T) {
	t.Parallel()
	v4 := netip.MustParseAddr("198.51.100.1")
	c := New(Config{Sources: []netip.Addr{v4}})
	for _, x := range []struct {
		addr   string
		static bool
		want   netip.Addr
		err    bool
	}{
		{"[2001:db8::1]:25", false, netip.Addr{}, true},
		{"192.0.2.1:25", false, v4, false},
		{"10.0.0.1:25", true, netip.Addr{}, false},
	} {
		got, err := c.source(peer{hop: route.Hop{Static: x.static}, ip: netip.MustParseAddrPort(x.addr)})
		if got != x.want || (err != nil) != x.err {
			t.Errorf("%+v: %v, %v", x, got, err)
		}
	}
}
