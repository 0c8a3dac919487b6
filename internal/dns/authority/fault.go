package authority

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

// Fault is what stands in a view's way beside its zones: a directory that
// cannot be read, a file that is passed over, a hidden name that lies in no
// zone. No zone's Status can tell of it.
type Fault struct {
	View    string
	Problem zonefile.Problem
}

// String is "FILE:LINE:COL: SEVERITY CODE view NAME: message (hint)" or, of
// what the configuration says, "view NAME: SEVERITY CODE message (hint)".
func (f Fault) String() string {
	p := f.Problem
	if p.File == "" {
		return fmt.Sprintf("view %s: %s %s %s (%s)", f.View, p.Severity, p.Code, p.Message, p.Hint)
	}
	p.Message = "view " + f.View + ": " + p.Message
	return p.String()
}

// Reason words of faults, besides ReasonDirectory.
const (
	reasonPassed = "file-passed-over"
	reasonHide   = "hide-nothing"
)

// Faults returns what is wrong beside the zones, by view.
func (a *Authority) Faults() []Fault { return slices.Clone(a.state.Load().faults) }

const passedHint = "a zone has one file in a directory, NAME.zone or as the configuration says"

func passedOver(v *viewPlan, file, why string) Fault {
	return Fault{v.Name, zonefile.Problem{
		File: filepath.Join(v.Dir, file), Severity: zonefile.ERR, Code: reasonPassed, Message: "the file is passed over: " + why,
		Hint: passedHint,
	}}
}

// note takes what one look at a view found, in place of what it found before,
// and logs what is new.
func (o *owner) note(look string, v *viewPlan, found []Fault) {
	at := look + " " + v.Name
	for _, f := range found {
		if !slices.Contains(o.faults[at], f) {
			tell := o.log.Error
			if f.Problem.Severity == zonefile.WARN {
				tell = o.log.Warn
			}
			tell("view has a fault", "view", v.Name, "problem", f.String())
		}
	}
	o.faults[at] = found
}

// warnHides notes hidden names that lie in no zone, also none that only waits
// to be applied.
func (o *owner) warnHides(v *viewPlan, base map[name.Name]bool) {
	zones := slices.Collect(maps.Keys(base))
	for k := range o.sources {
		if k.view != v.Name {
			zones = append(zones, k.zone)
		}
	}
	var found []Fault
	for _, n := range slices.Concat(v.hide, v.hideTree) {
		if !slices.ContainsFunc(zones, n.IsBelow) {
			found = append(found, Fault{v.Name, zonefile.Problem{
				Severity: zonefile.WARN, Code: reasonHide, Message: fmt.Sprintf("hide %s: no zone of view %s holds it", n, v.Overlay),
				Hint: "remove the entry, or look at its spelling",
			}})
		}
	}
	o.note(reasonHide, v, found)
}

// allFaults lists what is wrong now, view by view.
func (o *owner) allFaults() []Fault {
	var all []Fault
	for _, v := range o.plan.views {
		if why := o.dirFault[v.Name]; why != "" {
			all = append(all, Fault{v.Name, zonefile.Problem{
				File: v.Dir, Severity: zonefile.ERR, Code: ReasonDirectory, Message: "cannot be read: " + why,
				Hint: "make the directory, readable to Postern; nothing in it is served meanwhile but what was",
			}})
		}
		all = append(all, o.faults[reasonPassed+" "+v.Name]...)
		all = append(all, o.faults[reasonHide+" "+v.Name]...)
	}
	return all
}
