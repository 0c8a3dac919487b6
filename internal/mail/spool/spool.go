// Package spool is the durable home of messages between the 250 that promised
// them and their last recipient. One message is one immutable file; what
// happened to each recipient is appended to a journal beside it.
//
// The promise: Commit returns only after the file and the directory that names
// it are on disk (RFC 5321, Section 6.1). An fsync that fails is never tried
// again on the same file, because the kernel may have dropped the dirty pages
// and would then report success: the caller gets the error, and the spool
// takes no new mail until the process is started anew.
//
// Layout below Config.Dir:
//
//	tmp/          drafts; dropped at Open
//	msg/          committed messages, named by their id (format.go)
//	quarantine/   files that failed their checks, kept for a person
//	journal       state per recipient (journal.go)
//
// It never looks into a message beyond finding the end of the header, never
// decides who is tried when (mail/queue does), and starts no goroutine: the
// fsync of a directory is done by one of the callers for all that wait.
package spool

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/atomicfile"
	"postern/internal/mail/envelope"
	"postern/internal/metrics"
)

// What callers branch on.
var (
	ErrFull           = errors.New("not enough disk space")             // 452 4.3.1
	ErrReadOnly       = errors.New("spool takes no mail after a fault") // 451 4.3.0
	ErrHeaderTooLarge = errors.New("header too large")                  // 552 5.3.4
	ErrNotFound       = errors.New("no such message")
	ErrBroken         = errors.New("broken spool file")
)

// MaxHeader is the largest header region in octets, as received and as
// committed.
const MaxHeader = 256 << 10

// DefaultMinFree is the floor below which no new mail is taken.
const DefaultMinFree = 64 << 20

// Step names a point at which the spool can be made to fail in a test.
type Step string

// The steps of a commit, in their order, and those of the journal.
const (
	StepCreate  Step = "create"
	StepWrite   Step = "write"
	StepSync    Step = "sync"
	StepRename  Step = "rename"
	StepSyncDir Step = "sync directory"

	StepJournalWrite Step = "journal write"
	StepJournalSync  Step = "journal sync"
)

// Config says where the spool lies and what it leaves free.
type Config struct {
	Dir     string           // made if absent, mode 0700
	MinFree int64            // octets to leave free on the file system; 0: DefaultMinFree; negative: no floor
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: nothing is logged
	Fault   func(Step) error // for tests: asked before each step, may return an error in its place
}

// Counters are what the spool counts.
type Counters struct {
	Committed   metrics.Counter // messages made durable
	Removed     metrics.Counter // messages taken out after their last recipient
	Full        metrics.Counter // drafts refused for lack of space
	Faults      metrics.Counter // failed fsyncs and renames
	Quarantined metrics.Counter // broken files found at Open
	DirSyncs    metrics.Counter // directory fsyncs; one may serve several commits
}

// Spool is an open spool. It is safe for concurrent use.
type Spool struct {
	Counters Counters

	cfg     Config
	journal *Journal
	dir     group
	fault   atomic.Pointer[error] // set once: the spool is read-only

	rooms sync.Pool // of *[]byte: what drafts read with, copyRoom each

	mu   sync.Mutex // guards last
	last time.Time  // the latest time used in an id
}

// Open makes the directories, drops unfinished drafts, checks every message,
// moves broken ones aside, and replays the journal. The caller holds the lock
// that keeps other processes away.
func Open(cfg Config) (*Spool, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MinFree == 0 {
		cfg.MinFree = DefaultMinFree
	}
	s := &Spool{cfg: cfg}
	s.dir.sync = s.syncMessages
	if err := s.makeDirs(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := s.dropDrafts(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	live, err := s.verifyAll()
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s.journal, err = openJournal(s, live)
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	return s, nil
}

// Close closes the journal. Messages need no closing.
func (s *Spool) Close() error { return s.journal.close() }

// Journal returns the record of what happened to each recipient.
func (s *Spool) Journal() *Journal { return s.journal }

// Fault returns the error that made the spool read-only, or nil.
func (s *Spool) Fault() error {
	if p := s.fault.Load(); p != nil {
		return *p
	}
	return nil
}

// Remove takes a message and its states out. A removal that a crash undoes is
// made up for by the journal, which outlives the file's name.
func (s *Spool) Remove(id envelope.ID) error {
	if !id.Valid() {
		return fmt.Errorf("remove %q: %w", id, ErrNotFound)
	}
	err := os.Remove(s.path(id))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove message: %w", err)
	}
	s.journal.forget(id)
	if err == nil {
		s.Counters.Removed.Inc()
	}
	return nil
}

func (s *Spool) makeDirs() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"tmp", "msg", "quarantine"} {
		if err := os.Mkdir(filepath.Join(s.cfg.Dir, name), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := atomicfile.SyncDir(s.cfg.Dir); err != nil {
		return err
	}
	// The spool's own name must be durable too, else a crash takes all of it.
	return atomicfile.SyncDir(filepath.Dir(filepath.Clean(s.cfg.Dir)))
}

func (s *Spool) path(id envelope.ID) string { return filepath.Join(s.cfg.Dir, "msg", string(id)) }

func (s *Spool) tmpPath(id envelope.ID) string { return filepath.Join(s.cfg.Dir, "tmp", string(id)) }

// newID hands out an id that no other call got: times never repeat within a
// process, and chance keeps apart what two processes made.
func (s *Spool) newID() (envelope.ID, error) {
	var chance [4]byte
	if _, err := rand.Read(chance[:]); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now().Truncate(time.Microsecond)
	if !now.After(s.last) {
		now = s.last.Add(time.Microsecond)
	}
	s.last = now
	return envelope.NewID(now, binary.BigEndian.Uint32(chance[:])), nil
}

// step runs do, or fails in its place when a test says so.
func (s *Spool) step(at Step, do func() error) error {
	if s.cfg.Fault != nil {
		if err := s.cfg.Fault(at); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}

// seize makes the spool read-only: from now on it cannot be known what is on
// disk.
func (s *Spool) seize(err error) {
	s.Counters.Faults.Inc()
	if s.fault.CompareAndSwap(nil, &err) {
		s.cfg.Log.Error("spool takes no mail: a write could not be made durable",
			"reason", "spool-fault", "err", err, "hint", "check the disk, then restart")
	}
}

func (s *Spool) syncMessages() error {
	s.Counters.DirSyncs.Inc()
	return s.step(StepSyncDir, func() error { return atomicfile.SyncDir(filepath.Join(s.cfg.Dir, "msg")) })
}
