package spool

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"postern/internal/atomicfile"
	"postern/internal/mail/envelope"
)

// Status is where one recipient stands. The zero value is not yet tried.
type Status uint8

// The states of a recipient. Released belongs to a whole message; so does Held,
// but for recipients that failed and of which nobody was told.
const (
	Waiting   Status = iota // not tried, or to be tried again
	Delivered               // the next hop took responsibility
	Failed                  // refused for good or given up; the sender was told, or is not to be
	Dropped                 // by an operator
	Held                    // the message waits for an operator, or the recipient does
	Released                // it no longer does
)

var statusNames = [...]string{"waiting", "delivered", "failed", "dropped", "held", "released"}

// String returns the status in lower case.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "unknown"
}

// Final reports whether nothing more happens to the recipient.
func (s Status) Final() bool { return s == Delivered || s == Failed || s == Dropped }

// MarshalText returns the status's name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a status's name; one it does not know is an error.
func (s *Status) UnmarshalText(text []byte) error {
	for i, name := range statusNames {
		if string(text) == name {
			*s = Status(i)
			return nil
		}
	}
	return fmt.Errorf("unknown status %q", text)
}

// Whole is the Rcpt of a state that is about all of a message.
const Whole = -1

// maxText bounds the remote reply kept with a state, in octets.
const maxText = 512

// State is what is known about one recipient of one message.
type State struct {
	ID       envelope.ID `json:"id"`
	Rcpt     int         `json:"rcpt"` // index into Envelope.To, or Whole
	Status   Status      `json:"status"`
	Tries    int         `json:"tries,omitempty"`
	Next     time.Time   `json:"next,omitzero"` // not before; zero: at once
	At       time.Time   `json:"at,omitzero"`   // of the last try
	Code     int         `json:"code,omitempty"`
	Enhanced string      `json:"enhanced,omitempty"`
	Text     string      `json:"text,omitempty"` // the reply, or our own words
	Host     string      `json:"host,omitempty"` // who replied
	TLS      string      `json:"tls,omitempty"`  // protocol version; "" without TLS
}

// Journal is the append-only record of states. Appends reach the kernel at
// once, so that they survive the process, and the disk at the next Sync: losing
// the last ones in a power cut costs a second delivery, never a lost message.
// It keeps the latest state of every recipient of a live message in memory. It
// is safe for concurrent use.
type Journal struct {
	spool *Spool
	path  string

	syncing sync.Mutex // one Sync at a time; taken before mu

	mu      sync.Mutex // guards all below
	file    *os.File   // nil: to be written anew
	size    int64      // octets known to be whole records
	records int        // in the file
	dirty   bool
	stale   bool                    // the file misses records: to be written anew
	live    map[envelope.ID][]State // by Rcpt
	states  int                     // in live
}

// Append records states. When it fails they still count in memory: only a
// restart would not know them.
func (j *Journal) Append(states ...State) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var lines []byte
	for _, st := range states {
		st.Text = cut(st.Text, maxText)
		j.setLocked(st)
		var err error
		if lines, err = appendRecord(lines, st); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	j.dirty = true
	if j.file == nil {
		return nil // the next Sync writes all of it
	}
	err := j.spool.step(StepJournalWrite, func() error {
		_, err := j.file.WriteAt(lines, j.size)
		return err
	})
	if err != nil {
		// What was written in part is cut off, or else skipped at replay.
		j.stale = true
		return errors.Join(fmt.Errorf("journal: %w", full(err)), j.file.Truncate(j.size))
	}
	j.size += int64(len(lines))
	j.records += len(states)
	return nil
}

func (j *Journal) setLocked(st State) {
	of := j.live[st.ID]
	i, found := slices.BinarySearchFunc(of, st, func(a, b State) int { return cmp.Compare(a.Rcpt, b.Rcpt) })
	if found {
		of[i] = st
		return
	}
	j.live[st.ID] = slices.Insert(of, i, st)
	j.states++
}

// States returns the latest states of a message, by recipient; recipients that
// were never tried have none.
func (j *Journal) States(id envelope.ID) []State {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.live[id])
}

