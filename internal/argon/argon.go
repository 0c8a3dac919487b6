// Package argon makes argon2id hashes (RFC 9106) in a child of this process.
//
// A hash takes tens of milliseconds of a core and 19 MiB, as it must. Made beside
// the answers of the same process it costs those more than the core: the memory
// has the collector run after each, and every run stops all goroutines, readers
// of questions among them. A child has a heap of its own, and the kernel, which
// shares the cores between them, is told that it may wait.
//
// The child is this program again. It is started when the first hash is wanted,
// serves one at a time, and ends when none was wanted for a while, or when its
// input does: so it does not outlive its parent. Whoever cannot have a child makes
// the hash itself, with Ask.Key.
package argon

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
)

// Ask is one hash to be made.
type Ask struct {
	Password, Salt []byte
	Passes         uint32
	Memory         uint32 // KiB
	Threads        uint8
	Length         uint32 // of the key, in octets
}

// Key makes the hash here and now.
func (a Ask) Key() []byte {
	return argon2.IDKey(a.Password, a.Salt, a.Passes, a.Memory, a.Threads, a.Length)
}

// Serve is the child: it makes the hashes that in asks for, one after the other,
// and writes the keys to out, until in ends.
func Serve(in io.Reader, out io.Writer) error {
	asks, keys := gob.NewDecoder(in), gob.NewEncoder(out)
	for {
		var a Ask
		switch err := asks.Decode(&a); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read what to hash: %w", err)
		}
		if err := keys.Encode(a.Key()); err != nil {
			return fmt.Errorf("write a hash: %w", err)
		}
	}
}
