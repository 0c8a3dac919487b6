package authority

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"postern/internal/dns/journal"
	"postern/internal/dns/zonefile"
)

// At a restart a large zone is not parsed, judged and built again where its
// files are those that what is served was made of, and the program that judged
// them is this one: the journal holds the records, and a note beside them what
// was found to say. Its records as the file has them stay folded: they are
// read when something asks for them.

// noteFrom is from how many records on a zone is worth a note. Reading a small
// one again costs less than another file.
const noteFrom = 5000

// note is what was found about the files of a (zone, view). It is worth
// nothing for other files, another program or another snapshot.
type note struct {
	Rules      string             `json:"rules"`
	Hash       string             `json:"hash"` // of the files, as source.hash
	Includes   []string           `json:"includes"`
	FileSerial uint32             `json:"file_serial"`
	Derived    string             `json:"derived"` // of what was to be derived, as derivedHash
	Serial     uint32             `json:"serial"`  // of the snapshot, as Saved
	Saved      time.Time          `json:"saved"`
	Read       []zonefile.Problem `json:"read"`  // of the files
	Found      []zonefile.Problem `json:"found"` // of the zone
}

func (n *note) about(m *note) bool {
	return n.Rules == m.Rules && n.Hash == m.Hash && n.Derived == m.Derived && n.Serial == m.Serial && n.Saved.Equal(m.Saved)
}

// rules names what judges a source: the program, and the settings it is judged
// by. It is "" where the program cannot be told from another.
func (o *owner) rules(s *source) string {
	if o.a.build == "" {
		return ""
	}
	return fmt.Sprintf("%s %q %d %v %q", o.a.build, s.path(), o.exposure(s.view), o.plan.Strict, o.plan.Serial)
}

// noteDown keeps what was found about a zone that is served as its file has
// it. Failing to costs time at the next start.
func (o *owner) noteDown(c *candidate, st *served) {
	st.noteLater = st.noteLater || c.updates()
	if c.fallback || c.order != nil && c.order.own != nil {
		return
	}
	o.noteServed(st)
}

// noteServed is noteDown for a state that is made of the newest records of its
// file.
func (o *owner) noteServed(st *served) {
	s := o.sources[st.key]
	_, pinned := o.pins[st.key]
	if s == nil || pinned || s.reason != "" || s.hash == "" || o.plan.view(st.view).Overlay != "" {
		return
	}
	n := &note{
		Rules: o.rules(s), Hash: s.hash, Includes: s.includes, FileSerial: s.fileSOA, Derived: o.derivedHash(st.key),
		Serial: st.content.Serial(), Saved: st.loadedAt, Read: s.problems, Found: st.problems,
	}
	if n.Rules == "" || st.unjudged || st.content.Records() < o.a.noteFrom || st.note != nil && st.note.about(n) {
		return
	}
	if err := o.store.SaveNote(st.zone.String(), st.view, n); err != nil {
		o.log.Warn("zone journal", "err", err)
		return
	}
	st.note = n
}

// noteUpdated writes the notes of zones that updates changed: many small changes
// have one note, at the stop if not before, and a crash costs the next start the
// reading of the file.
func (o *owner) noteUpdated() {
	for _, st := range o.served {
		if st.noteLater {
			st.noteLater = false
			if st.reason == "" && len(st.held) == 0 {
				o.noteServed(st)
			}
		}
	}
}

// trusts takes the source as it was judged before, if it can: it is false
// where the file must be read. What else the zone is made of, settleTrusted
// looks at.
func (o *owner) trusts(s *source) bool {
	st := o.served[s.key]
	_, pinned := o.pins[s.key]
	if !o.restarting || pinned || !s.folded || st == nil || st.content == nil || st.content.Records() < o.a.noteFrom || o.plan.view(s.view).Overlay != "" {
		return false
	}
	n := &note{}
	if err := o.store.LoadNote(s.zone.String(), s.view, n); err != nil {
		o.log.Warn("zone journal", "err", err)
		return false
	}
	if n.Rules == "" || !n.about(&note{Rules: o.rules(s), Hash: n.Hash, Derived: n.Derived, Serial: st.content.Serial(), Saved: st.loadedAt}) {
		return false
	}
	hash, sig, err := hashZone(s.dir, s.file, n.Includes)
	if err != nil || hash != n.Hash {
		return false
	}
	s.sig, s.includes, s.hash, s.waiting = sig, n.Includes, hash, ""
	s.good, s.reason, s.problems, s.fileSOA = true, "", n.Read, n.FileSerial
	s.noted, st.note, st.trusted = true, n, true
	return true
}

// settleTrusted leaves trusted zones as they are, but for those of which other
// records are to be derived now, or may be: what they clash with is in what
// was found. All files have been looked at.
func (o *owner) settleTrusted() {
	for k, st := range o.served {
		if !st.trusted {
			continue
		}
		st.trusted = false
		if st.note.Derived == o.derivedHash(k) {
			delete(o.dirty, k)
			st.kin, st.tried = o.kin[k], o.kin[k]
			st.problems, st.byNote = st.note.Found, true
			o.tell(st)
		}
	}
}

