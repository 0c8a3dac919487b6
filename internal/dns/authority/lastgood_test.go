package authority

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postern/internal/atomicfile"
)

func TestBadEditKeepsServingAlsoAfterRestart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/example.test.zone", external+"broken A 1.2.3\nother MX\n")
	r := b.settle()
	check := func() {
		t.Helper()
		b.want("external", "www.example.test", "192.0.2.80")
		b.want("internal", "www.example.test", "192.0.2.80")
		b.wantState("external", LastGood, "external/example.test.zone:7:10: ERR bad-data")
		if s := b.status("external", "example.test."); s.ServedSerial != 10 || s.Reason != "file-broken" || len(s.Problems) != 2 {
			t.Errorf("status %+v", s)
		}
	}
	check()
	if f := r.Failed(); len(f) != 1 || f[0].Reason != "file-broken" {
		t.Errorf("report %+v", r)
	}
	if !strings.Contains(b.log.String(), "example.test.zone:7:10") {
		t.Errorf("the log lacks the place:\n%s", b.log)
	}
	b.start()
	check()
	b.write("external/example.test.zone", external+"fixed A 192.0.2.7\n")
	b.settle()
	b.want("external", "fixed.example.test", "192.0.2.7")
	b.wantState("external", OK, "")
}

func TestUnfitZoneKeepsServing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/example.test.zone", strings.Replace(external, "@	NS ns1\n", "", 1))
	b.settle()
	b.wantState("external", LastGood, "ERR ns-missing")
	b.want("external", "www.example.test", "192.0.2.80")
	b.start()
	b.wantState("external", LastGood, "ERR ns-missing")
	b.want("external", "www.example.test", "192.0.2.80")
}

func TestVanishedFileChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "intranet 60 A 10.0.0.1\n")
	b.start()
	b.remove("external/example.test.zone")
	b.remove("internal/example.test.zone")
	b.settle()
	check := func() {
		t.Helper()
		b.wantState("external", Missing, "file-missing")
		b.wantState("internal", Missing, "file-missing")
		b.want("external", "www.example.test", "192.0.2.80")
		b.want("internal", "intranet.example.test", "10.0.0.1")
	}
	check()
	b.start()
	check()
	b.write("external/example.test.zone", external)
	b.settle()
	b.wantState("external", OK, "")
}

func TestLostDirectoryChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	for _, lose := range []func() error{
		func() error { return os.Rename(filepath.Join(b.root, "external"), filepath.Join(b.root, "away")) },
		func() error { return os.WriteFile(filepath.Join(b.root, "external"), nil, 0o600) },
	} {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		if r := b.settle(); len(r.Failed()) != 2 { // the zone and the directory
			t.Errorf("report %+v", r)
		}
		b.wantState("external", LastGood, "directory-unreadable")
		b.start()
		b.wantState("external", LastGood, "directory-unreadable")
		b.want("external", "www.example.test", "192.0.2.80")
		b.want("internal", "www.example.test", "192.0.2.80")
	}
	if err := os.Remove(filepath.Join(b.root, "external")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(b.root, "away"), filepath.Join(b.root, "external")); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.wantState("external", OK, "")
}

func TestUnreadableDirectoryAndFile(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root can read everything")
	}
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	if err := os.Chmod(filepath.Join(b.root, "external"), 0); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.wantState("external", LastGood, "permission denied")
	if err := os.Chmod(filepath.Join(b.root, "external"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestNoGoodStateIsServfailNeverInherited(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "intranet A 10.0.0\n")
	b.write("external/broken.test.zone", "@ SOA\n")
	b.start()
	if !b.failed("internal", "www.example.test") || b.failed("external", "www.example.test") {
		t.Error("a view without a good state must fail, and it alone")
	}
	if !b.failed("external", "a.broken.test") || !b.failed("internal", "a.broken.test") {
		t.Error("a zone without a good state fails in each view that shows it")
	}
	b.wantState("internal", Failed, "internal/example.test.zone:1:12: ERR bad-data")
	if _, err := b.a.Export("broken.test", "external"); !errors.Is(err, ErrNoZone) {
		t.Error(err)
	}
	b.write("internal/example.test.zone", "intranet 60 A 10.0.0.1\n")
	b.write("external/broken.test.zone", external)
	b.settle()
	b.want("internal", "intranet.example.test", "10.0.0.1")
	if b.failed("internal", "a.broken.test") {
		t.Error("still failed")
	}
	// An overlay over a zone that fails has nothing to lie over.
	b.write("external/late.test.zone", "@ SOA\n")
	b.write("internal/late.test.zone", "x 60 A 10.0.0.1\n")
	b.settle()
	if s := b.status("internal", "late.test."); s.State != Failed || s.Reason != "base-failed" {
		t.Errorf("%+v", s)
	}
	b.write("external/late.test.zone", external)
	b.settle()
	if s := b.status("internal", "late.test."); s.State != OK {
		t.Errorf("%+v", s)
	}
}

func TestFullDiskRefusesTheChange(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	full := false
	b.cfg.Writer = atomicfile.Writer{Fault: func(s atomicfile.Step) error {
		if full && s == atomicfile.StepWrite {
			return syscall.ENOSPC
		}
		return nil
	}}
	b.write("external/example.test.zone", external)
	b.start()
	full = true
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	b.settle()
	b.want("external", "www.example.test", "192.0.2.80")
	b.wantState("external", LastGood, "no space left on device")
	if s := b.status("external", "example.test."); s.Reason != "journal-write" || s.ServedSerial != 10 {
		t.Errorf("%+v", s)
	}
	if err := b.a.Publish(t.Context(), "s._domainkey.example.test", "dkim", []string{"v=DKIM1"}); !isRefusal(err, "journal-write") {
		t.Error(err)
	}
	full = false
	b.scan()
	b.want("external", "www.example.test", "192.0.2.81")
	b.wantState("external", OK, "")
}
