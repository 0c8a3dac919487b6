package roster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/catalog"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// world is what a Roster works on: one view, with catalogs as texts.
type world struct {
	t       *testing.T
	c       Config
	r       *Roster
	log     bytes.Buffer
	follow  []string
	make    []string
	text    map[string]string // catalog -> "zone:label ..."; "!": broken
	own     string
	want    []Candidate
	partial bool
	content map[string]*zone.Zone // of ours
	fed     []string              // what Feed was told
	failing bool
	inWay   []name.Name
	dropped []Place
	now     time.Time
	most    int // percent
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, text: map[string]string{}, content: map[string]*zone.Zone{}, now: time.Unix(1000, 0)}
	w.c = Config{
		Path: filepath.Join(t.TempDir(), "roster.json"), Plan: w.plan, Content: w.contentOf, Most: 3,
		Held: func(n name.Name, _ string) (uint32, bool) {
			z := w.content[n.String()]
			if z == nil {
				return 0, false
			}
			return z.Serial(), true
		},
		Feed: w.feed, Publish: w.publish, Changed: func(dropped []Place) { w.dropped = append(w.dropped, dropped...) },
		Now: func() time.Time { return w.now }, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	w.open()
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	if w.r, err = New(w.c); err != nil {
		w.t.Fatal(err)
	}
}

func parse(t *testing.T, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *world) plan() Plan {
	p := Plan{
		Own:     func(at Place) bool { return w.own != "" && at.Zone == parse(w.t, w.own) },
		Members: func(Place) ([]Candidate, bool) { return w.want, !w.partial }, MostLost: w.most,
	}
	for _, s := range w.follow {
		p.Follow = append(p.Follow, Place{parse(w.t, s), "v"})
	}
	for _, s := range w.make {
		p.Make = append(p.Make, Place{parse(w.t, s), "v"})
	}
	return p
}

