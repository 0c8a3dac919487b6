// Package lookuptest is a lookup.Resolver for tests that answers from a map.
package lookuptest

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"postern/internal/lookup"
)

// Map holds the records of a small world. A key is "NAME TYPE", the name in
// lower case without its final dot; values are in zone-file form ("10 mx.example",
// "192.0.2.1", a TXT without quotes). The value "SERVFAIL" or "TIMEOUT" makes
// the question fail temporarily. A name with any key exists; other types there
// are NODATA.
type Map map[string][]string

// Recorder wraps a Map and remembers what was asked, in order.
type Recorder struct {
	Map
	mu    sync.Mutex // guards asked
	asked []string
}

// Query answers as Map does and notes the question.
func (r *Recorder) Query(ctx context.Context, name string, t lookup.Type) (lookup.Answer, error) {
	r.mu.Lock()
	r.asked = append(r.asked, key(name, t))
	r.mu.Unlock()
	return r.Map.Query(ctx, name, t)
}

// Asked returns the questions so far as "NAME TYPE".
func (r *Recorder) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.asked...)
}

func key(name string, t lookup.Type) string {
	return strings.ToLower(strings.TrimSuffix(name, ".")) + " " + t.String()
}

// Query follows CNAMEs inside the map and answers.
func (m Map) Query(_ context.Context, name string, t lookup.Type) (lookup.Answer, error) {
	at := strings.ToLower(strings.TrimSuffix(name, "."))
	for range 10 {
		if target, ok := m[key(at, lookup.CNAME)]; ok && t != lookup.CNAME {
			at = strings.ToLower(strings.TrimSuffix(target[0], "."))
			continue
		}
		break
	}
	values, ok := m[key(at, t)]
	if !ok {
		return lookup.Answer{Status: m.absent(at), Canonical: at + "."}, nil
	}
	answer := lookup.Answer{Status: lookup.Found, Canonical: at + "."}
	for _, v := range values {
		if v == "SERVFAIL" || v == "TIMEOUT" {
			return lookup.Answer{}, &lookup.Error{Name: name, Type: t, Temporary: true, Cause: errors.New(v)}
		}
		answer.Records = append(answer.Records, parse(t, v))
	}
	return answer, nil
}

func (m Map) absent(at string) lookup.Status {
	for k := range m {
		owner, _, _ := strings.Cut(k, " ")
		if owner == at || strings.HasSuffix(owner, "."+at) {
			return lookup.NoData
		}
	}
	return lookup.NXDomain
}

func parse(t lookup.Type, v string) lookup.Record {
	switch t {
	case lookup.A, lookup.AAAA:
		return lookup.Record{Addr: netip.MustParseAddr(v)}
	case lookup.MX:
		pref, host, _ := strings.Cut(v, " ")
		n, err := strconv.ParseUint(pref, 10, 16)
		if err != nil {
			panic("lookuptest: MX wants \"PREFERENCE HOST\": " + v)
		}
		return lookup.Record{Preference: uint16(n), Host: absolute(host)}
	case lookup.PTR, lookup.CNAME:
		return lookup.Record{Host: absolute(v)}
	case lookup.TLSA:
		return lookup.Record{Data: []byte(v)}
	default:
		return lookup.Record{Text: v}
	}
}

func absolute(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, ".")) + "."
}
