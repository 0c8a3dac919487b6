package account

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// Blocklist is passwords that nobody may have: those that others have lost
// already. It keeps eight octets of each, a keyed hash: of a million and a
// million tries one in 18 million is refused without being listed.
type Blocklist struct {
	seed maphash.Seed
	sums []uint64 // sorted
}

const (
	maxBlocklistFile = 256 << 20
	maxBlocklist     = 5_000_000 // 40 MB
)

// What is wrong with a list.
var (
	errListNotText = errors.New("it is no text, a NUL is in it (hint: unpack it first)")
	errListEmpty   = errors.New("no line of it is long enough for a password (hint: one password a line, not their hashes)")
)

// ReadBlocklist reads a file of one password a line. Lines of fewer than shortest
// characters are passed over, since the length refuses those anyway, and so are
// lines that are no UTF-8 or longer than a password may be.
func ReadBlocklist(path string, shortest int) (*Blocklist, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("list of refused passwords: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() > maxBlocklistFile {
		err = fmt.Errorf("larger than %d MiB (hint: keep the part that is guessed first)", maxBlocklistFile>>20)
	}
	var b *Blocklist
	if err == nil {
		b, err = readBlocklist(io.LimitReader(f, maxBlocklistFile), shortest, maxBlocklist)
	}
	if err != nil {
		return nil, fmt.Errorf("list of refused passwords %s: %w", path, err)
	}
	return b, nil
}

func readBlocklist(r io.Reader, shortest, most int) (*Blocklist, error) {
	b := &Blocklist{seed: maphash.MakeSeed()}
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		whole := err == nil || errors.Is(err, io.EOF)
		if !whole && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if bytes.IndexByte(line, 0) >= 0 {
			return nil, errListNotText
		}
		for errors.Is(err, bufio.ErrBufferFull) { // far too long for a password
			_, err = in.ReadSlice('\n')
		}
		word := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if whole && len(word) <= maxPassword && utf8.Valid(word) && utf8.RuneCount(word) >= shortest {
			if len(b.sums) == most {
				return nil, fmt.Errorf("more than %d lines of %d characters or more (hint: keep those that are guessed first)", most, shortest)
			}
			b.sums = append(b.sums, b.sum(string(word)))
		}
		if err != nil { // io.EOF, or a fault that reading on will show
			if !errors.Is(err, io.EOF) {
				return nil, err
			}
			break
		}
	}
	if len(b.sums) == 0 {
		return nil, errListEmpty
	}
	slices.Sort(b.sums)
	b.sums = slices.Clone(slices.Compact(b.sums)) // without the room that growing took
	return b, nil
}

// sum is of the lower-case form: whoever guesses from a list tries the cases.
func (b *Blocklist) sum(password string) uint64 {
	return maphash.String(b.seed, strings.ToLower(password))
}

// Len is how many it refuses; a nil list refuses none.
func (b *Blocklist) Len() int {
	if b == nil {
		return 0
	}
	return len(b.sums)
}

// Has reports whether a password is listed, in whatever letter case.
func (b *Blocklist) Has(password string) bool {
	if b == nil {
		return false
	}
	_, found := slices.BinarySearch(b.sums, b.sum(password))
	return found
}