func (w *world) contentOf(n name.Name, _ string) *zone.Zone {
	if z := w.content[n.String()]; z != nil {
		return z
	}
	text, ok := w.text[strings.TrimSuffix(n.String(), ".")]
	if !ok {
		return nil
	}
	lines := "$ORIGIN " + n.String() + "\n@ 0 SOA a. b. 1 1 1 1 1\n@ 0 NS a.\n"
	if text != "!" {
		lines += "version 0 TXT 2\n"
		for _, word := range strings.Fields(text) {
			member, label, _ := strings.Cut(word, ":")
			lines += label + ".zones 0 PTR " + member + ".\n"
		}
	}
	b := zone.NewBuilder(n)
	p := dns.NewZoneParser(strings.NewReader(lines), "", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if err := b.Add(rr); err != nil {
			w.t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil || p.Err() != nil {
		w.t.Fatal(err, p.Err())
	}
	return z
}

func (w *world) feed(_ context.Context, view string, add, drop []name.Name) ([]name.Name, error) {
	if w.failing {
		return nil, errors.New("no room")
	}
	w.fed = append(w.fed, fmt.Sprintf("%s +%s -%s", view, names(add), names(drop)))
	for _, n := range drop {
		delete(w.content, n.String())
	}
	return w.inWay, nil
}

func names(all []name.Name) string {
	var texts []string
	for _, n := range all {
		texts = append(texts, strings.TrimSuffix(n.String(), "."))
	}
	return strings.Join(texts, ",")
}

func (w *world) publish(_ context.Context, at Place, records []dns.RR) error {
	if w.failing {
		return errors.New("no room")
	}
	b := zone.NewBuilder(at.Zone)
	for _, rr := range records {
		if err := b.Add(rr); err != nil {
			return err
		}
	}
	z, err := b.Build()
	w.content[at.Zone.String()] = z
	return err
}

// turn makes one, and says what was fed and dropped in it.
func (w *world) turn(good bool, want ...string) {
	w.t.Helper()
	w.fed = nil
	if err := w.r.turn(w.t.Context()); (err == nil) != good {
		w.t.Fatalf("turn: %v", err)
	}
	if !slices.Equal(w.fed, want) {
		w.t.Fatalf("fed %q, want %q", w.fed, want)
	}
}

func (w *world) members(want ...string) {
	w.t.Helper()
	var got []string
	for _, m := range w.r.Members("v") {
		got = append(got, fmt.Sprintf("%s:%s=%s", strings.TrimSuffix(m.Zone.String(), "."), m.ID, strings.TrimSuffix(m.Catalog.String(), ".")))
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("members %q, want %q", got, want)
	}
}

// TestFollow: what is broken, unknown or too much changes nothing; what fails is
// tried again; a restart knows what followed, and which labels it had.
func TestFollow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.follow = []string{"cat"}
	w.turn(true)
	w.members()
	w.text["cat"] = "one:a two:b"
	w.failing = true
	w.turn(false)
	w.members()
	w.failing = false
	w.turn(true, "v +one,two -")
	w.members("one:a=cat", "two:b=cat")
	if !w.r.Follows(Place{parse(t, "cat"), "v"}) || w.r.Follows(Place{parse(t, "one"), "v"}) {
		t.Error("it does not know what it follows")
	}
	for what, text := range map[string]string{"broken": "!", "too many": "one:a three:c four:d five:e"} {
		w.text["cat"] = text
		w.turn(true)
		w.members("one:a=cat", "two:b=cat")
		if st := w.r.Standing(); len(st) != 1 || st[0].Broken == "" || st[0].Known || st[0].Members != 2 {
			t.Errorf("%s: %+v", what, st)
		}
	}
	if n := w.r.Counters.Broken.Value(); n != 2 {
		t.Errorf("%d times broken", n)
	}
	delete(w.text, "cat")
	w.turn(true)
	w.members("one:a=cat", "two:b=cat")

	w.open()
	w.members("one:a=cat", "two:b=cat")
	w.text["cat"] = "one:z three:c"
	w.turn(true, "v +three,one -two,one")
	w.members("one:z=cat", "three:c=cat")
	if got := fmt.Sprint(len(w.dropped)); got != "2" {
		t.Errorf("%s are told of as dropped", got)
	}
	w.turn(true)
	w.follow = nil
	w.turn(true, "v + -one,three")
	w.members()
}

// TestRefused: what is somebody else's is told of once, and not taken.
func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.follow, w.own = []string{"cat", "dog"}, "mine"
	w.text["cat"], w.text["dog"] = "mine:a one:b", "one:b way:c"
	w.inWay = []name.Name{parse(t, "way")}
	w.turn(true, "v +one,way -")
	w.members("one:b=cat")
	var got []string
	for _, st := range w.r.Standing() {
		for _, r := range st.Refused {
			got = append(got, st.Zone.String()+" "+Text(r))
		}
	}
	want := []string{"cat. zone mine. is here already", "dog. zone one. belongs to the catalog cat.", "dog. zone way. is here already"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	w.own, w.inWay = "way", nil
	w.text["cat"] = "one:b"
	w.turn(true)
	w.turn(true)
	if n := strings.Count(w.log.String(), "zone of a catalog is refused"); n != 3 {
		t.Errorf("told %d times", n)
	}
}

// TestMake: zones come when they are served, go when they are gone, and nothing
// goes while not all is known.
func TestMake(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.make, w.partial = []string{"cat"}, true
	one, two := parse(t, "one"), parse(t, "two")
	lists := func(serial uint32, want ...name.Name) {
		t.Helper()
		z := w.content["cat."]
		all, err := catalog.Read(z)
		if err != nil || z.Serial() != serial {
			t.Fatalf("serial %d, want %d; %v", z.Serial(), serial, err)
		}
		var got []name.Name
		for _, m := range all {
			got = append(got, m.Zone)
		}
		slices.SortFunc(got, name.Name.Compare)
		if !slices.Equal(got, want) {
			t.Fatalf("lists %s, want %s", names(got), names(want))
		}
	}
	w.want = []Candidate{{one, true}, {two, false}}
	w.turn(false)
	if len(w.content) > 0 {
		t.Error("made of what is not all")
	}
	w.partial = false
	w.turn(true)
	lists(1000, one)
	w.turn(true)
	lists(1000, one)
	w.want[1].Served = true
	w.turn(true)
	lists(1001, one, two)
	w.now = time.Unix(2000, 0)
	w.want[0].Served = false
	w.turn(true)
	lists(1001, one, two)
	w.want = w.want[:1]
	w.partial = true
	w.turn(true)
	lists(1001, one, two)
	w.failing, w.partial = true, false
	w.turn(false)
	w.failing = false
	w.turn(true)
	lists(2000, one)
	w.open()
	w.turn(true)
	lists(2000, one)
	if made := w.r.Made(); len(made) != 1 {
		t.Errorf("made: %v", made)
	}
	w.make = nil
	w.failing = true
	w.turn(false)
	w.failing = false
	w.turn(true, "v + -cat")
	w.open()
	if made := w.r.Made(); len(made) != 0 {
		t.Errorf("made: %v", made)
	}
}

// TestFile: a bad one is set aside, and one that cannot be written is written
// later.
func TestFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, text := range []string{"{", `{"members":[{"zone":"a..b"}]}`, `{"members":[{"zone":"a","catalog":"a..b"}]}`, `{"made":[{"zone":"a..b"}]}`} {
		if err := os.WriteFile(w.c.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.open()
		if aside, err := os.ReadFile(w.c.Path + ".bad"); err != nil || string(aside) != text {
			t.Errorf("%s: %q %v", text, aside, err)
		}
		w.members()
	}
	w.follow, w.text["cat"] = []string{"cat"}, "one:a"
	full := true
	w.c.Writer = atomicfile.Writer{Fault: func(atomicfile.Step) error {
		if full {
			return errors.New("disk full")
		}
		return nil
	}}
	w.open()
	w.turn(false, "v +one -")
	full = false
	w.turn(true)
	w.open()
	w.members("one:a=cat")
}
