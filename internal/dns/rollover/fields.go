package rollover

import (
	"fmt"
	"strings"
	"time"
)

// Field is a line that is kept with a key.
type Field struct{ Name, Value string }

// Fields are the states of the i-th key, and what is kept of the zone, which
// each of its keys has: to be written down before what they allow is published.
func (s *State) Fields(i int) []Field {
	k := &s.Keys[i]
	all := []Field{
		{"in-dnskey-set", k.Set.text()}, {"signs-keys", k.Keys.text()}, {"signs-zone", k.Data.text()},
		{"ds-wanted", k.Want.text()}, {"ds-seen", k.DS.text()}, {"retires", k.Retire.text()}, {"stands-by", word(k.Spare)},
		{"zone-goes-insecure", word(s.Insecure)},
		{"zone-ttl-keys", s.KeyTTL.text()}, {"zone-ttl-data", s.DataTTL.text()}, {"zone-ttl-ds", s.DSTTL.text()},
	}
	kept := all[:0]
	for _, f := range all {
		if f.Value != "" {
			kept = append(kept, f)
		}
	}
	return kept
}

// Own reports whether a field is one of Fields.
func Own(name string) bool {
	switch name {
	case "in-dnskey-set", "signs-keys", "signs-zone", "ds-wanted", "ds-seen", "retires", "stands-by",
		"zone-goes-insecure", "zone-ttl-keys", "zone-ttl-data", "zone-ttl-ds":
		return true
	}
	return false
}

// Add adds a key to a State, with the fields that were kept with it: none of
// one that was just made. What its fields say of the zone is joined to what the
// others said, the longer wait of each: a crash may have left some older.
func (s *State) Add(k Key, fields []Field) error {
	for _, f := range fields {
		if err := s.read(&k, f); err != nil {
			return fmt.Errorf("field %s %q: %w", f.Name, f.Value, err)
		}
	}
	s.Keys = append(s.Keys, k)
	return nil
}

func (s *State) read(k *Key, f Field) (err error) {
	mark := func(to *Mark) error {
		m, err := parseMark(f.Value)
		*to = to.join(m)
		return err
	}
	switch f.Name {
	case "in-dnskey-set":
		k.Set, err = parseTurn(f.Value)
	case "signs-keys":
		k.Keys, err = parseTurn(f.Value)
	case "signs-zone":
		k.Data, err = parseTurn(f.Value)
	case "ds-wanted":
		k.Want, err = parseTurn(f.Value)
	case "ds-seen":
		var t Turn
		t, err = parseTurn(f.Value)
		k.DS = Sight{t.On, t.Since}
	case "retires":
		k.Retire, err = parseRetire(f.Value)
	case "stands-by":
		k.Spare = f.Value == word(true)
	case "zone-goes-insecure":
		s.Insecure = s.Insecure || f.Value == word(true)
	case "zone-ttl-keys":
		err = mark(&s.KeyTTL)
	case "zone-ttl-data":
		err = mark(&s.DataTTL)
	case "zone-ttl-ds":
		err = mark(&s.DSTTL)
	}
	return err
}

func word(yes bool) string {
	if yes {
		return "yes"
	}
	return ""
}

func (r Retire) text() string { return [...]string{"", "planned", "compromised"}[min(r, Compromised)] }

func parseRetire(s string) (Retire, error) {
	switch s {
	case "planned":
		return Retires, nil
	case "compromised":
		return Compromised, nil
	}
	return Stays, fmt.Errorf("want planned or compromised")
}

// text is "" for the zero value, else "on" or "off", "since" and a time, "until"
// and a time, as far as they are known.
func (t Turn) text() string {
	if !t.On && t.Since.IsZero() {
		return ""
	}
	return strings.TrimSpace(onOff(t.On) + at(" since ", t.Since) + at(" until ", t.Until))
}

func (s Sight) text() string { return Turn{On: s.Seen, Since: s.Since}.text() }

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// at is a time to the second, later rather than earlier: waits end by it.
func at(what string, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return what + whole(t).Format(time.RFC3339)
}

// whole is a time in whole seconds, not before t.
func whole(t time.Time) time.Time {
	if w := t.UTC().Truncate(time.Second); !w.Before(t) {
		return w
	}
	return t.UTC().Truncate(time.Second).Add(time.Second)
}

func parseTurn(s string) (Turn, error) {
	words := strings.Fields(s)
	t := Turn{}
	switch {
	case len(words) > 0 && words[0] == "on":
		t.On = true
	case len(words) == 0 || words[0] != "off":
		return t, fmt.Errorf("want on or off")
	}
	for words = words[1:]; len(words) >= 2; words = words[2:] {
		when, err := time.Parse(time.RFC3339, words[1])
		switch {
		case err != nil:
			return t, err
		case words[0] == "since":
			t.Since = when
		case words[0] == "until":
			t.Until = when
		default:
			return t, fmt.Errorf("%q: want since or until", words[0])
		}
	}
	if len(words) > 0 {
		return t, fmt.Errorf("%q stands alone", words[0])
	}
	return t, nil
}

// text is "" for none, else the TTL, and what is served in its place.
func (m Mark) text() string {
	if m.TTL == 0 {
		return ""
	}
	if m.Less.Since.IsZero() {
		return m.TTL.String()
	}
	return m.TTL.String() + " served " + m.Served.String() + " " + m.Less.text()
}

func parseMark(s string) (m Mark, err error) {
	ttl, rest, lowered := strings.Cut(s, " served ")
	if m.TTL, err = parseTTL(ttl); err != nil || !lowered {
		return m, err
	}
	ttl, rest, _ = strings.Cut(rest, " ")
	if m.Served, err = parseTTL(ttl); err != nil {
		return m, err
	}
	m.Less, err = parseTurn(rest)
	return m, err
}

func parseTTL(s string) (time.Duration, error) {
	ttl, err := time.ParseDuration(s)
	if err != nil || ttl < 0 || ttl > maxTTL {
		return 0, fmt.Errorf("want a duration")
	}
	return ttl, nil
}

const maxTTL = (1<<31 - 1) * time.Second

// join is the larger of two marks; of equals the one that lasts longer.
func (m Mark) join(o Mark) Mark {
	switch {
	case m.TTL != o.TTL:
		if m.TTL < o.TTL {
			return o
		}
		return m
	case m.Less.Since.IsZero() || o.Less.Since.IsZero():
		return Mark{TTL: m.TTL}
	case m.Less.Until.IsZero() || !o.Less.Until.IsZero() && m.Less.Until.After(o.Less.Until):
		return m
	}
	return o
}
