package keyring

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// knotTimes are the times in the output of "keymgr -e ZONE list".
func knotTimes() []string {
	return []string{"pre-active", "publish", "ready", "active", "retire-active", "retire", "post-active", "revoke", "remove"}
}

// readList reads that output: a key a line, its identity and words name=value.
// Times are seconds since 1970, 0 for none.
func (t *trove) readList(file, text string) error {
	before := len(t.tolds)
	number := 0
	for line := range strings.Lines(text) {
		number++
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		words := make(map[string]string)
		for _, word := range strings.Fields(line)[1:] {
			key, value, _ := strings.Cut(word, "=")
			words[key] = value
		}
		p, err := listed(words)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		p.file = file
		t.tolds = append(t.tolds, p)
	}
	if len(t.tolds) == before {
		return errors.New("no key in it")
	}
	return nil
}

func listed(words map[string]string) (told, error) {
	alg, err := strconv.ParseUint(words["algorithm"], 10, 8)
	if err != nil {
		return told{}, errors.New("no algorithm")
	}
	tag, err := strconv.ParseUint(words["tag"], 10, 16)
	if err != nil {
		return told{}, errors.New("no tag")
	}
	p := told{alg: uint8(alg), tag: uint16(tag), times: []Field{{FieldOrigin, "knot"}}}
	switch words["ksk"] + " " + words["zsk"] {
	case "yes yes":
		p.role = CSK
	case "yes no":
		p.role = KSK
	case "no yes":
		p.role = ZSK
	default:
		return told{}, errors.New("neither KSK nor ZSK")
	}
	p.flags = p.role.flags()
	if words["public-only"] == "yes" {
		return told{}, errors.New("the server itself has only the public part (hint: take the private one from where it was made)")
	}
	for _, when := range knotTimes() {
		if words[when] == "" || words[when] == "0" {
			continue
		}
		seconds, err := strconv.ParseInt(words[when], 10, 64)
		if err != nil || seconds < 0 || seconds > 1<<40 {
			return told{}, fmt.Errorf("%s: %.20q is no time in seconds (hint: list with keymgr -e, without -j)", when, words[when])
		}
		p.times = append(p.times, Field{when, time.Unix(seconds, 0).UTC().Format(time.RFC3339)})
	}
	return p, nil
}

// gone reports whether the server had done with a key.
func (p *told) gone(now time.Time) bool {
	for _, f := range p.times {
		if f.Name == "remove" {
			at, err := time.Parse(time.RFC3339, f.Value)
			return err == nil && !at.After(now)
		}
	}
	return false
}
