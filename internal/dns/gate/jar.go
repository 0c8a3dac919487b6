package gate

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
)

// Jar makes the secrets of each day (UTC) from one key, so that they roll over
// by themselves, come back after a restart, and are the same on all servers
// that share the key. It is safe for concurrent use.
type Jar struct {
	key   [32]byte
	today atomic.Pointer[dated]
}

// dated is the secrets of half a day.
type dated struct {
	half int64
	Secrets
}

const halfDay = 12 * 60 * 60

// NewJar returns a jar of the key.
func NewJar(key [32]byte) *Jar { return &Jar{key: key} }

// At returns the secrets of the moment, in seconds of Unix time. Before noon the other secret is that
// of yesterday, for cookies that are still out; after noon that of tomorrow,
// for those of a server whose clock is ahead.
func (j *Jar) At(now int64) *Secrets {
	half := now / halfDay
	if have := j.today.Load(); have != nil && have.half == half {
		return &have.Secrets
	}
	day := half / 2
	other := day - 1
	if half%2 == 1 {
		other = day + 1
	}
	made := &dated{half: half, Secrets: Secrets{Current: j.secret(day), Other: j.secret(other), HasOther: true}}
	j.today.Store(made)
	return &made.Secrets
}

func (j *Jar) secret(day int64) Secret {
	h := hmac.New(sha256.New, j.key[:])
	h.Write(binary.BigEndian.AppendUint64([]byte("dns cookie"), uint64(day)))
	return Secret(h.Sum(nil)[:16])
}