// derivedHash names the records that are to be derived in k; "" is none.
func (o *owner) derivedHash(k key) string {
	var mine []journal.Derived
	if k.view == o.plan.external {
		mine, _ = o.derivedOf(k.zone)
	}
	if len(mine)+len(o.kin[k]) == 0 {
		return ""
	}
	h := sha256.New()
	for _, d := range mine {
		fmt.Fprintf(h, "%q %q %q\n", d.Owner, d.Key, d.Texts) // a hash never fails
	}
	for _, kin := range o.kin[k] {
		fmt.Fprintf(h, "%v\n", kin.rrs)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// newest returns the records of a source as the file had them last.
func (o *owner) newest(s *source) []zonefile.Record {
	if s.records == nil {
		o.unfold(s.key)
	}
	return s.records
}

// accepted returns those that are in what is served.
func (o *owner) accepted(s *source) []zonefile.Record {
	o.unfold(s.key)
	return s.accepted
}

// base returns what a zone's content was built from.
func (o *owner) base(st *served) []zonefile.Record {
	o.unfold(st.key)
	return st.records
}

// unfold reads the records of a (zone, view) of which the journal alone was
// read so far: from the file, which tells their places, or else from the
// journal.
func (o *owner) unfold(k key) {
	s, st := o.sources[k], o.served[k]
	if s != nil && s.folded {
		s.folded = false
		own, asWritten := o.asNoted(s)
		if !asWritten {
			own = o.keptSource(s)
		} else if st != nil && st.folded {
			st.folded = false
			kept, _ := o.dynamic(k)
			if st.records, _, _ = kept.Lay(own); k.view == o.plan.external {
				st.records, _ = o.withDerived(k.zone, st.records)
			}
			st.records, _ = withKin(k.zone, st.records, st.kin)
		}
		if s.accepted = own; s.records == nil {
			s.records = own
		}
	}
	if st != nil && st.folded {
		st.folded = false
		st.records = st.contents()
	}
}

// asNoted reads the file of a source that was trusted, if it is the same still.
func (o *owner) asNoted(s *source) ([]zonefile.Record, bool) {
	if !s.noted {
		return nil, false
	}
	l, err := readZone(s.dir, s.file, s.zone, nil)
	return l.records, err == nil && l.hash == s.hash
}

// keptSource reads the source's records from the journal. It could be read a
// while ago: nil means that the disk fails.
func (o *owner) keptSource(s *source) []zonefile.Record {
	snap, err := o.store.Former(s.zone.String(), s.view, s.version)
	if err != nil {
		o.log.Error("zone journal", "err", err)
		return nil
	}
	records := make([]zonefile.Record, 0, len(snap.Source))
	for _, rr := range snap.Source {
		records = append(records, zonefile.Record{RR: rr, File: s.path()})
	}
	return records
}

// contents returns the records that are served, those that Postern made marked.
func (st *served) contents() []zonefile.Record {
	made := map[string]bool{}
	for _, rr := range st.derived {
		made[rr.String()] = true
	}
	records := make([]zonefile.Record, 0, st.content.Records())
	for node := range st.content.Nodes() {
		for i := range node.Sets {
			for _, rr := range node.Sets[i].RRs {
				r := zonefile.Record{RR: rr, Owner: node.Name}
				if len(made) > 0 && made[rr.String()] {
					r.File = derivedFile
				}
				records = append(records, r)
			}
		}
	}
	return records
}

// hashZone returns what readZone would have for hash and signature, if the
// file includes these. The text is not kept.
func hashZone(dir, file string, includes []string) (digest, sig string, err error) {
	f, err := openZone(dir, file)
	if err != nil {
		return "", "", err
	}
	defer f.Close() // it is only read from
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return "", "", errNotRegular
	}
	in := includer{dir: dir, sigs: []string{fileSignature(info)}, sum: sha256.New()}
	defer in.close()
	in.sum.Write(binary.BigEndian.AppendUint64(nil, uint64(info.Size()))) // a hash never fails
	if size, err := io.Copy(in.sum, io.LimitReader(f, maxZoneText+1)); err != nil || size != info.Size() {
		return "", "", fmt.Errorf("%s changes while it is read: %w", file, io.ErrUnexpectedEOF)
	}
	for _, path := range includes {
		if _, _, err := in.include(path); err != nil {
			return "", "", err
		}
	}
	sig = strings.Join(in.sigs, " ")
	if now, err := signature(dir, file, in.paths); err != nil || now != sig {
		return "", "", fmt.Errorf("%s changes while it is read: %w", file, io.ErrUnexpectedEOF)
	}
	return hex.EncodeToString(in.sum.Sum(nil)), sig, nil
}

// buildID returns what the linker wrote into this program to tell it from all
// others; "" where it did not, or not where it is looked for.
func buildID() string {
	f, err := os.Open("/proc/self/exe") // not by its path: another one may be installed there by now
	if err != nil {
		return ""
	}
	defer f.Close() // it is only read from
	var head [16 << 10]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil {
		return ""
	}
	// An ELF note: the sizes of name and text, the type, the name, the text.
	mark := []byte("\x04\x00\x00\x00Go\x00\x00")
	at := bytes.Index(head[:n], mark)
	if at < 4 {
		return ""
	}
	text := head[at+len(mark):]
	size := binary.LittleEndian.Uint32(head[at-4:])
	if int64(size) > int64(len(text)) || size < 20 {
		return ""
	}
	return string(text[:size])
}
