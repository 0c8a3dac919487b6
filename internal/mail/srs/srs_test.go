package srs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"postern/internal/mail/address"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func rewriter(t *testing.T, secrets ...string) *Rewriter {
	t.Helper()
	var all [][]byte
	for _, s := range secrets {
		all = append(all, []byte(s+strings.Repeat(".", 16)))
	}
	r, err := New("Example.test", all)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(t *testing.T, s string) address.Address {
	t.Helper()
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(s, err)
	}
	return a
}

// Every sender comes back as it was, over the written form, whatever its local
// part holds (libsrs2#5).
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	r := rewriter(t, "one")
	for _, s := range []string{
		"bob@other.test", "Bob.Smith+tag@other.test", `"odd one"@other.test`, `"a@b"@other.test`, `"a\"b\\c"@other.test`, `"x=y"@other.test`,
		"a=b=c@other.test", "SRS0=ab=cd=third.test=bob@other.test", "SRS0+ab=cd=third.test=bob@other.test", "SRS0-x@other.test",
		"SRSbob@other.test", "SRS0@other.test", "b\u00fccher@b\u00fccher.test", "bob@[192.0.2.1]", strings.Repeat("v", 64) + "@news.other.test", `""@other.test`,
	} {
		from, err := address.Parse(s)
		if err != nil {
			continue
		}
		to, err := r.Forward(from, now)
		if err != nil || to.Domain != "example.test" {
			t.Errorf("%s: %v %v", s, to, err)
			continue
		}
		for name, heard := range map[string]string{"as written": to.String(), "in small letters": strings.ToLower(to.String())} {
			back, err := r.Back(parse(t, heard), now.AddDate(0, 0, Days))
			same := back == from || name != "as written" && strings.EqualFold(back.String(), from.String())
			if err != nil || !same || !r.Is(parse(t, heard)) {
				t.Errorf("%s went out as %s and came back, %s, as %s, %v", s, to, name, back, err)
			}
		}
	}
	if null, err := r.Forward(address.Address{}, now); err != nil || !null.IsZero() {
		t.Errorf("the null sender became %v, %v", null, err)
	}
}

// A second host does not lengthen the chain: SRS1 names the first, whose SRS0
// stays as it was.
func TestChain(t *testing.T) {
	t.Parallel()
	first, second, third := rewriter(t, "one"), rewriter(t, "two"), rewriter(t, "three")
	first.domain, second.domain, third.domain = "first.test", "second.test", "third.test"
	from := parse(t, "bob@other.test")
	var at [4]address.Address
	at[0] = from
	for i, r := range []*Rewriter{first, second, third} {
		var err error
		if at[i+1], err = r.Forward(at[i], now); err != nil {
			t.Fatal(err)
		}
	}
	if back, err := third.Back(at[3], now); err != nil || back != at[1] {
		t.Errorf("%s goes back to %s, %v, want %s", at[3], back, err, at[1])
	}
	if back, err := first.Back(at[1], now); err != nil || back != from {
		t.Errorf("and on to %s, %v", back, err)
	}
	if len(at[3].Local) > len(at[2].Local) {
		t.Errorf("%s grows to %s", at[2], at[3])
	}
}

func TestBackRefuses(t *testing.T) {
	t.Parallel()
	r := rewriter(t, "one")
	good, err := r.Forward(parse(t, "bob@other.test"), now)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		addr string
		now  time.Time
		want error
	}{
		"a sender changed":     {strings.Replace(good.String(), "=bob", "=boss", 1), now, ErrForged},
		"a domain changed":     {strings.Replace(good.String(), "other.test", "evil.test", 1), now, ErrForged},
		"the day changed":      {strings.Replace(good.String(), "="+day(now)+"=", "="+day(now.AddDate(0, 0, 1))+"=", 1), now, ErrForged},
		"another domain":       {strings.Replace(good.String(), "@example", "@sample", 1), now, ErrForged},
		"no mark":              {"SRS0=@example.test", now, ErrForged},
		"an empty mark":        {"SRS0==" + day(now) + "=other.test=bob@example.test", now, ErrForged},
		"SRS1 out of SRS0":     {strings.Replace(good.String(), "SRS0", "SRS1", 1), now, ErrForged},
		"none at all":          {"bob@example.test", now, ErrForged},
		"too old":              {good.String(), now.AddDate(0, 0, Days+1), ErrExpired},
		"of tomorrow":          {good.String(), now.AddDate(0, 0, -1), ErrExpired},
		"of somebody's secret": {mustForward(t, rewriter(t, "two")), now, ErrForged},
	} {
		if back, err := r.Back(parse(t, c.addr), c.now); !errors.Is(err, c.want) || back != (address.Address{}) {
			t.Errorf("%s: %v, %v, want %v", name, back, err, c.want)
		}
	}
}

func mustForward(t *testing.T, r *Rewriter) string {
	t.Helper()
	a, err := r.Forward(parse(t, "bob@other.test"), now)
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

func TestSecretsRotate(t *testing.T) {
	t.Parallel()
	old, both, next := rewriter(t, "one"), rewriter(t, "two", "one"), rewriter(t, "two")
	before, after := mustForward(t, old), mustForward(t, both)
	for name, c := range map[string]struct {
		r    *Rewriter
		addr string
		good bool
	}{"the old by both": {both, before, true}, "the new by both": {both, after, true}, "the new by the new": {next, after, true}, "the old by the new": {next, before, false}} {
		if _, err := c.r.Back(parse(t, c.addr), now); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		domain  string
		secrets [][]byte
	}{"no domain": {"", [][]byte{make([]byte, 16)}}, "no secret": {"a.test", nil}, "a short one": {"a.test", [][]byte{make([]byte, 15)}}} {
		if _, err := New(c.domain, c.secrets); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	long := address.Address{Local: strings.Repeat("x", 200), Domain: strings.Repeat("y", 40) + ".test"}
	if a, err := rewriter(t, "one").Forward(long, now); !errors.Is(err, ErrTooLong) {
		t.Errorf("%v %v", a, err)
	}
}

func FuzzBack(f *testing.F) {
	f.Add("SRS0=aaaaaaaa=aa=other.test=bob")
	f.Add("SRS1=aaaaaaaa=first.test==aaaa=aa=other.test=bob")
	f.Fuzz(func(t *testing.T, local string) {
		r, err := New("example.test", [][]byte{make([]byte, 16)})
		if err != nil {
			t.Fatal(err)
		}
		a := address.Address{Local: local, Domain: "example.test"}
		if back, err := r.Back(a, now); err == nil {
			if _, err := address.Parse(back.String()); err != nil {
				t.Errorf("%q leads to %q: %v", local, back, err)
			}
		}
	})
}
