package deliver

import (
	"strings"
	"testing"
	"testing/synctest"

	"postern/internal/mail/route"
)

// TestCall: several questions in one conversation, each a transaction of its
// own from nobody, and never a message.
func TestCall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ext  []string
		lmtp bool
	}{
		"pipelined":  {ext: []string{"PIPELINING", "SMTPUTF8"}},
		"one by one": {ext: []string{"SMTPUTF8"}},
		"LMTP":       {ext: []string{"PIPELINING", "SMTPUTF8"}, lmtp: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{ext: c.ext, lmtp: c.lmtp, say: map[string]string{
					"TO:<B@INNER.EXAMPLE>": "550-5.1.1 no such\r\n550 5.1.1 user", "TO:<C@INNER.EXAMPLE>": "452 4.2.2 full",
				}}
				hops := job(1).Hops
				if c.lmtp {
					hops[0].Protocol = route.LMTP
				}
				call, err := client(world{first: s}).Call(t.Context(), hops)
				if err != nil {
					t.Fatal(err)
				}
				for to, want := range map[string]Answer{
					"a@inner.example":     {250, "2.1.5", "ok"},
					"b@inner.example":     {550, "5.1.1", "no such user"},
					"c@inner.example":     {452, "4.2.2", "full"},
					"ärger@inner.example": {250, "2.1.5", "ok"},
				} {
					if got, err := call.Ask(addr(to)); err != nil || got != want {
						t.Errorf("%s: %+v, %v; want %+v", to, got, err, want)
					}
				}
				call.Close()
				synctest.Wait()
				told := s.told()
				for what, n := range map[string]int{"LHLO|EHLO": 1, "MAIL FROM:<>": 4, "SMTPUTF8": 1, "RSET": 3, "RCPT TO:": 4, "DATA": 0, "QUIT": 1} {
					count := 0
					for word := range strings.SplitSeq(what, "|") {
						count += strings.Count(told, word)
					}
					if count != n {
						t.Errorf("%d %s, want %d: %s", count, what, n, told)
					}
				}
			})
		})
	}
}

// TestCallWithoutUTF8: an address that the server cannot even be asked for.
func TestCallWithoutUTF8(t *testing.T) {
	t.Parallel()
	call, err := client(world{first: {}}).Call(t.Context(), job(1).Hops)
	if err != nil {
		t.Fatal(err)
	}
	defer call.Close()
	if got, err := call.Ask(addr("ärger@inner.example")); err != nil || got.Code != 553 || got.Enhanced != "5.6.7" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestCallFails: what is no answer about a recipient is an error.
func TestCallFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server *server
		want   string
	}{
		"refused":       {nil, "connect"},
		"greeting":      {&server{say: map[string]string{"greeting": "554 5.7.1 not you"}}, "greeting"},
		"MAIL refused":  {&server{say: map[string]string{"mail": "550 5.7.1 no null senders here"}}, "MAIL FROM:<> refused: 550"},
		"pipelined":     {&server{ext: []string{"PIPELINING"}, say: map[string]string{"mail": "550 5.7.1 no null senders here"}}, "MAIL FROM:<> refused: 550"},
		"closing":       {&server{say: map[string]string{"rcpt": "421 4.3.2 going down"}}, "closing"},
		"hung up":       {&server{say: map[string]string{"rcpt": closes}}, "lost"},
		"silent":        {&server{say: map[string]string{"rcpt": hangs}}, "timeout"},
		"a broken line": {&server{say: map[string]string{"rcpt": "25O ok"}}, "protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				call, err := client(world{first: c.server}).Call(t.Context(), job(1).Hops)
				if err == nil {
					_, err = call.Ask(addr("a@inner.example"))
					call.Close()
				}
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q in it", err, c.want)
				}
			})
		})
	}
	if _, err := client(nil).Call(t.Context(), []route.Hop{{Protocol: route.Maildir, Path: "/m"}}); err == nil {
		t.Error("a maildir was asked")
	}
}

// TestCallTriesTheNext: a host that does not answer is passed over, and a
// password goes only to one that has proved who it is.
func TestCallTriesTheNext(t *testing.T) {
	t.Parallel()
	s := &server{}
	hops := job(2).Hops
	call, err := client(world{first: nil, second: s}).Call(t.Context(), hops)
	if err != nil {
		t.Fatal(err)
	}
	call.Close()
	hops[1].TLS.Mode = route.Required
	if _, err := client(world{first: nil, second: {}}).Call(t.Context(), hops); err == nil || !strings.Contains(err.Error(), "TLS is required") {
		t.Errorf("asked without TLS: %v", err)
	}
}
