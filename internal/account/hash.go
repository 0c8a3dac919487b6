package account

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"postern/internal/argon"
)

// Cost is what one argon2id hash costs (RFC 9106, Section 3.1).
type Cost struct {
	Memory  uint32 // KiB; 0: 19456
	Passes  uint32 // 0: 2
	Threads uint8  // 0: 1
}

func (c Cost) withDefaults() Cost {
	if c.Memory == 0 {
		c.Memory = 19 * 1024
	}
	if c.Passes == 0 {
		c.Passes = 2
	}
	if c.Threads == 0 {
		c.Threads = 1
	}
	return c
}

const (
	saltLen = 16
	keyLen  = 32
)

// phc is a stored hash taken apart.
type phc struct {
	cost Cost
	salt []byte
	key  []byte
}

func (p phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		p.cost.Memory, p.cost.Passes, p.cost.Threads, b64.EncodeToString(p.salt), b64.EncodeToString(p.key))
}

// parsePHC reads a stored hash. Its costs are bounded, so that a damaged row
// cannot take the machine's memory.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, ErrBadHash
	}
	var p phc
	var err error
	if p.cost, err = parseCost(parts[3]); err != nil {
		return phc{}, err
	}
	b64 := base64.RawStdEncoding.Strict()
	salt, err1 := b64.DecodeString(parts[4])
	key, err2 := b64.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return phc{}, ErrBadHash
	}
	p.salt, p.key = salt, key
	return p, nil
}

func parseCost(s string) (Cost, error) {
	var n [3]uint64
	fields := strings.Split(s, ",")
	if len(fields) != 3 {
		return Cost{}, ErrBadHash
	}
	limits := [3]uint64{1 << 20, 64, 16} // 1 GiB, 64 passes, 16 threads
	for i, name := range [3]string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(fields[i], name)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || v == 0 || v > limits[i] {
			return Cost{}, ErrBadHash
		}
		n[i] = v
	}
	return Cost{uint32(n[0]), uint32(n[1]), uint8(n[2])}, nil
}

// ask is what to hash for a password to be held against the stored one.
func (p phc) ask(password string) argon.Ask {
	return argon.Ask{
		Password: []byte(password), Salt: p.salt, Length: uint32(len(p.key)),
		Passes: p.cost.Passes, Memory: p.cost.Memory, Threads: p.cost.Threads,
	}
}

// hasher hashes, few at a time.
type hasher struct {
	cost    Cost
	rand    io.Reader
	aside   func(argon.Ask) ([]byte, error)
	room    func() (leave func())
	slots   chan struct{}
	wait    time.Duration
	queue   int64
	waiting atomic.Int64
	decoy   phc // what an unknown login is compared with
}

func newHasher(c Config) (*hasher, error) {
	h := &hasher{
		cost: c.Cost.withDefaults(), rand: c.Rand, aside: c.Aside, room: c.Room, slots: make(chan struct{}, c.HashSlots),
		wait: c.HashWait, queue: int64(c.HashQueue),
	}
	salt, err := h.salt()
	if err != nil {
		return nil, err
	}
	h.decoy = phc{cost: h.cost, salt: salt, key: make([]byte, keyLen)}
	return h, nil
}

func (h *hasher) salt() ([]byte, error) {
	salt := make([]byte, saltLen)
	if _, err := io.ReadFull(h.rand, salt); err != nil {
		return nil, fmt.Errorf("make a salt: %w", err)
	}
	return salt, nil
}

// hash makes the string that is stored for a password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt, err := h.salt()
	if err != nil {
		return "", err
	}
	p := phc{cost: h.cost, salt: salt, key: make([]byte, keyLen)}
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	p.key = h.derive(p, password)
	return p.String(), nil
}

// matches reports whether the password is the stored one. It does the same work
// for the decoy, which nothing matches. The caller holds a slot.
func (h *hasher) matches(p phc, password string) bool {
	return subtle.ConstantTimeCompare(h.derive(p, password), p.key) == 1
}

// derive takes some tens of milliseconds of a core, aside if that can be. Here, in
// a place of the readers', on one core, nobody would be answered until the runtime
// takes it back, after ten; so it has room.
func (h *hasher) derive(p phc, password string) []byte {
	ask := p.ask(password)
	if h.aside != nil {
		if key, err := h.aside(ask); err == nil {
			return key
		}
	}
	if h.room == nil {
		return ask.Key()
	}
	leave := h.room()
	defer leave()
	return ask.Key()
}

// enter waits for a slot, not for long and not behind many.
func (h *hasher) enter(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > h.queue {
		return ErrBusy
	}
	late := time.NewTimer(h.wait)
	defer late.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-late.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hasher) leave() { <-h.slots }
