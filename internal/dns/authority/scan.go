package authority

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

// source is one admin's file: the records of one (zone, view).
//
//	absent -> waiting -> read -> good | broken
//	good | broken -> waiting (the file changed, or went) -> read | missing
//
// Waiting lasts until the file has been left alone for Config.Settle.
type source struct {
	key
	dir, file string

	text     *zonefile.Text    // by which a large file is read again
	records  []zonefile.Record // of the last time the file could be read whole
	accepted []zonefile.Record // those in what is served
	good     bool              // records are there, or folded
	folded   bool              // neither of them was read yet, see unfold; or accepted was not
	noted    bool              // the file is the one of which accepted was read
	version  int               // of the snapshot that has accepted
	fileSOA  uint32            // the serial in records; 0 without SOA

	reason   string // why records are not what the file holds now; "" if they are
	problems []zonefile.Problem

	hash     string // of the text of the files when they were read; "" if they were not
	sig      string // the files' signature when they were read
	includes []string
	waiting  string    // a signature seen but not read yet
	since    time.Time // when it was first seen
}

// Reason words of a file. The problems say where.
const (
	reasonBroken     = "file-broken"
	reasonMissing    = "file-missing"
	reasonUnreadable = "file-unreadable"
	ReasonDirectory  = "directory-unreadable"
)

func (s *source) path() string { return filepath.Join(s.dir, s.file) }

// files are all that it is read from, as names in its directory.
func (s *source) files() []string { return append([]string{s.file}, s.includes...) }

// scan looks at every directory once, takes in what has come to rest, and
// publishes what changed. With force files are read again though they seem
// unchanged.
func (o *owner) scan(force bool) {
	o.unsettled, o.lookIn = false, o.plan.Settle/2
	for i := range o.plan.views {
		o.scanView(&o.plan.views[i], force)
	}
	o.build()
}

