package selector

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/lookup/lookuptest"
)

// publisher is a zone that can refuse.
type publisher struct {
	mu      sync.Mutex // guards the rest
	refuse  error
	records map[string][]string
	calls   int
}

func (p *publisher) Publish(_ context.Context, owner, _ string, txts []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.refuse != nil {
		return p.refuse
	}
	if p.records == nil {
		p.records = map[string][]string{}
	}
	p.records[owner] = txts
	return nil
}

func (p *publisher) Withdraw(_ context.Context, owner, _ string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		return p.refuse
	}
	delete(p.records, owner)
	return nil
}

func (p *publisher) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = err
}

func (p *publisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.records)
}

func at(year int) func() time.Time {
	return func() time.Time { return time.Date(year, 8, 1, 12, 0, 0, 0, time.UTC) }
}

func start(t *testing.T, cfg Config) *Ring {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func stop(t *testing.T, r *Ring) {
	t.Helper()
	if err := r.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func selectors(r *Ring) string {
	var out []string
	for _, s := range r.List() {
		word := s.Selector
		if !s.Published {
			word += "!"
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"no directory": {Domains: []string{"city.example"}},
		"algorithm":    {Dir: "x", Algorithms: []string{"rsa1024"}},
		"domain":       {Dir: "x", Domains: []string{"city example"}},
		"literal":      {Dir: "x", Domains: []string{"[192.0.2.1]"}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFirstStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys", "dkim")
	pub := &publisher{}
	r := start(t, Config{Dir: dir, Domains: []string{"City.Example"}, Publisher: pub, Now: at(2026)})
	defer stop(t, r)
	keys := r.Keys(t.Context(), "city.example") // waits until they are made
	if len(keys) != 2 || keys[0].Selector != "p2026a-rsa" || keys[1].Selector != "p2026a-ed" || keys[0].Domain != "city.example" {
		t.Fatalf("got %+v", keys)
	}
	txt := pub.records["p2026a-rsa._domainkey.city.example."]
	if len(txt) != 1 || !strings.HasPrefix(txt[0], "v=DKIM1; k=rsa; p=MII") {
		t.Errorf("published %v", pub.records)
	}
	if len(r.Keys(t.Context(), "other.example")) != 0 {
		t.Error("keys for a domain that is not ours")
	}
	for _, s := range r.List() {
		info, err := os.Stat(filepath.Join(dir, strings.TrimSuffix(s.Owner(), ".")+".key"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", s.Selector, info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v %v", info.Mode(), err)
	}
}

func TestRestartKeepsTheKeys(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir(), Domains: []string{"city.example"}, Algorithms: []string{Ed25519}, Publisher: &publisher{}, Now: at(2026)}
	r := start(t, cfg)
	before := r.Keys(t.Context(), "city.example")
	stop(t, r)
	pub := &publisher{}
	cfg.Publisher, cfg.Now = pub, at(2027)
	r = start(t, cfg)
	defer stop(t, r)
	after := r.Keys(t.Context(), "city.example")
	if len(before) != 1 || len(after) != 1 || before[0].Selector != after[0].Selector || pub.count() != 1 {
		t.Errorf("before %v, after %v, published %d", before, after, pub.count())
	}
}

// TestUnpublishedDoesNotSign has the zone refuse for a while.
func TestUnpublishedDoesNotSign(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		pub := &publisher{refuse: errors.New("no such zone")}
		r := start(t, Config{Dir: dir, Domains: []string{"city.example"}, Algorithms: []string{Ed25519}, Publisher: pub, Now: at(2026)})
		defer stop(t, r)
		if got := r.Keys(t.Context(), "city.example"); len(got) != 0 {
			t.Errorf("signs with %v", got)
		}
		if got := r.List(); len(got) != 1 || got[0].Problem != "no such zone" || got[0].Published || got[0].Signs {
			t.Errorf("list %+v", got)
		}
		pub.set(nil)
		time.Sleep(time.Minute + time.Second) // virtual
		synctest.Wait()
		if got := r.Keys(t.Context(), "city.example"); len(got) != 1 {
			t.Errorf("after the retry: %v", got)
		}
		if got := r.List(); !got[0].Published || !got[0].Signs {
			t.Errorf("after the retry: %+v", got)
		}
		if r.Counters.Created.Value() != 1 || r.Counters.Refused.Value() == 0 {
			t.Errorf("made %d, refused %d", r.Counters.Created.Value(), r.Counters.Refused.Value())
		}
	})
}

// TestPublishedByOthers has the record in a zone that is not ours.
func TestPublishedByOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, Config{Dir: dir, Domains: []string{"city.example"}, Algorithms: []string{Ed25519}, Now: at(2026)})
	r.Keys(t.Context(), "city.example")
	s := r.List()[0]
	stop(t, r)
	for name, c := range map[string]struct {
		txt  string
		want int
	}{
		"the same, split by hand": {strings.Replace(s.Record, "p=", "p= ", 1), 1},
		"another key":             {"v=DKIM1; k=ed25519; p=AAAA", 0},
	} {
		world := lookuptest.Map{strings.TrimSuffix(s.Owner(), ".") + " TXT": {c.txt}}
		r := start(t, Config{Dir: dir, Domains: []string{"city.example"}, Algorithms: []string{Ed25519}, Resolver: world, Now: at(2026)})
		if got := r.Keys(t.Context(), "city.example"); len(got) != c.want {
			t.Errorf("%s: %d keys, want %d", name, len(got), c.want)
		}
		stop(t, r)
	}
}

// TestUnfitFiles: a file that cannot be used stays, and a new selector is made
// beside it.
func TestUnfitFiles(t *testing.T) {
	t.Parallel()
	good := func(t *testing.T, dir string) string {
		t.Helper()
		r := start(t, Config{Dir: dir, Domains: []string{"city.example"}, Algorithms: []string{Ed25519}, Publisher: &publisher{}, Now: at(2026)})
		r.Keys(t.Context(), "city.example")
		stop(t, r)
		return filepath.Join(dir, "p2026a-ed._domainkey.city.example.key")
	}
	edit := func(old, with string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			text, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, []byte(strings.Replace(string(text), old, with, 1)), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, spoil := range map[string]func(*testing.T, string){
		"others can read it": func(t *testing.T, path string) {
			t.Helper()
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"another version": edit("KEY 1", "KEY 2"),
		"other domain":    edit("domain: city", "domain: town"),
		"path as domain":  edit("domain: city.example", "domain: ../x"),
		"wrong algorithm": edit("ed25519", "rsa2048"),
		"torn":            edit("PRIVATE KEY-----\n", ""),
		"no date":         edit("created: 2026", "created: x"),
		"empty selector":  edit("selector: p2026a-ed", "selector: "),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			spoil(t, good(t, dir))
			r := start(t, Config{Dir: dir, Domains: []string{"city.example"}, Algorithms: []string{Ed25519}, Publisher: &publisher{}, Now: at(2026)})
			defer stop(t, r)
			keys := r.Keys(t.Context(), "city.example")
			if len(keys) != 1 || selectors(r) != "p2026b-ed" || r.Counters.Broken.Value() != 1 {
				t.Errorf("keys %+v, selectors %s, broken %d", keys, selectors(r), r.Counters.Broken.Value())
			}
		})
	}
}

func TestDirectoryCannotBeMade(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Dir: filepath.Join(file, "dkim"), Domains: []string{"city.example"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err == nil {
		t.Error("no error")
	}
	stop(t, r)
}

// stuck is a zone's owner who is writing down what was published.
type stuck struct{ began, end chan struct{} }

func (stuck) Withdraw(context.Context, string, string) error { return nil }

func (s stuck) Publish(context.Context, string, string, []string) error {
	s.began <- struct{}{}
	<-s.end
	return nil
}

// A stop does not fail because a record is being written down.
func TestStopGivesUpWhatIsBeingPublished(t *testing.T) {
	t.Parallel()
	p := stuck{make(chan struct{}), make(chan struct{})}
	r, err := New(Config{Dir: t.TempDir(), Domains: []string{"a.example"}, Algorithms: []string{Ed25519}, Publisher: p})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-p.began
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Stop(over); err != nil {
		t.Error(err)
	}
	close(p.end)
	if err := r.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestListSaysWhichSign: none of a domain that is not ours any more.
func TestListSaysWhichSign(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir(), Domains: []string{"city.example", "old.example"}, Algorithms: []string{Ed25519}, Publisher: &publisher{}, Now: at(2026)}
	r := start(t, cfg)
	r.Keys(t.Context(), "city.example")
	r.Keys(t.Context(), "old.example")
	stop(t, r)
	cfg.Domains = cfg.Domains[:1]
	r = start(t, cfg)
	defer stop(t, r)
	if got, want := stands(r), "city.example p2026a-ed signs, old.example p2026a-ed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// stands is a Ring's keys in a line.
func stands(r *Ring) string {
	var all []string
	for _, s := range r.List() {
		word := s.Domain + " " + s.Selector
		if s.Signs {
			word += " signs"
		}
		if !s.Next.IsZero() {
			word += " until"
		}
		all = append(all, word)
	}
	return strings.Join(all, ", ")
}
