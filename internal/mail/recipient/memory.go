package recipient

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"postern/internal/atomicfile"
)

// Who is known to exist outlives a restart, so that mail for them is taken even
// if the next hop is down when Postern starts: after a power cut, both start. The
// file is a first line, then one line of JSON for each domain. Losing it costs
// questions, and mail that comes later.
const (
	memoryMagic = "POSTERN-RECIPIENTS 1\n"
	memoryEvery = 10 * time.Minute
	maxMemory   = 256 << 20
)

// remembered is what is known of one next hop.
type remembered struct {
	Domain string           `json:"domain"`
	Hops   string           `json:"hops"`
	Known  map[string]int64 `json:"known"` // in Unix seconds, when it was asked for
}

// recall reads the file. One that is broken is as good as none.
func (k *Keeper) recall() {
	if k.cfg.File == "" {
		return
	}
	all, err := readMemory(k.cfg.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		k.cfg.Log.Warn("known recipients forgotten: they are asked for again", "reason", "recipients-memory", "err", err)
	default:
		k.recalled = all
	}
}

func readMemory(path string) (map[string]remembered, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxMemory {
		return nil, fmt.Errorf("%s is larger than %d MB", path, maxMemory>>20)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(text, []byte(memoryMagic))
	if !ok {
		return nil, fmt.Errorf("%s: not of this format", path)
	}
	all := map[string]remembered{}
	for line := range bytes.Lines(rest) {
		var r remembered
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all[r.Domain] = r
	}
	return all, nil
}

// take fills a new verifier with what was known of its next hop before.
func (v *verifier) take(r remembered) {
	now := v.keeper.cfg.Now()
	for key, at := range r.Known {
		asked := time.Unix(at, 0)
		if len(v.known) < maxKnown && !asked.After(now) && now.Sub(asked) < knownLong {
			v.known[key] = asked
		}
	}
}

// save writes down who is known, if anything was learnt since the last time.
func (k *Keeper) save() error {
	if k.cfg.File == "" {
		return nil
	}
	text, learnt := bytes.NewBufferString(memoryMagic), uint64(0)
	for _, d := range k.all() {
		if !d.Mode.asks() {
			continue
		}
		r, n := d.asked.memory(d.Hops)
		learnt += n
		line, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("recipients: %w", err)
		}
		text.Write(append(line, '\n'))
	}
	if learnt == k.saved {
		return nil
	}
	if err := atomicfile.Write(k.cfg.File, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("recipients: %w", err)
	}
	k.saved = learnt
	return nil
}

// memory copies what is known, and says how much was ever learnt.
func (v *verifier) memory(hops string) (remembered, uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := remembered{Domain: v.domain, Hops: hops, Known: make(map[string]int64, len(v.known))}
	for key, at := range v.known {
		r.Known[key] = at.Unix()
	}
	return r, v.learnt
}
