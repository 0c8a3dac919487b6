package update

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func records(t testing.TB, text string) []zonefile.Record {
	t.Helper()
	var all []zonefile.Record
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(line, err)
		}
		clean, owner, err := zone.Normalise(rr)
		if err != nil {
			t.Fatal(line, err)
		}
		all = append(all, zonefile.Record{RR: clean, Owner: owner, File: "example.test.zone"})
	}
	return all
}

func built(t testing.TB, all []zonefile.Record) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder("\x07example\x04test\x00")
	for _, r := range all {
		if err := b.Add(r.RR); err != nil {
			t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// updated returns the overlay after these messages, one a line, on a file.
func updated(t testing.TB, file string, messages ...string) *Overlay {
	t.Helper()
	s, d := NewState(built(t, records(t, file))), (*Overlay)(nil).Draft()
	for _, m := range messages {
		changes, rcode := carry(t, s, message(t, nil, strings.Split(m, "\n")), anything(t))
		if rcode != NoError {
			t.Fatal(m, dns.RcodeToString[rcode])
		}
		s.Take(changes)
		d.Take(changes, mustName(t, "key."), noon)
	}
	return d.Overlay()
}

// What updates changed stays, whatever else is edited in the file; who edits
// the same RRset after them is obeyed.
func TestLay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why, update string
		from, to    string // an edit of the file
		want        string // of the zone, against the file as it is then
		gone        int
	}{
		{"nothing edited", "new.example.test. 60 IN A 192.0.2.9", "", "", "+ new A 60 192.0.2.9", 0},
		{"another record edited", "new.example.test. 60 IN A 192.0.2.9", "192.0.2.3", "192.0.2.4", "+ new A 60 192.0.2.9", 0},
		{"another type of the name edited", "www.example.test. 0 ANY A", `"hello"`, `"hullo"`, "- www A 300 192.0.2.80, - www A 300 192.0.2.81", 0},
		{"the serial alone edited", "example.test. 60 IN SOA ns9.example.test. admin.example.test. 11 1 1 1 1", " 10 1", " 12 1", "- @ SOA 300 ns1.example.test. admin.example.test. 12 1 1 1 1, + @ SOA 60 ns9.example.test. admin.example.test. 11 1 1 1 1", 0},
		{"the same set edited: the file wins", "www.example.test. 60 IN A 192.0.2.9", "192.0.2.80", "192.0.2.90", "", 1},
		{"a removed set edited: it is there again", "www.example.test. 0 ANY A", "192.0.2.80", "192.0.2.90", "", 1},
		{"a removed set removed in the file too", "www.example.test. 0 ANY TXT", `www.example.test. 300 IN TXT "hello"`, "", "", 1},
		{"its TTL edited: the file wins", "www.example.test. 60 IN TXT \"x\"", `300 IN TXT`, `900 IN TXT`, "", 1},
		{"the same record comes in the file: it is the file's", "new.example.test. 60 IN A 192.0.2.9", "wks.example", "new.example.test. 60 IN A 192.0.2.9\nwks.example", "", 1},
		{"the file makes an alias of the name", "new.example.test. 60 IN A 192.0.2.9", "wks.example", "new.example.test. 60 IN CNAME ns1.example.test.\nwks.example", "", 1},
		{"the file has data where an update made an alias", "new.example.test. 60 IN CNAME ns1.example.test.", "wks.example", "new.example.test. 60 IN TXT \"x\"\nwks.example", "", 1},
		{"an alias in place of data, which are edited", "www.example.test. 0 ANY ANY\nwww.example.test. 60 IN CNAME ns1.example.test.", "192.0.2.80", "192.0.2.90", "- www TXT 300 \"hello\"", 2},
		{"the file has a DNAME above now", "x.new.example.test. 60 IN A 192.0.2.9", "wks.example", "new.example.test. 60 IN DNAME ns1.example.test.\nwks.example", "", 1},
		{"the file delegates the name above now", "x.new.example.test. 60 IN A 192.0.2.9", "wks.example", "new.example.test. 60 IN NS x.new.example.test.\nwks.example", "+ x.new A 60 192.0.2.9", 0},
	} {
		o := updated(t, base, c.update)
		file := records(t, strings.Replace(base, c.from, c.to, 1))
		all, left, gone := o.Lay(file)
		d := zone.NewDelta(built(t, file), built(t, all))
		var changes []Change
		for _, list := range []struct {
			from []dns.RR
			old  bool
		}{{d.Removed, true}, {d.Added, false}} {
			for _, rr := range list.from {
				if ch := (Change{New: []dns.RR{rr}}); list.old {
					changes = append(changes, Change{Old: ch.New})
				} else {
					changes = append(changes, ch)
				}
			}
		}
		got := told(changes)
		if strings.Contains(c.why, "serial") {
			got = strings.TrimPrefix(told([]Change{{Old: []dns.RR{d.From}, New: []dns.RR{d.To}}})+", "+got, ", ")
			got = strings.TrimSuffix(got, ", ")
		}
		if got != c.want || len(gone) != c.gone {
			t.Errorf("%s: %d gave way\n got: %s\nwant: %s", c.why, len(gone), got, c.want)
		}
		again, same, none := left.Lay(file)
		if len(none) > 0 || same != left || !zone.SameContent(built(t, again), built(t, all)) {
			t.Errorf("%s: laid again it is another", c.why)
		}
	}
}

