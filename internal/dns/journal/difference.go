package journal

import (
	"bytes"
	"encoding/hex"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// share is how small a part of its base's records an edit must bring to be one.
const share = 16

// edit returns how a snapshot differs from the base, or nil where it is no
// small edit of it. What the two share costs a look at each record's pointer.
func (b *base) edit(snap Snapshot) *edit {
	if (b.source == nil) != (snap.Source == nil) || b.content.Origin() != snap.Content.Origin() {
		return nil
	}
	most := (b.content.Records() + len(b.source)) / share
	e := &edit{head: headOf(snap)}
	if !e.compare(b, snap, most) {
		return nil
	}
	var ok bool
	if e.hunks, ok = hunks(b.source, snap.Source, most); !ok {
		return nil
	}
	e.Base = &baseName{Version: b.version, Sum: hex.EncodeToString(b.sum[:])}
	e.Frames = e.frames()
	// A reason of a megabyte belongs into a whole file, whose head has no bound.
	if e.Frames > most || len(e.File)+len(e.Who)+len(e.Why) > maxHead/8 {
		return nil
	}
	return e
}

// compare finds what goes and what comes in the content.
func (e *edit) compare(b *base, snap Snapshot, most int) bool {
	removed, added := zone.Diff(b.content, snap.Content)
	if len(removed)+len(added) > most {
		return false
	}
	special, ok := ownersOf(b.derived, snap.Derived)
	if !ok {
		return false
	}
	if e.gone, ok = entries(b.content, removed, special); !ok {
		return false
	}
	if e.come, ok = entries(snap.Content, added, special); !ok {
		return false
	}
	before, after := madeOf(b.derived), madeOf(snap.Derived)
	for _, owner := range special {
		old, oldKeys, okOld := before.entriesAt(b.content.Node(owner))
		new, newKeys, okNew := after.entriesAt(snap.Content.Node(owner))
		if !okOld || !okNew {
			return false
		}
		e.gone = appendLacking(e.gone, old, oldKeys, newKeys)
		e.come = appendLacking(e.come, new, newKeys, oldKeys)
	}
	// What would not add up could not be read again.
	return b.content.Records()-len(e.gone)+len(e.come) == snap.Content.Records()
}

// ownersOf returns, in canonical order, the owners of records that Postern
// made: there a record may change its kind alone.
func ownersOf(lists ...[]dns.RR) (owners []name.Name, ok bool) {
	for _, list := range lists {
		for _, rr := range list {
			n, err := name.Parse(rr.Header().Name)
			if err != nil {
				return nil, false
			}
			owners = append(owners, n)
		}
	}
	slices.SortFunc(owners, name.Name.Compare)
	return slices.Compact(owners), true
}

// entries makes entries of records of z, all but those of special owners. A
// record that names another owner than it stands at would not be found again.
func entries(z *zone.Zone, rrs []dns.RR, special []name.Name) (all []entry, ok bool) {
	for _, rr := range rrs {
		h := rr.Header()
		n, err := name.Parse(h.Name)
		if err != nil || z.Node(n).Set(h.Rrtype) == nil {
			return nil, false
		}
		if _, found := slices.BinarySearchFunc(special, n, name.Name.Compare); !found {
			all = append(all, entry{content, rr})
		}
	}
	return all, true
}

// entriesAt returns all of a node, which may be nil, and what tells them apart.
func (m made) entriesAt(node *zone.Node) (all []entry, keys []string, ok bool) {
	if node == nil {
		return nil, nil, true
	}
	for i := range node.Sets {
		for _, rr := range node.Sets[i].RRs {
			kind := m.kind(rr)
			wire, err := zone.AppendRecord([]byte{kind}, rr)
			if err != nil || !bytes.HasPrefix(wire[1:], []byte(node.Name)) {
				return nil, nil, false
			}
			all, keys = append(all, entry{kind, rr}), append(keys, string(wire))
		}
	}
	return all, keys, true
}

// appendLacking appends the entries whose keys others lacks.
func appendLacking(to, all []entry, keys, others []string) []entry {
	have := make(map[string]bool, len(others))
	for _, k := range others {
		have[k] = true
	}
	for i, x := range all {
		if !have[keys[i]] {
			to = append(to, x)
		}
	}
	return to
}

// hunks returns where two lists differ, bringing at most so many records. It
// gives up where it would have to look far and often: then the lists are not
// alike.
func hunks(old, new []dns.RR, most int) (all []hunk, ok bool) {
	i := 0
	for i < len(old) && i < len(new) && zone.SameRecord(old[i], new[i]) {
		i++
	}
	end := 0 // how many are the same at the end
	for end < len(old)-i && end < len(new)-i && zone.SameRecord(old[len(old)-1-end], new[len(new)-1-end]) {
		end++
	}
	s := seeker{old: old[:len(old)-end], new: new[:len(new)-end], most: most, looks: len(old)/4 + 8*windows[len(windows)-1]}
	for j := i; i < len(s.old) || j < len(s.new); {
		if i < len(s.old) && j < len(s.new) && zone.SameRecord(s.old[i], s.new[j]) {
			i, j = i+1, j+1
			continue
		}
		goes, comes := s.next(i, j)
		if s.most -= 1 + comes; s.most < 0 || s.looks < 0 {
			return nil, false
		}
		all = append(all, hunk{at: i, gone: goes, come: s.new[j : j+comes]})
		i, j = i+goes, j+comes
	}
	return all, true
}

// seeker finds where two lists go on alike.
type seeker struct {
	old, new    []dns.RR
	most, looks int // what is left to bring, and to look at
}

// windows are how far ahead it looks, one after the other.
var windows = [...]int{16, 256, 4096}

// sure is how many records that follow each other must be the same.
const sure = 3

// next returns how many records go and come at old[i] and new[j], which differ.
// What is not found again within the largest window goes and comes as a whole.
func (s *seeker) next(i, j int) (goes, comes int) {
	old, new := s.old[i:], s.new[j:]
	if len(old) == 0 || len(new) == 0 {
		return len(old), len(new)
	}
	for _, w := range windows {
		if goes, comes, ok := s.within(old, new, w); ok {
			return goes, comes
		}
		if w >= len(old) && w >= len(new) || s.looks < 0 {
			break
		}
	}
	return len(old), len(new)
}

// label is what two records share that are the same: enough to find one by.
type label struct {
	owner string
	kind  uint16
}

func labelOf(rr dns.RR) label { return label{rr.Header().Name, rr.Header().Rrtype} }

// within looks so far ahead in both lists.
func (s *seeker) within(old, new []dns.RR, window int) (goes, comes int, ok bool) {
	const crowd = 16 // of one owner and type that are looked at
	ahead := old[:min(window, len(old))]
	first := make(map[label]int, len(ahead)) // one more than where the first is
	later := make([]int, len(ahead))         // likewise, the next of that label
	for i, rr := range slices.Backward(ahead) {
		l := labelOf(rr)
		later[i], first[l] = first[l], i+1
	}
	s.looks -= len(ahead)
	for j := range new[:min(window, len(new))] {
		s.looks--
		i := first[labelOf(new[j])]
		for range crowd {
			if i == 0 {
				break
			}
			if alike(old[i-1:], new[j:]) {
				return i - 1, j, true
			}
			i = later[i-1]
		}
	}
	return 0, 0, false
}

// alike reports whether two lists begin with enough of the same.
func alike(old, new []dns.RR) bool {
	for k := range sure {
		if k == len(old) || k == len(new) {
			return k > 0 && len(old) == len(new)
		}
		if !zone.SameRecord(old[k], new[k]) {
			return false
		}
	}
	return true
}
