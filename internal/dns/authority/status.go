package authority

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// State is how a (zone, view) stands.
type State string

// The states.
const (
	OK       State = "ok"
	LastGood State = "last-good" // the file or the change is refused; what was accepted before is served
	Missing  State = "missing"   // the file is gone; what was accepted before is served
	Failed   State = "failed"    // there is no good state: SERVFAIL
	Planned  State = "planned"   // a change waits for Apply; what was accepted before is served, of a new zone nothing
	Waiting  State = "waiting"   // a secondary zone of which nothing came yet, or what lies over it: SERVFAIL
	Expired  State = "expired"   // a secondary zone that no primary vouches for any more, or what lies over it: SERVFAIL
	Pinned   State = "pinned"    // rolled back: nothing is published from the file until it changed and Apply
)

// Status is one (zone, view) that has content of its own. A zone that a view
// shows as the view below has it is listed once, there.
type Status struct {
	Zone, View   string
	File         string // "" where the view has no file for it
	Secondary    bool   // it comes from its primaries
	Made         bool   // it is a catalog that Postern makes
	Left         bool   // it came by transfers, and nothing feeds it any more
	FileSerial   uint32 // 0 where the file has no SOA; of a secondary zone its primary's
	ServedSerial uint32
	Records      int
	State        State
	Reason       string // stable reason word when not ok
	Problem      string // file:line:col text of the first problem, warnings too
	Problems     []zonefile.Problem
	Since        time.Time // of State
	LoadedAt     time.Time // when what is served was accepted
	Policy       string    // by which Postern signed it; "" if it did not
	Expires      time.Time // when its first signature does; zero where nothing is signed by us
	Renews       time.Time // when signatures are made anew; zero with Expires
	Keys         *Keys     // of a zone that Postern signs, or is to sign
	Dynamic      int       // RRsets that updates made others than the file has
	Derived      []dns.RR  // records that Postern makes, beside signatures, which are in no file
}

// Keys is how the keys of a zone stand. Views share it.
type Keys struct {
	Next    string    // what happens next, in words
	Wake    time.Time // when they are looked at again at the latest; zero: when something is seen
	Ask     time.Time // when the parent is
	Alarms  []rollover.Alarm
	Wanted  []uint16  // the keys whose DS belong at the parent, and no others
	StandBy []uint16  // the keys that take the place of others at once
	Stepped time.Time // when the last step was taken of a roll that is under way; zero: none is
	Going   bool      // the zone loses its signatures
	Failed  string    // why no step can be taken

	Looked   time.Time // at the parent; zero: never
	Security rollover.Security
	DS       []*dns.DS // what it had
}

// Report is what a Scan or Reload found, by zone and view.
type Report struct {
	Changes []Change
}

// Change is what happened to one (zone, view).
type Change struct {
	Zone, View     string
	OldSerial      uint32 // 0 for a new zone
	NewSerial      uint32
	Removed, Added int
	First          []string // the first few of them, "-" or "+" in front
	Reason         string   // reason word where it was refused
	Problems       []zonefile.Problem
}

// Failed returns the changes that were refused.
func (r Report) Failed() []Change {
	var failed []Change
	for _, c := range r.Changes {
		if c.Reason != "" {
			failed = append(failed, c)
		}
	}
	return failed
}

// What Export cannot do.
var (
	ErrNoZone    = errors.New("no such zone")
	ErrAmbiguous = errors.New("several views hold the zone")
)

// Export returns the zone as it is served in that view. The view may be left
// out where one alone holds the zone, or all show the very same.
func (a *Authority) Export(zoneName, viewName string) (*zone.Zone, error) {
	n, err := name.Parse(zoneName)
	if err != nil {
		return nil, fmt.Errorf("zone %q: %w", zoneName, err)
	}
	p := a.state.Load()
	var views []string
	var found *zone.Zone
	differ := false
	for k, r := range p.rows {
		if z := r.is.Load().zone; z != nil && k.zone == n && (viewName == "" || k.view == viewName) {
			differ = differ || found != nil && found != z
			views, found = append(views, k.view), z
		}
	}
	switch {
	case len(views) == 0 && viewName != "":
		return nil, fmt.Errorf("zone %s in view %q: %w", n, viewName, ErrNoZone)
	case len(views) == 0:
		return nil, fmt.Errorf("zone %s: %w", n, ErrNoZone)
	case differ:
		slices.Sort(views)
		return nil, fmt.Errorf("zone %s: %w: %s", n, ErrAmbiguous, strings.Join(views, ", "))
	}
	return found, nil
}

// key names a (zone, view).
type key struct {
	zone name.Name
	view string
}

func (k key) compare(l key) int {
	return cmp.Or(k.zone.Compare(l.zone), strings.Compare(k.view, l.view))
}