// A set that is again as the file has it is not kept; one that is updated twice
// is kept over what the file had at first.
func TestDraft(t *testing.T) {
	t.Parallel()
	if o := updated(t, base, "new.example.test. 60 IN A 192.0.2.9", "new.example.test. 0 ANY A"); o != nil {
		t.Error(o.Kept())
	}
	if o := updated(t, base, "www.example.test. 0 ANY TXT", `www.example.test. 300 IN TXT "hello"`); o != nil {
		t.Error(o.Kept())
	}
	o := updated(t, base, "www.example.test. 300 IN A 192.0.2.9", "www.example.test. 0 NONE A 192.0.2.80")
	if kept := o.Kept(); len(kept) != 1 || len(kept[0].Below) != 2 || len(kept[0].Now) != 2 || o.Records() != 4 || kept[0].Key != mustName(t, "key.") || !kept[0].At.Equal(noon) {
		t.Errorf("%+v", kept)
	}
	d := o.Draft()
	if d.Records() != 4 {
		t.Error(d.Records())
	}
	left, gone := o.Without(func(k Kept) bool { return k.Owner == mustName(t, "www.example.test.") })
	if left != nil || len(gone) != 1 {
		t.Error(left, gone)
	}
}

// A file may have a record twice, or TTLs that differ: the zone has neither,
// and an update that came to the zone stays.
func TestUntidyFile(t *testing.T) {
	t.Parallel()
	file := strings.Replace(base, "www.example.test. 300 IN A 192.0.2.81", "www.example.test. 200 IN A 192.0.2.81\nwww.example.test. 900 IN A 192.0.2.80", 1)
	o := updated(t, file, "www.example.test. 60 IN A 192.0.2.9")
	all, _, gone := o.Lay(records(t, file))
	if len(gone) > 0 || len(built(t, all).Node(mustName(t, "www.example.test.")).Set(dns.TypeA).RRs) != 3 {
		t.Error(gone, all)
	}
}

// Updates see a zone without what Postern makes itself.
func TestBelow(t *testing.T) {
	t.Parallel()
	made := records(t, "_acme-challenge.example.test. 300 IN TXT \"a\"\nwww.example.test. 300 IN TXT \"made\"")
	all := append(records(t, base), made...)
	z, err := Below(built(t, all), []dns.RR{made[0].RR, made[1].RR})
	if err != nil || !zone.SameContent(z, built(t, records(t, base))) {
		t.Error(err, z)
	}
}