// settleDown scans until no file is being written, for a few times Settle.
func (o *owner) settleDown(ctx context.Context) error {
	for range 24 {
		if !o.unsettled {
			return nil
		}
		t := time.NewTimer(o.plan.Settle/4 + time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		o.scan(false)
	}
	return nil
}

func (o *owner) scanView(v *viewPlan, force bool) {
	if v.Dir == "" {
		return
	}
	entries, err := os.ReadDir(v.Dir)
	if err != nil {
		o.directoryLost(v, err)
		return
	}
	if o.dirFault[v.Name] != "" {
		o.log.Info("zone directory is readable again", "view", v.Name, "dir", v.Dir)
		delete(o.dirFault, v.Name)
	}
	seen := map[key]string{}
	var passed []Fault
	for _, e := range entries {
		n, ok, why := o.plan.zoneOf(e.Name())
		k := key{n, v.Name}
		switch first, twice := seen[k]; {
		case !ok && why == "":
			continue
		case ok && v.fed[n]:
			passed = append(passed, passedOver(v, e.Name(), fmt.Sprintf("zone %s comes from its primaries", n)))
		case ok && twice && o.sources[k] != nil && o.sources[k].file == e.Name(): // a copy does not take the zone's place
			passed = append(passed, passedOver(v, first, fmt.Sprintf("zone %s is in file %s already", n, e.Name())))
			seen[k] = e.Name()
		case ok && twice:
			passed = append(passed, passedOver(v, e.Name(), fmt.Sprintf("zone %s is in file %s already", n, first)))
		case ok:
			seen[k] = e.Name()
		default:
			passed = append(passed, passedOver(v, e.Name(), why))
		}
	}
	for k, file := range seen {
		o.look(k, v.Dir, file, force)
	}
	o.note(reasonPassed, v, passed)
	for k, s := range o.sources {
		if _, ok := seen[k]; !ok && k.view == v.Name {
			o.gone(s)
		}
	}
}

// zoneOf returns the zone a directory entry holds, by Config.Files or by name,
// or why it holds none though it looks so.
func (p *plan) zoneOf(file string) (n name.Name, ok bool, why string) {
	if n, ok := p.fileZone[file]; ok {
		return n, true, ""
	}
	if !strings.HasSuffix(file, ".zone") || file[0] == '.' {
		return "", false, ""
	}
	n, err := ZoneOfFile(file)
	if err != nil {
		return "", false, err.Error()
	}
	if other, ok := p.zoneFile[n]; ok {
		return "", false, fmt.Sprintf("zone %s is configured to be in file %s", n, other)
	}
	return n, true, ""
}

// directoryLost keeps every zone of the view as it is, flagged.
func (o *owner) directoryLost(v *viewPlan, err error) {
	err = plainError(err)
	o.note(reasonPassed, v, nil)
	if why := err.Error(); o.dirFault[v.Name] != why {
		o.dirFault[v.Name] = why
		o.log.Error("zone directory cannot be read; its zones are served on as they were", "view", v.Name, "dir", v.Dir, "err", err)
	}
	for k, s := range o.sources {
		if k.view == v.Name {
			p := zonefile.Problem{File: v.Dir, Severity: zonefile.ERR, Code: ReasonDirectory, Message: fmt.Sprintf("cannot be read: %v", err)}
			o.fault(s, ReasonDirectory, p)
		}
	}
}

// fault marks a source whose records are no longer what the file holds.
func (o *owner) fault(s *source, reason string, problems ...zonefile.Problem) {
	if s.reason != reason || !slices.Equal(s.problems, problems) {
		s.reason, s.problems = reason, problems
		o.dirty[s.key] = true
	}
	s.waiting = ""
}

// look compares the file with what was read of it, and reads it when it has
// come to rest.
func (o *owner) look(k key, dir, file string, force bool) {
	s := o.sources[k]
	if s == nil {
		s = &source{key: k}
		o.sources[k] = s
	}
	if s.dir != dir || s.file != file {
		s.dir, s.file, s.sig, s.text = dir, file, "", nil
	}
	sig, err := signature(dir, file, s.includes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		o.gone(s) // a dangling link, or it went this moment
		return
	case err != nil:
		s.sig = ""
		o.fault(s, reasonUnreadable, unreadable(s.path(), err))
		return
	}
	if s.reason == reasonMissing || s.reason == ReasonDirectory || s.reason == reasonUnreadable {
		s.sig = ""
	}
	switch {
	case sig == s.sig && !force:
		s.waiting = ""
	case sig == s.sig, o.rested(s, sig):
		o.read(s)
	}
}

// rested reports whether the files have kept this signature for long enough.
// At the start a zone without a good state is read at once.
func (o *owner) rested(s *source, sig string) bool {
	now := o.a.clock()
	if s.waiting != sig {
		s.waiting, s.since = sig, now
	}
	if o.starting && (!s.good || o.untouched(s.path(), now)) {
		return true
	}
	wait := o.plan.Settle - now.Sub(s.since)
	if o.watch != nil && sig != absent { // who replaces a file by two renames makes it vanish for a moment
		wait = o.watch.patience(s.dir, s.files(), s.since, now, o.plan.Settle)
	}
	if wait <= 0 {
		return true
	}
	o.unsettled, o.lookIn = true, min(o.lookIn, wait)
	return false
}

func (o *owner) untouched(path string, now time.Time) bool {
	info, err := os.Stat(path)
	return err == nil && now.Sub(info.ModTime()) >= o.plan.Settle
}

// gone flags a vanished file once it has stayed away: an editor that replaces
// a file by renaming makes it vanish for a moment.
func (o *owner) gone(s *source) {
	if s.reason == reasonMissing || !o.starting && !o.rested(s, absent) {
		return
	}
	if st := o.served[s.key]; !s.good || st == nil || st.content == nil {
		o.forget(s.key) // nothing of it was ever served
		return
	}
	s.sig = ""
	o.fault(s, reasonMissing, zonefile.Problem{
		File: s.path(), Severity: zonefile.ERR, Code: reasonMissing, Message: "the file is gone",
		Hint: fmt.Sprintf("put it back, or: postern zone remove %s", s.zone),
	})
}

func (o *owner) forget(k key) {
	delete(o.sources, k)
	if st := o.served[k]; st != nil && st.content == nil {
		delete(o.served, k)
	}
}

// read takes the file in, unless it changed while it was read. A last line
// without an end is given twice as long: it may be half a line.
func (o *owner) read(s *source) {
	s.noted = false
	if o.trusts(s) {
		return
	}
	if info, err := os.Stat(s.path()); err == nil {
		o.toRead(info.Size())
	}
	l, err := readZone(s.dir, s.file, s.zone, s.text)
	if err != nil {
		s.sig = ""
		o.fault(s, reasonUnreadable, unreadable(s.path(), err))
		return
	}
	patient := s.waiting == "" || o.a.clock().Sub(s.since) >= 2*o.plan.Settle
	if l.unterminated && !patient && !o.starting {
		o.unsettled = true
		return
	}
	if now, err := signature(s.dir, s.file, l.includes); err != nil || now != l.sig {
		s.includes = l.includes
		o.unsettled = true
		return
	}
	s.sig, s.includes, s.waiting, s.hash = l.sig, l.includes, "", l.hash
	if o.watch != nil {
		o.watch.take(s.dir, s.files())
	}
	if blocks(l.problems, o.plan.Strict) {
		o.fault(s, reasonBroken, l.problems...)
		return
	}
	s.records, s.good, s.reason, s.problems = l.records, true, "", l.problems
	if s.text = nil; len(l.records) >= o.a.editFrom {
		s.text = l.text
	}
	s.fileSOA = serialOf(l.records)
	o.dirty[s.key] = true
}

func serialOf(records []zonefile.Record) uint32 {
	for _, r := range records {
		if soa, ok := r.RR.(*dns.SOA); ok {
			return soa.Serial
		}
	}
	return 0
}
