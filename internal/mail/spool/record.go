package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// The journal's format 1: a first line, then one line a record: the CRC32C of
// the JSON in 8 hexadecimal digits, a space, the JSON. A later record about the
// same recipient replaces an earlier one.
const journalMagic = "POSTERN-JOURNAL 1\n"

// journalKind begins the first line of a journal of any format.
const journalKind = "POSTERN-JOURNAL "

// What a journal is that cannot be read.
var (
	errJournalVersion = errors.New("a journal of another format") // perhaps a later Postern's: it is left alone
	errJournalBroken  = errors.New("not a journal")
)

func appendRecord(dst []byte, st State) ([]byte, error) {
	text, err := json.Marshal(st)
	if err != nil {
		return dst, err
	}
	dst = fmt.Appendf(dst, "%08x ", crc32.Checksum(text, castagnoli))
	dst = append(dst, text...)
	return append(dst, '\n'), nil
}

// parseJournal returns the records in order and how many lines were unfit. A
// torn last line is the trace of a crash and counts as unfit like any other.
func parseJournal(text []byte) (states []State, broken int, err error) {
	if len(text) == 0 {
		return nil, 0, nil
	}
	rest, ok := bytes.CutPrefix(text, []byte(journalMagic))
	switch {
	case ok:
	case bytes.HasPrefix(text, []byte(journalKind)):
		return nil, 0, errJournalVersion
	default:
		return nil, 0, errJournalBroken
	}
	for len(rest) > 0 {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		rest = after
		st, err := parseRecord(line)
		if err != nil || !whole {
			broken++
			continue
		}
		states = append(states, st)
	}
	return states, broken, nil
}

func parseRecord(line []byte) (State, error) {
	var st State
	if len(line) < 9 || line[8] != ' ' {
		return st, fmt.Errorf("%w: malformed record", ErrBroken)
	}
	text := line[9:]
	if want := fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)); want != string(line[:8]) {
		return st, fmt.Errorf("%w: checksum does not match", ErrBroken)
	}
	if err := json.Unmarshal(text, &st); err != nil {
		return st, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if !st.ID.Valid() || st.Rcpt < Whole {
		return st, fmt.Errorf("%w: record of nothing", ErrBroken)
	}
	return st, nil
}
