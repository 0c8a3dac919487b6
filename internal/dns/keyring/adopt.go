package keyring

import (
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

// Import takes over the keys of another server: pairs of BIND (K*.private and
// K*.key, with K*.state where there is one), and of Knot the files keys/*.pem
// with the output of "keymgr -e ZONE list", or with the DNSKEY records. Files
// are known by their content and matched by the public key.
//
// Everything is judged before anything is written; then the keys are written
// one by one, those that the parent points at last. What was written is taken
// back after an error, and what a crash leaves of it is completed by importing
// again: a key that is here already is none to import.
func (r *Ring) Import(zone name.Name, now time.Time, sources ...Source) ([]dnssec.Key, error) {
	keys, err := r.adopt(zone, now, sources)
	if err != nil {
		return nil, fmt.Errorf("import dnssec keys of %s: %w", zone, err)
	}
	r.Counters.Imported.Add(uint64(len(keys)))
	return keys, nil
}

// foreign is a private key as another server kept it.
type foreign struct {
	file    string
	alg     uint8 // 0: not said there
	private crypto.Signer
	times   []Field
	created time.Time
}

// told is what another server says about a key.
type told struct {
	file    string
	alg     uint8
	tag     uint16
	flags   uint16
	record  *dns.DNSKEY // nil: the tag alone
	role    Role        // unknown: not said
	times   []Field
	created time.Time
	used    bool
}

// trove is what the files hold.
type trove struct {
	zone     name.Name
	privates []foreign
	tolds    []told
	states   map[string]state // by the path without its ending
}

func (r *Ring) adopt(zone name.Name, now time.Time, sources []Source) ([]dnssec.Key, error) {
	if len(sources) > maxSources {
		return nil, fmt.Errorf("%d files: at most %d", len(sources), maxSources)
	}
	t := &trove{zone: zone, states: make(map[string]state)}
	for _, s := range sources {
		if err := t.read(s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	found, err := t.match(now)
	if err != nil {
		return nil, err
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	if found, err = r.unknownOf(zone, found); err != nil {
		return nil, err
	}
	return r.writeAll(found)
}

// read sorts a file in by its content.
func (t *trove) read(s Source) error {
	text := strings.TrimPrefix(string(s.Text.Reveal()), "\ufeff")
	switch {
	case strings.HasPrefix(text, magic):
		return errors.New("a key of Postern's (hint: keys move with the state directory)")
	case strings.HasPrefix(text, bindPrivate):
		f, err := parseBindPrivate(text)
		f.file = s.Name
		t.privates = append(t.privates, f)
		return err
	case strings.Contains(text, pemBegin):
		private, err := parsePKCS8([]byte(text))
		t.privates = append(t.privates, foreign{file: s.Name, private: private})
		return err
	case strings.HasSuffix(s.Name, ".state"):
		st, err := parseState(text)
		t.states[strings.TrimSuffix(s.Name, ".state")] = st
		return err
	case strings.Contains(text, " ksk="):
		return t.readList(s.Name, text)
	}
	return t.readRecords(s.Name, text)
}

// readRecords reads DNSKEY records, as in a K*.key.
func (t *trove) readRecords(file, text string) error {
	parser := dns.NewZoneParser(strings.NewReader(text), "", "")
	parser.SetDefaultTTL(0)
	before := len(t.tolds)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		record, is := rr.(*dns.DNSKEY)
		if !is {
			return fmt.Errorf("a %s record: want DNSKEY", dns.TypeToString[rr.Header().Rrtype])
		}
		if owner, err := name.Parse(record.Hdr.Name); err != nil || owner != t.zone {
			return fmt.Errorf("a key of %s, not of %s", record.Hdr.Name, t.zone)
		}
		tag, err := dnssec.Tag(record)
		if err != nil {
			return err
		}
		t.tolds = append(t.tolds, told{file: file, alg: record.Algorithm, tag: tag, flags: record.Flags, record: record})
	}
	if err := parser.Err(); err != nil {
		// The library's own text would show what it stumbled over, which may be
		// a private key in a form that nobody knows here.
		return errors.New("neither a private key of BIND (K*.private) or in PEM, nor DNSKEY records, nor the output of keymgr -e ZONE list")
	}
	if len(t.tolds) == before {
		return errors.New("no key in it")
	}
	return nil
}

// match joins private keys and what is told about them.
func (t *trove) match(now time.Time) ([]adopted, error) {
	if len(t.privates) == 0 {
		return nil, errors.New("no private key in the files")
	}
	if err := t.checkPublic(now); err != nil {
		return nil, err
	}
	var found []adopted
	var problems []error
	for _, f := range t.privates {
		a, err := t.matchOne(f, now)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", f.file, err))
			continue
		}
		found = append(found, a)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	// A key that is published there and missing here would vanish from the zone.
	for i := range t.tolds {
		if p := &t.tolds[i]; !p.used && !p.gone(now) {
			return nil, fmt.Errorf("%s: the key with tag %d has no private part in the files", p.file, p.tag)
		}
	}
	return settleRoles(found)
}

// adopted is a key ready to be written.
type adopted struct {
	entry
	private crypto.Signer
	settled bool // its role was told, not guessed
}

func (t *trove) matchOne(f foreign, now time.Time) (adopted, error) {
	p := t.about(f)
	if p == nil {
		return adopted{}, errors.New("no public part of it in the files (hint: K*.key of BIND; of Knot the output of keymgr -e ZONE list, or the DNSKEY record)")
	}
	role, settled := p.role, p.role != unknownRole
	if st, ok := t.states[strings.TrimSuffix(f.file, ".private")]; ok && role == unknownRole {
		if st.hidden {
			return adopted{}, fmt.Errorf("key %d is on its way out: %s", p.tag, underWay)
		}
		role, settled = st.role, st.role != unknownRole
	}
	if p.flags&dnssec.FlagSEP == 0 {
		role, settled = ZSK, true
	} else if role == unknownRole || role == ZSK {
		role, settled = KSK, false
	}
	created := cmp.Or(f.created, p.created, now)
	e, err := newEntry(t.zone, role, p.alg, created, f.private)
	if err != nil {
		return adopted{}, err
	}
	e.Fields = append(f.times, p.times...)
	if err := inForce(e, now); err != nil {
		return adopted{}, err
	}
	return adopted{entry: e, private: f.private, settled: settled}, checkFields(e.Fields)
}

// about finds what is told about a private key. A record tells more than a
// line of keymgr, which only adds to it.
func (t *trove) about(f foreign) *told {
	var best *told
	for i := range t.tolds {
		p := &t.tolds[i]
		if f.alg != 0 && f.alg != p.alg || !p.fits(t.zone, f.private) {
			continue
		}
		p.used = true
		switch {
		case best == nil:
			best = p
		case best.role == unknownRole && p.role != unknownRole:
			best = p
		}
	}
	return best
}

// fits reports whether p is the public part of a private key.
func (p *told) fits(zone name.Name, private crypto.Signer) bool {
	key, err := dnssec.NewKey(zone, p.flags, p.alg, private)
	if err != nil {
		return false
	}
	if p.record != nil {
		return samePublic(key.DNSKEY, p.record)
	}
	return key.Tag == p.tag
}

// checkPublic refuses keys that Postern could not use as they are.
func (t *trove) checkPublic(now time.Time) error {
	var problems []error
	for i := range t.tolds {
		if p := &t.tolds[i]; !p.gone(now) {
			if err := p.check(); err != nil {
				problems = append(problems, fmt.Errorf("%s: key %d: %w", p.file, p.tag, err))
			}
		}
	}
	return errors.Join(problems...)
}

func (p *told) check() error {
	if _, err := algorithmOf(p.alg); err != nil {
		return err
	}
	switch {
	case p.flags&dnssec.FlagRevoke != 0:
		return errors.New("it is revoked")
	case p.flags&^dnssec.FlagSEP != dnssec.FlagZone:
		return fmt.Errorf("flags %d: want 256 or 257", p.flags)
	case p.record != nil && p.record.Protocol != 3: // RFC 4034, Section 2.1.2
		return fmt.Errorf("protocol %d: want 3", p.record.Protocol)
	}
	return nil
}

// settleRoles makes a CSK of a key that nobody told about where no ZSK of its
// algorithm is beside it: then it signs everything.
func settleRoles(found []adopted) ([]adopted, error) {
	var out []adopted
	for _, a := range found {
		alone := !slices.ContainsFunc(found, func(b adopted) bool { return b.Role == ZSK && b.Alg == a.Alg })
		if !a.settled && alone {
			a.Role = CSK
		}
		for _, b := range out {
			if samePublic(a.key.DNSKEY, b.key.DNSKEY) {
				return nil, fmt.Errorf("key %d is there twice", a.Tag)
			}
			if a.Tag == b.Tag {
				return nil, fmt.Errorf("two keys have tag %d (hint: roll one of them first)", a.Tag)
			}
		}
		out = append(out, a)
	}
	// Those that the parent points at come last.
	slices.SortStableFunc(out, func(a, b adopted) int { return cmp.Compare(b.Role, a.Role) })
	return out, nil
}

// unknownOf leaves out the keys that are here already.
func (r *Ring) unknownOf(zone name.Name, found []adopted) ([]adopted, error) {
	h := r.state.Load()
	var out []adopted
	for _, a := range found {
		have, taken := h.find(zone, a.Tag)
		switch {
		case !taken:
			out = append(out, a)
		case !samePublic(have.key.DNSKEY, a.key.DNSKEY):
			return nil, fmt.Errorf("key %d: %w (hint: roll one of them first)", a.Tag, ErrTag)
		case have.key.Flags != a.key.Flags:
			return nil, fmt.Errorf("key %d is here already with another role, %s", a.Tag, have.Role)
		}
	}
	return out, r.roomFor(zone, len(out))
}

// writeAll writes the keys, all or none.
func (r *Ring) writeAll(found []adopted) ([]dnssec.Key, error) {
	var keys []dnssec.Key
	for i, a := range found {
		if err := r.addLocked(a.entry, a.private); err != nil {
			for _, written := range found[:i] {
				if left := r.erase(written.entry); left != nil {
					err = errors.Join(err, left) // and it stays a key, as after a restart
					continue
				}
				r.changeLocked(a.Zone, func(keys []entry) []entry { return without(keys, written.Tag) })
			}
			return nil, err
		}
		keys = append(keys, a.key)
	}
	return keys, nil
}
