package authority

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postern/internal/atomicfile"
	"postern/internal/dns/name"
	"postern/internal/dns/update"
)

func TestUpdateRefused(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.write("internal/inner.test.zone", external)
	b.start()
	for _, c := range []struct {
		why, zone, key, view string
		rcode                int
		reason               string
	}{
		{"another key, in whose view it is", "example.test.", "\x05other\x00", "external", update.Refused, update.ReasonRule},
		{"another key, in no view", "example.test.", "\x05other\x00", "", update.NotAuth, ReasonNoZone},
		{"no such zone", "other.test.", "\x03key\x00", "external", update.NotAuth, ReasonNoZone},
		{"a zone above", "test.", "\x03key\x00", "external", update.NotAuth, ReasonNoZone},
		{"a name, no zone", "www.example.test.", "\x03key\x00", "external", update.NotAuth, ReasonNoZone},
		{"a zone of the view inside, by who sees the one outside", "inner.test.", "\x03key\x00", "external", update.NotAuth, ReasonNoZone},
		{"a zone that takes none", "inner.test.", "\x03key\x00", "internal", update.Refused, update.ReasonRule},
	} {
		r := request(t, c.zone, "+ new."+c.zone+" 60 A 192.0.2.9")
		if out := b.a.Update(t.Context(), Update{Request: r, Key: name.Name(c.key), View: c.view}); out.Rcode != c.rcode || out.Reason != c.reason {
			t.Errorf("%s: %+v", c.why, out)
		}
	}
	b.wantUpdate(update.NXDomain, update.ReasonUnmet, "? nobody.example.test.", "+ new.example.test. 60 A 192.0.2.9")
	b.wantUpdate(update.NotZone, update.ReasonOutside, "+ new.other.test. 60 A 192.0.2.9")
	b.wantUpdate(update.Refused, update.ReasonRule, "+ example.test. 60 A 192.0.2.9")
	if b.serial() != 10 || b.a.Counters.UpdatesRefused.Value() != 10 {
		t.Error(b.serial(), b.a.Counters.UpdatesRefused.Value())
	}
	b.stop()
	a, err := New(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if out := a.Update(t.Context(), Update{}); out.Rcode != update.ServFail {
		t.Errorf("before the start: %+v", out)
	}
}

// The records of a presigned zone cannot be updated: nobody would sign them.
func TestUpdateOfPresigned(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.write("external/example.test.zone", external+"@ RRSIG SOA 13 2 300 20300101000000 20200101000000 1 example.test. AAAA\n")
	b.start()
	b.wantUpdate(update.Refused, ReasonPresigned, "+ new.example.test. 60 A 192.0.2.9")
}

// An update goes on top of a rollback, and does not end it.
func TestUpdateOfPinned(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	b.write("external/example.test.zone", external+"now A 192.0.2.4\n")
	b.settle()
	if _, err := b.a.Rollback(t.Context(), Rollback{Zone: "example.test", View: "external", Who: "test"}); err != nil {
		t.Fatal(err)
	}
	b.wantUpdate(update.NoError, "", "+ new.example.test. 60 A 192.0.2.9")
	for range 2 {
		b.want("external", "now.example.test", "")
		b.want("external", "new.example.test", "192.0.2.9")
		if s := b.status("external", "example.test."); s.Reason != ReasonPinned {
			t.Errorf("%+v", s)
		}
		b.start()
	}
}

func TestTooManyUpdatesWait(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	hold, held := make(chan struct{}), make(chan struct{})
	go func() { _ = b.a.do(t.Context(), func() { close(held); <-hold }) }()
	<-held
	for range maxWaiting {
		b.a.updates <- &waiting{Update: Update{Request: request(t, "example.test.")}, done: make(chan Outcome, 1)}
	}
	b.wantUpdate(update.ServFail, ReasonBusy, "+ new.example.test. 60 A 192.0.2.9")
	if b.a.Counters.UpdatesBusy.Value() != 1 {
		t.Error(b.a.Counters.UpdatesBusy.Value())
	}
	close(hold)
}

// With a full disk nothing changes, and once there is room it does.
func TestUpdateWithFullDisk(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	full := false
	b.cfg.Writer = atomicfile.Writer{Fault: func(atomicfile.Step) error {
		if full {
			return syscall.ENOSPC
		}
		return nil
	}}
	b.start()
	b.wantUpdate(update.NoError, "", "+ new.example.test. 60 A 192.0.2.9")
	if err := b.a.do(t.Context(), func() { full = true }); err != nil {
		t.Fatal(err)
	}
	b.wantUpdate(update.ServFail, reasonJournal, "+ more.example.test. 60 A 192.0.2.10")
	b.want("external", "more.example.test", "")
	b.want("external", "new.example.test", "192.0.2.9")
	if s := b.status("external", "example.test."); s.Dynamic != 1 || s.ServedSerial != 11 || s.State != OK {
		t.Errorf("%+v", s)
	}
	if err := b.a.do(t.Context(), func() { full = false }); err != nil {
		t.Fatal(err)
	}
	b.wantUpdate(update.NoError, "", "+ more.example.test. 60 A 192.0.2.10")
	b.want("external", "more.example.test", "192.0.2.10")
}

// A file of updates that cannot be read stops the zone where it is, until
// somebody gives them up: it never goes back to the file alone by itself.
func TestUpdatesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	b.wantUpdate(update.NoError, "", "+ new.example.test. 60 A 192.0.2.9")
	b.stop()
	path := filepath.Join(b.root, "state/zones/example.test@external.dynamic")
	if err := os.WriteFile(path, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.write("external/example.test.zone", external+"now A 192.0.2.4\n")
	for range 2 {
		b.start()
		b.want("external", "new.example.test", "192.0.2.9")
		b.want("external", "now.example.test", "")
		if s := b.status("external", "example.test."); s.State != LastGood || s.Reason != ReasonDynamic || !strings.Contains(s.Problem, "postern zone remove example.test. --dynamic") {
			t.Errorf("%+v", s)
		}
		b.wantUpdate(update.ServFail, ReasonDynamic, "+ more.example.test. 60 A 192.0.2.10")
	}
	if _, err := b.a.Drop(t.Context(), Drop{Zone: "example.test", View: "external", Name: "new.example.test"}); err == nil {
		t.Error("one name cannot be dropped of what cannot be read")
	}
	if _, err := b.a.Drop(t.Context(), Drop{Zone: "example.test", View: "external"}); err != nil {
		t.Fatal(err)
	}
	b.want("external", "new.example.test", "")
	b.want("external", "now.example.test", "192.0.2.4")
	b.wantUpdate(update.NoError, "", "+ more.example.test. 60 A 192.0.2.10")
}