func (j *Journal) forget(id envelope.ID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.states -= len(j.live[id])
	delete(j.live, id)
}

// Sync makes what was appended durable, and rewrites the file when most of it
// is about messages that are gone.
func (j *Journal) Sync() error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	file, dirty := j.file, j.dirty
	anew := j.stale || dirty && file == nil || j.records > 4*j.states+compactAbove
	j.dirty = false
	j.mu.Unlock()
	if anew {
		return j.rewrite()
	}
	if !dirty {
		return nil
	}
	if err := j.spool.step(StepJournalSync, file.Sync); err != nil {
		// The pages may be gone: this file is not synced again but replaced.
		j.mu.Lock()
		j.file, j.dirty = nil, true
		j.mu.Unlock()
		return errors.Join(fmt.Errorf("journal: %w", err), file.Close())
	}
	return nil
}

// compactAbove is how many records about gone messages are never worth a
// rewrite.
const compactAbove = 1000

// rewrite replaces the file by one that holds only live states.
func (j *Journal) rewrite() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("rewrite journal: %w", err)
		}
	}()
	// States may be forgotten only when the removal of their message is
	// durable: else it would come back after a crash as one never tried.
	if err := j.spool.syncMessages(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dirty = true // until done
	text, records := []byte(journalMagic), 0
	for _, states := range j.live {
		for _, st := range states {
			if text, err = appendRecord(text, st); err != nil {
				return err
			}
			records++
		}
	}
	write := func() error { return atomicfile.Write(j.path, text, 0o600) }
	if err := j.spool.step(StepJournalWrite, write); err != nil {
		return full(err)
	}
	return j.adoptLocked(int64(len(text)), records)
}

// adoptLocked opens the file just written and lets go of the one before.
func (j *Journal) adoptLocked(size int64, records int) error {
	old := j.file
	f, err := os.OpenFile(j.path, os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	j.file, j.size, j.records = f, size, records
	j.dirty, j.stale = false, false
	if old != nil {
		_ = old.Close() // it holds nothing that the new one does not
	}
	return nil
}

func (j *Journal) close() error {
	err := j.Sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil {
		err = errors.Join(err, j.file.Close())
		j.file = nil
	}
	return err
}

// openJournal replays the journal for the live messages. Only a journal that
// cannot be read stops the spool; one that cannot be written does not, since
// mail must flow out of a full disk.
func openJournal(s *Spool, live []envelope.ID) (*Journal, error) {
	j := &Journal{spool: s, path: filepath.Join(s.cfg.Dir, "journal"), live: make(map[envelope.ID][]State)}
	known := make(map[envelope.ID]bool, len(live))
	for _, id := range live {
		known[id] = true
	}
	text, err := os.ReadFile(j.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		err := j.replay(text, known)
		if errors.Is(err, errJournalBroken) {
			err = j.moveAside(err)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := j.rewrite(); err != nil {
		s.cfg.Log.Error("journal not written: a restart may deliver some messages twice", "reason", "journal-write", "err", err)
	}
	return j, nil
}

func (j *Journal) replay(text []byte, known map[envelope.ID]bool) error {
	states, broken, err := parseJournal(text)
	if err != nil {
		return fmt.Errorf("%s: %w", j.path, err)
	}
	for _, st := range states {
		if known[st.ID] {
			j.setLocked(st)
		}
	}
	if broken > 0 {
		j.spool.cfg.Log.Warn("journal records skipped: some messages may be delivered twice", "reason", "journal-broken", "count", broken)
	}
	return nil
}

// moveAside keeps a destroyed journal for people to look at and goes on
// without: what was delivered in part is delivered again, which is better than
// no mail at all.
func (j *Journal) moveAside(why error) error {
	to := filepath.Join(j.spool.cfg.Dir, "quarantine", "journal."+j.spool.cfg.Now().UTC().Format("20060102T150405.000000000"))
	if err := os.Rename(j.path, to); err != nil {
		return err
	}
	j.spool.cfg.Log.Error("broken journal moved aside: messages may be delivered twice, and held ones go out", "reason", "journal-broken", "file", to, "err", why)
	return nil
}

// cut shortens s to at most n octets without breaking a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
