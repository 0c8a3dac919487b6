package authority

import (
	"fmt"
	"os"
	"path/filepath"

	"postern/internal/dns/name"
	"postern/internal/dns/view"
	"postern/internal/dns/zonefile"
	"postern/internal/dns/zonelint"
)

// CheckFile reads one zone file and judges it as the server would, whose
// clients of that kind see it, without other views. It is for the command line.
func CheckFile(path string, origin name.Name, exposure zonelint.Exposure) ([]zonefile.Record, []zonefile.Problem) {
	l, err := readZone(filepath.Dir(path), filepath.Base(path), origin, nil)
	if err != nil {
		return nil, []zonefile.Problem{unreadable(path, err)}
	}
	problems := l.problems
	if !blocks(problems, false) {
		problems = append(problems, zonelint.Check(l.records, origin, zonelint.Context{File: path, Exposure: exposure, Notes: true})...)
	}
	return l.records, problems
}

// CheckPlace tells why the server would pass over the file in its directory,
// or another that holds the same zone. The files are those of Config.
func CheckPlace(path string, origin name.Name, files map[string]string) []zonefile.Problem {
	p, err := newPlan(Config{Files: files})
	if err != nil {
		return nil // it is said of the configuration
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil // it is said of the file
	}
	why := ""
	for _, e := range entries {
		n, ok, fault := p.zoneOf(e.Name())
		switch here := e.Name() == filepath.Base(path); {
		case here && !ok:
			why = fault
		case !here && ok && n == origin && why == "":
			why = fmt.Sprintf("zone %s is in file %s too", n, e.Name())
		}
	}
	if why == "" {
		return nil
	}
	return []zonefile.Problem{{
		File: path, Severity: zonefile.ERR, Code: reasonPassed, Message: "of the zone's files all but one are passed over: " + why, Hint: passedHint,
	}}
}

// Below is the file that one of an overlay changes, and what does not show
// through.
type Below struct {
	File           string
	Hide, HideTree []string
	Below          *Below // what File itself changes
}

// CheckOver judges a file of a view that lies over another as the server
// would: merged with the file it changes. What is wrong with that alone is
// told of it, not here.
func CheckOver(path string, origin name.Name, below Below) ([]zonefile.Record, []zonefile.Problem) {
	base, faults := CheckFile(below.File, origin, zonelint.Unknown) // what blocks it alone counts
	if below.Below != nil {
		base, faults = CheckOver(below.File, origin, *below.Below)
	}
	if blocks(faults, false) {
		return nil, []zonefile.Problem{{
			File: path, Severity: zonefile.ERR, Code: reasonBase, Message: "the zone it changes cannot be served: " + below.File,
			Hint: "postern zone check " + below.File,
		}}
	}
	l, err := readZone(filepath.Dir(path), filepath.Base(path), origin, nil)
	if err != nil {
		return nil, []zonefile.Problem{unreadable(path, err)}
	}
	problems := l.problems
	if blocks(problems, false) {
		return l.records, problems
	}
	o := view.Overlay{Origin: origin, File: path, External: base, Internal: l.records, Hide: namesIn(below.Hide, origin), HideTree: namesIn(below.HideTree, origin), Notes: true}
	records, found := view.Materialise(o)
	problems = append(problems, found...)
	for _, p := range zonelint.Check(records, origin, zonelint.Context{File: path, Exposure: zonelint.Inside, Notes: true}) {
		if p.File == path || p.Blocks() {
			problems = append(problems, p)
		}
	}
	return records, problems
}

// namesIn returns those of the names that lie in the zone.
func namesIn(texts []string, origin name.Name) []name.Name {
	var all []name.Name
	for _, s := range texts {
		if n, err := name.Parse(s); err == nil && n.IsBelow(origin) {
			all = append(all, n)
		}
	}
	return all
}
