package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/route"
)

// TestLMTP reads one reply for each recipient (RFC 2033, Section 4.2).
func TestLMTP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{lmtp: true, ext: []string{"PIPELINING"}, say: map[string]string{
			"TO:<BAD@EXAMPLE.NET>": "550 5.1.1 unknown",
			"message 1":            "452 4.2.2 full",
			"message 2":            "550 5.7.1 no",
		}}
		j := job(1, "a@example.net", "bad@example.net", "b@example.net", "c@example.net")
		j.Hops[0].Protocol = route.LMTP
		r := client(world{first: s}).Deliver(context.Background(), j)
		for i, want := range []Outcome{Delivered, Failed, Deferred, Failed} {
			if r.Results[i].Outcome != want {
				t.Errorf("%d: %+v, want %s", i, r.Results[i], want)
			}
		}
		if !strings.HasPrefix(s.told(), "LHLO edge.example.test | ") {
			t.Errorf("said %s", s.told())
		}
	})
}

// TestLMTPBreaksOff between two replies: the first recipient has it.
func TestLMTPBreaksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{lmtp: true, say: map[string]string{"message 1": closes}}
		j := job(1, "a@example.net", "b@example.net", "c@example.net")
		j.Hops[0].Protocol = route.LMTP
		r := client(world{first: s}).Deliver(context.Background(), j)
		for i, want := range []Outcome{Delivered, Deferred, Deferred} {
			if r.Results[i].Outcome != want {
				t.Errorf("%d: %+v, want %s", i, r.Results[i], want)
			}
		}
	})
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lmtp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &server{lmtp: true}
	go func() {
		if conn, err := l.Accept(); err == nil {
			s.serve(conn)
		}
	}()
	j := job(0, "b@example.net")
	j.Hops = []route.Hop{{Protocol: route.LMTP, Path: path, Static: true}}
	if r := New(Config{Hostname: "edge.example.test"}).Deliver(context.Background(), j).Results[0]; r.Outcome != Delivered || !r.Static {
		t.Errorf("%+v", r)
	}
}

func TestMaildir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "deep", "maildir")
	j := job(0, "b@example.net", `"c d"@example.net`)
	j.Hops = []route.Hop{{Protocol: route.Maildir, Path: dir, Static: true}}
	j.Message = mail{"Subject: x\r\n", "line\r\n.dot\r\n\r\nend"}
	at := time.Unix(1_700_000_000, 123456789)
	c := New(Config{Hostname: "edge.example.test", Now: func() time.Time { return at }})
	for _, r := range c.Deliver(context.Background(), j).Results {
		if r.Outcome != Delivered || strings.Contains(r.Text, dir) {
			t.Errorf("%+v", r)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "new", "1700000000.M123456R*.edge.example.test"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	var all []byte
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(info, err)
		}
	}
	for _, want := range []string{
		"Return-Path: <a@example.test>\nDelivered-To: b@example.net\nSubject: x\n\nline\n.dot\n\nend",
		"Delivered-To: \"c d\"@example.net\n",
	} {
		if !bytes.Contains(all, []byte(want)) {
			t.Errorf("%q is not in %q", want, all)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
}

// TestKilledDeliveriesFilledTmp removes what is surely ours and surely over, and
// nothing else, and no more at a time than its bound.
func TestKilledDeliveriesFilledTmp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Unix(1_700_000_000, 0)
	j := job(0, "b@example.net")
	j.Hops = []route.Hop{{Protocol: route.Maildir, Path: dir, Static: true}}
	deliver := func() {
		t.Helper()
		if r := New(Config{Hostname: "edge.example.test", Now: func() time.Time { return now }}).Deliver(context.Background(), j).Results[0]; r.Outcome != Delivered {
			t.Fatalf("%+v", r)
		}
	}
	deliver()
	put := func(name string, age time.Duration) {
		t.Helper()
		path := filepath.Join(dir, "tmp", name)
		if err := os.WriteFile(path, []byte("half a mes"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	const ours = "1699000000.M123456R0123456789abcdef.edge.example.test"
	kept := []string{
		"1699000000.M123456R0123456789abcde0.edge.example.test", "1699000000.M123456R0123456789abcdef.other.example.test",
		"1699000000.M123456P77.edge.example.test", "1699000000.M123456R0123456789abcdef.edge.example.test.bak",
	}
	put(ours, 37*time.Hour)
	put(kept[0], 35*time.Hour)
	for _, name := range kept[1:] {
		put(name, 1000*time.Hour)
	}
	const folder = "1699000000.M123456R0000000000000000.edge.example.test"
	if err := os.Mkdir(filepath.Join(dir, "tmp", folder), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "tmp", folder), now, now.Add(-1000*time.Hour)); err != nil {
		t.Fatal(err)
	}
	deliver()
	for _, name := range append(kept, folder) {
		if _, err := os.Lstat(filepath.Join(dir, "tmp", name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "tmp", ours)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the leftover is still there: %v", err)
	}
	for i := range 2 * leftovers {
		put(fmt.Sprintf("1699000000.M%06dR0123456789abcdef.edge.example.test", i), 48*time.Hour)
	}
	deliver()
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) < leftovers || len(left) > 2*leftovers {
		t.Errorf("%d left, %v", len(left), err)
	}
}

// TestMaildirFails never loses the message, and tells no path.
func TestMaildirFails(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j := job(0, "b@example.net")
	j.Hops = []route.Hop{{Protocol: route.Maildir, Path: filepath.Join(file, "maildir"), Static: true}}
	r := client(nil).Deliver(context.Background(), j).Results[0]
	if r.Outcome != Deferred || strings.Contains(r.Text, file) {
		t.Errorf("%+v", r)
	}
}

// TestSMTPSink delivers to Postfix's test server over a real socket.
func TestSMTPSink(t *testing.T) {
	t.Parallel()
	sink, err := exec.LookPath("smtp-sink")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("smtp-sink is not installed (Debian package postfix)")
		}
		t.Skip("smtp-sink is not installed (Debian package postfix)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	where := netip.MustParseAddrPort(l.Addr().String())
	l.Close() // the sink takes its port
	args := []string{"-h", "sink.example", where.String(), "10"}
	if os.Geteuid() == 0 {
		args = append([]string{"-u", "postfix"}, args...)
	}
	cmd := exec.Command(sink, args...)
	if err := cmd.Start(); err != nil {
		t.Skip("smtp-sink does not start:", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	defer func() { _ = cmd.Process.Kill(); <-ended }()
	dialSink := func(ctx context.Context, network, addr string, local netip.Addr) (net.Conn, error) {
		for {
			conn, err := dial(ctx, network, addr, local)
			if err == nil || ctx.Err() != nil {
				return conn, err
			}
			select {
			case <-ended:
				return nil, errors.New("smtp-sink ended")
			default:
				runtime.Gosched()
			}
		}
	}
	j := job(0, "b@example.net", "c@example.net")
	j.Hops = []route.Hop{{Protocol: route.SMTP, Host: "sink.example", Addrs: []netip.AddrPort{where}}}
	j.Message = mail{"Subject: x\r\n", strings.Repeat(".dots and words\r\n", 20_000)}
	for _, r := range New(Config{Hostname: "edge.example.test", Dial: dialSink}).Deliver(context.Background(), j).Results {
		if r.Reason == "connect" {
			t.Skip("smtp-sink does not listen:", r.Text)
		}
		if r.Outcome != Delivered {
			t.Errorf("%+v", r)
		}
	}
}
