// Package keyring keeps the private keys that sign our zones: one file a key
// below STATE/keys/dnssec, read once at the start, made here or taken over
// from BIND and Knot. The keys of a zone are shared by its views.
//
// Private keys leave this room only as crypto.Signer, and nothing that leaves
// it prints them. A file that cannot be used is never passed over: its zone
// gets no keys at all, so that nobody signs with half of them or makes new
// ones under a DS that points at the old. Which key is used when is not
// decided here; the fields that a rollover writes down are kept unread.
//
// The package starts no goroutine.
package keyring

import (
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/atomicfile"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/metrics"
)

// maxKeys bounds the keys of a zone: a rollover of the algorithm of a KSK and
// a ZSK, with a key of each standing by, needs eight. A validator must look at
// each of them.
const maxKeys = 12

// attempts is how often a key is made anew whose tag is taken.
const attempts = 32

// What a caller may ask about.
var (
	ErrBroken = errors.New("a key of the zone cannot be used")
	ErrFull   = fmt.Errorf("the zone has %d keys, which is the most", maxKeys)
	ErrTag    = errors.New("the zone has another key with this tag")
	ErrNoKey  = errors.New("the zone has no such key")
)

// Counters are what a Ring counts.
type Counters struct {
	Created  metrics.Counter // keys made
	Imported metrics.Counter // keys taken over from other servers
	Removed  metrics.Counter
	Broken   metrics.Counter // key files that could not be used
	Refused  metrics.Counter // keys not made or taken because a zone had its fill
}

// Ring holds the keys of all zones. It is safe for concurrent use.
type Ring struct {
	Counters Counters

	dir    string
	writer atomicfile.Writer // its faults are for tests
	create func(algorithm) (crypto.Signer, error)

	writing sync.Mutex             // held by whoever changes files and state
	state   atomic.Pointer[holder] // replaced, never changed
}

// holder is what a Ring knows.
type holder struct {
	zones  map[name.Name][]entry
	broken map[name.Name]error // why a zone gets no keys
	stray  error               // files of which not even the zone is known
}

// Open reads the keys in dir, which is made if absent. Files that cannot be
// used are no error of Open: Problems names them, and their zones get no keys.
func Open(dir string) (*Ring, error) { return OpenWith(dir, atomicfile.Writer{}) }

// OpenWith is Open with a writer whose faults are for tests.
func OpenWith(dir string, w atomicfile.Writer) (*Ring, error) {
	r := &Ring{dir: dir, writer: w, create: func(a algorithm) (crypto.Signer, error) { return a.make() }}
	h, err := r.load()
	if err != nil {
		return nil, fmt.Errorf("dnssec keys: %w", err)
	}
	r.state.Store(h)
	return r, nil
}

// Of returns the keys of a zone; none and no error where it has none. An error
// is ErrBroken: the zone must not be signed, and no key be made for it.
func (r *Ring) Of(zone name.Name) ([]dnssec.Key, error) {
	h := r.state.Load()
	if err := h.problem(zone); err != nil {
		return nil, err
	}
	var keys []dnssec.Key
	for _, e := range h.zones[zone] {
		keys = append(keys, e.key)
	}
	return keys, nil
}

// Held is a key with what is known about it.
type Held struct {
	Info
	Key dnssec.Key
}

// Held returns what Of returns, with all that is known of each key.
func (r *Ring) Held(zone name.Name) ([]Held, error) {
	h := r.state.Load()
	if err := h.problem(zone); err != nil {
		return nil, err
	}
	var all []Held
	for _, e := range h.zones[zone] {
		held := Held{e.Info, e.key}
		held.Fields = slices.Clone(e.Fields)
		all = append(all, held)
	}
	return all, nil
}

// problem is why a zone gets no keys, nil where it may have them.
func (h *holder) problem(zone name.Name) error {
	if err := errors.Join(h.broken[zone], h.stray); err != nil {
		return fmt.Errorf("dnssec keys of %s: %w: %w", zone, ErrBroken, err)
	}
	return nil
}

// Problems are the files that could not be used, one error for each zone.
func (r *Ring) Problems() []error {
	h := r.state.Load()
	var all []error
	if h.stray != nil {
		all = append(all, fmt.Errorf("no zone is signed: %w", h.stray))
	}
	for _, zone := range slices.SortedFunc(maps.Keys(h.broken), name.Name.Compare) {
		all = append(all, fmt.Errorf("zone %s is not signed: %w", zone, h.broken[zone]))
	}
	return all
}

