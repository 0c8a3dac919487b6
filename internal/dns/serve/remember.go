package serve

import (
	"encoding/json"
	"errors"
	"fmt"

	"postern/internal/dns/wire"
)

// What was signed before this process began may have been carried out by the one
// before it. Where that one has left what it remembers, the two are told apart,
// and a client whose clock is behind is served at once; else, after a crash, what
// was signed before is not taken, for as long as such a time is good.

const rememberVersion = 1

type memory struct {
	Version int            `json:"version"`
	Updates []recollection `json:"updates"`
}

type recollection struct {
	MAC   []byte `json:"mac"` // and the name of its key
	Until int64  `json:"until"`
	Rcode int    `json:"rcode"`
}

// errMemory is one that somebody else has written.
var errMemory = errors.New("it is of another version")

// Remember returns the updates of which the time is still good, for the Recall
// of the next process. Nothing may be carried out after it.
func (s *Server) Remember() ([]byte, error) {
	r := &s.replays
	r.mu.Lock()
	defer r.mu.Unlock()
	m := memory{Version: rememberVersion, Updates: []recollection{}}
	for _, one := range r.queue {
		rcode := r.seen[one.mac]
		if rcode == pending {
			rcode = wire.ServFail // it may have been carried out: the client is to ask anew
		}
		m.Updates = append(m.Updates, recollection{[]byte(one.mac), one.until, rcode})
	}
	return json.Marshal(m)
}

// Recall takes what the process before this one remembered when it ended, which
// must be all that it carried out: what is not among it is new, whenever it was
// signed. It is called before any request comes.
func (s *Server) Recall(text []byte) error {
	var m memory
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("remembered updates: %w", err)
	}
	if m.Version != rememberVersion || len(m.Updates) > maxSeen {
		return fmt.Errorf("remembered updates: %w", errMemory)
	}
	r := &s.replays
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.seen = 0, map[string]int{}
	for _, one := range m.Updates {
		r.seen[string(one.MAC)] = one.Rcode
		r.queue = append(r.queue, remembered{string(one.MAC), one.Until})
	}
	return nil
}
