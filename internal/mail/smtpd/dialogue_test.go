package smtpd

import (
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"
)

func TestDialogues(t *testing.T) {
	t.Parallel()
	for _, path := range scripts(t, "testdata/plain/*.txt") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			dial(t, started(t, &desk{}, nil)).script(path)
		})
	}
	for _, path := range scripts(t, "testdata/chunks/*.txt") {
		t.Run("chunks/"+strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			dial(t, started(t, &desk{}, chunking)).script(path)
		})
	}
	for _, path := range scripts(t, "testdata/login/*.txt") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			d := &desk{}
			s := started(t, d, secured(t, d, ImplicitTLS))
			p := dial(t, s)
			over(t, tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})).script(path)
		})
	}
}

func scripts(t *testing.T, glob string) []string {
	t.Helper()
	paths, err := filepath.Glob(glob)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v, %v", glob, paths, err)
	}
	return paths
}

// The session hears of everything in order, and of nothing else.
func TestSessionCalls(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, nil)
	p := dial(t, s)
	p.script("testdata/plain/whole_session.txt")
	p.wantClosed()
	stop(t, s)
	_, got, _ := strings.Cut(d.log(), "\n") // after where from
	want := `hello client.example.net
mail <a@example.net>
rcpt <b@example.test>
rcpt <no@example.test>
data "Subject: hello\r\n\r\n.one dot\r\n" ESMTP
reset
close`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if s.Counters.Messages.Value() != 1 || s.Counters.CommandsRefused.Value() != 1 {
		t.Errorf("counted %d messages, %d refusals", s.Counters.Messages.Value(), s.Counters.CommandsRefused.Value())
	}
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