// List shows the keys of all zones in canonical order, also of zones that get
// none because of another key.
func (r *Ring) List() []Info {
	h := r.state.Load()
	var all []Info
	for _, zone := range slices.SortedFunc(maps.Keys(h.zones), name.Name.Compare) {
		for _, e := range h.zones[zone] {
			info := e.Info
			info.Fields = slices.Clone(e.Fields)
			all = append(all, info)
		}
	}
	return all
}

// Generate makes a key, durable before it is returned. Its tag is that of no
// other key of the zone: validators tell keys apart by it first.
func (r *Ring) Generate(zone name.Name, role Role, alg uint8, now time.Time) (dnssec.Key, error) {
	e, err := r.generate(zone, role, alg, now)
	if err != nil {
		return dnssec.Key{}, fmt.Errorf("make dnssec key for %s: %w", zone, err)
	}
	r.Counters.Created.Inc()
	return e.key, nil
}

func (r *Ring) generate(zone name.Name, role Role, alg uint8, now time.Time) (entry, error) {
	a, err := algorithmOf(alg)
	if err != nil {
		return entry{}, err
	}
	if role < CSK || role > ZSK || zone == "" {
		return entry{}, errors.New("zone or role is unknown")
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	if err := r.roomFor(zone, 1); err != nil {
		return entry{}, err
	}
	for range attempts {
		private, err := r.create(a)
		if err != nil {
			return entry{}, err
		}
		e, err := newEntry(zone, role, alg, now, private)
		if err != nil {
			return entry{}, err
		}
		if _, taken := r.state.Load().find(zone, e.Tag); taken {
			continue
		}
		return e, r.addLocked(e, private)
	}
	return entry{}, fmt.Errorf("%w, %d times over", ErrTag, attempts)
}

// roomFor refuses more keys than a zone may have, and any while one of the
// zone's cannot be used.
func (r *Ring) roomFor(zone name.Name, more int) error {
	h := r.state.Load()
	if err := h.problem(zone); err != nil {
		return err
	}
	if len(h.zones[zone])+more > maxKeys {
		r.Counters.Refused.Inc()
		return ErrFull
	}
	return nil
}

// SetFields replaces what is kept with a key. After an error the file has the
// old fields or the new, and the old are shown until the next start.
func (r *Ring) SetFields(zone name.Name, tag uint16, fields []Field) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	e, ok := r.state.Load().find(zone, tag)
	if !ok {
		return fmt.Errorf("dnssec key %d of %s: %w", tag, zone, ErrNoKey)
	}
	e.Fields = slices.Clone(fields)
	err := checkFields(e.Fields)
	if err == nil {
		err = r.rewrite(e)
	}
	if err != nil {
		return fmt.Errorf("dnssec key %d of %s: %w", tag, zone, err)
	}
	r.changeLocked(zone, func(keys []entry) []entry { return append(without(keys, tag), e) })
	return nil
}

// Remove deletes a key. After an error it is still in use, and may be gone at
// the next start.
func (r *Ring) Remove(zone name.Name, tag uint16) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	e, ok := r.state.Load().find(zone, tag)
	if !ok {
		return fmt.Errorf("remove dnssec key %d of %s: %w", tag, zone, ErrNoKey)
	}
	if err := r.erase(e); err != nil {
		return fmt.Errorf("remove dnssec key %d of %s: %w", tag, zone, err)
	}
	r.changeLocked(zone, func(keys []entry) []entry { return without(keys, tag) })
	r.Counters.Removed.Inc()
	return nil
}

// addLocked writes a key and begins to use it.
func (r *Ring) addLocked(e entry, private crypto.Signer) error {
	if err := r.save(e, private); err != nil {
		return err
	}
	r.changeLocked(e.Zone, func(keys []entry) []entry { return append(keys, e) })
	return nil
}

// changeLocked replaces the keys of a zone by what change makes of a copy.
func (r *Ring) changeLocked(zone name.Name, change func([]entry) []entry) {
	h := *r.state.Load()
	h.zones = maps.Clone(h.zones)
	keys := change(slices.Clone(h.zones[zone]))
	sortKeys(keys)
	if h.zones[zone] = keys; len(keys) == 0 {
		delete(h.zones, zone)
	}
	r.state.Store(&h)
}

// sortKeys gives the keys of a zone the order in which they are published and
// used, the same at every start.
func sortKeys(keys []entry) {
	slices.SortFunc(keys, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Alg, b.Alg), cmp.Compare(a.Tag, b.Tag))
	})
}

func (h *holder) find(zone name.Name, tag uint16) (entry, bool) {
	for _, e := range h.zones[zone] {
		if e.Tag == tag {
			return e, true
		}
	}
	return entry{}, false
}

func without(keys []entry, tag uint16) []entry {
	return slices.DeleteFunc(keys, func(e entry) bool { return e.Tag == tag })
}
