package authority

import (
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
	"postern/internal/dns/zone"
)

// seenIn returns the state that shows through as the zone in a view, nil where
// there is none; own reports that it is the view's own.
func (o *owner) seenIn(n name.Name, v string) (st *served, own bool) {
	own = true
	for p := o.plan.view(v); p != nil; p = o.plan.view(p.Overlay) {
		if st := o.served[key{n, p.Name}]; st != nil && !st.unborn() {
			return st, own
		}
		own = false
	}
	return nil, false
}

// above returns the zone of a view that the name of another lies in.
func (o *owner) above(n name.Name, v string) (st *served, own bool) {
	for up := n; up != name.Root; {
		up = up.Parent()
		if st, own := o.seenIn(up, v); st != nil {
			return st, own
		}
	}
	return nil, false
}

// delegating is the DS set that a zone above was seen to have, and since which serial.
type delegating struct {
	text   string
	serial uint32
}

// ownParent is what the zone above says where it is one of ours: then nobody
// needs to be asked. Its view for outsiders is what the world goes by; of a zone
// that outsiders do not see, all views that have it count. A look without a time
// tells nothing yet: they do not say the same, or a secondary that answers has
// not what they say.
func (o *owner) ownParent(n name.Name) (look Parent, ours bool) {
	views := []string{o.plan.external}
	if st, _ := o.seenIn(n, o.plan.external); st == nil {
		views = o.holders(n)
	}
	settled, text := true, ""
	r := o.rolls[n]
	inUse := r != nil && r.has(func(k rollover.Key) bool { return k.Set.On })
	for _, v := range views {
		st, _ := o.above(n, v)
		if st == nil || st.content == nil {
			continue
		}
		ds := delegated(st.out, n)
		var now []string
		for _, d := range ds {
			now = append(now, d.String())
		}
		slices.Sort(now)
		all := strings.Join(now, "\n")
		// What is signed for the first time waits for nobody: any DS is one too many.
		settled = settled && (!inUse || (!ours || all == text) && o.everywhere(r, v, st, all))
		ours, text, look.DS = true, all, append(look.DS, ds...)
	}
	if !ours || !settled {
		return Parent{}, ours
	}
	look.At, look.Security = o.a.cfg.Now(), rollover.Insecure
	if len(look.DS) > 0 {
		look.Security = rollover.Secure
	}
	return look, true
}

// holders are the views that have a zone of their own by that name; the one for
// outsiders where none does.
func (o *owner) holders(n name.Name) []string {
	var views []string
	for i := range o.plan.views {
		if v := o.plan.views[i].Name; o.served[key{n, v}] != nil {
			views = append(views, v)
		}
	}
	if views == nil {
		return []string{o.plan.external}
	}
	return views
}

// delegated returns the DS set of a name in a zone above it, if that is signed.
func delegated(z *zone.Zone, n name.Name) []*dns.DS {
	set := z.Node(n).Set(dns.TypeDS)
	if set == nil || z.Node(z.Origin()).Set(dns.TypeRRSIG) == nil {
		return nil
	}
	var all []*dns.DS
	for _, rr := range set.RRs {
		if d, ok := rr.(*dns.DS); ok {
			all = append(all, d)
		}
	}
	return all
}

// lagging is how long ago a secondary may have answered and still be waited for.
const lagging = time.Hour

// everywhere reports whether all secondaries of the zone above that answer have
// the DS set that it has here.
func (o *owner) everywhere(r *rolling, v string, st *served, text string) bool {
	if r.above == nil {
		r.above = map[string]delegating{}
	}
	was, known := r.above[v]
	if !known || was.text != text {
		was = delegating{text, st.out.Serial()}
		r.above[v] = was
	}
	now := o.a.cfg.Now()
	for _, s := range o.secondaries()[st.key] {
		if !s.Answered.IsZero() && now.Sub(s.Answered) < lagging && zone.SerialLess(s.Serial, was.serial) {
			return false
		}
	}
	return true
}
