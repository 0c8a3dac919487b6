package keyring

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/dns/dnssec"
)

func TestEnsure(t *testing.T) {
	t.Parallel()
	const p256, ed = dnssec.ECDSAP256SHA256, dnssec.ED25519
	type has struct {
		role Role
		alg  uint8
	}
	for what, c := range map[string]struct {
		has   []has
		roles []Role
		want  string // the roles after it; or, after "!", a part of the error
	}{
		"no role":                       {nil, nil, "!want csk, or ksk and zsk"},
		"a ZSK alone wanted":            {nil, []Role{ZSK}, "!want csk"},
		"both models wanted":            {nil, []Role{CSK, ZSK}, "!want csk"},
		"another algorithm":             {[]has{{CSK, ed}}, []Role{CSK}, "!csk of ed25519, the policy says [csk] of ecdsap256sha256"},
		"two algorithms":                {[]has{{CSK, ed}, {CSK, p256}}, []Role{CSK}, "!csk of ed25519"},
		"the other model":               {[]has{{CSK, p256}}, []Role{KSK, ZSK}, "!has a csk"},
		"the other model, turned round": {[]has{{KSK, p256}, {ZSK, p256}}, []Role{CSK}, "!has a ksk"},
		"the KSK is lost":               {[]has{{ZSK, p256}}, []Role{KSK, ZSK}, "!no ksk"},
		"nothing, CSK":                  {nil, []Role{CSK}, "csk"},
		"nothing, KSK and ZSK":          {nil, []Role{ZSK, KSK}, "ksk zsk"},
		"cut short":                     {[]has{{KSK, p256}}, []Role{KSK, ZSK}, "ksk zsk"},
		"all there":                     {[]has{{KSK, p256}, {ZSK, p256}}, []Role{KSK, ZSK}, "ksk zsk"},
		"more than needed":              {[]has{{CSK, p256}, {CSK, p256}}, []Role{CSK}, "csk csk"},
	} {
		r := opened(t, filepath.Join(t.TempDir(), "k"))
		z := parsed(t, "example.test")
		for _, k := range c.has {
			made(t, r, z, k.role, k.alg)
		}
		before := r.Counters.Created.Value()
		keys, err := r.Ensure(z, p256, noon(), c.roles...)
		if wrong, refused := strings.CutPrefix(c.want, "!"); refused {
			if err == nil || !strings.Contains(err.Error(), wrong) || r.Counters.Created.Value() != before || len(c.has) > 0 && !errors.Is(err, ErrPolicy) {
				t.Errorf("%s: got %v, %v", what, keys, err)
			}
			continue
		}
		var got []string
		for _, i := range r.List() {
			got = append(got, fmt.Sprint(i.Role))
		}
		if err != nil || strings.Join(got, " ") != c.want || len(keys) != len(got) {
			t.Errorf("%s: got %v, %v", what, got, err)
		}
		// Once more makes nothing.
		made := r.Counters.Created.Value()
		if again, err := r.Ensure(z, p256, noon(), c.roles...); err != nil || len(again) != len(keys) || r.Counters.Created.Value() != made {
			t.Errorf("%s again: %v, %v", what, again, err)
		}
	}
}

func TestEnsureLeavesBrokenKeysAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "k")
	opened(t, dir)
	put(t, dir, "example.test+013+00001.key", "half a k")
	if keys, err := opened(t, dir).Ensure(parsed(t, "example.test"), dnssec.ED25519, noon(), CSK); !errors.Is(err, ErrBroken) {
		t.Errorf("got %v, %v", keys, err)
	}
}
