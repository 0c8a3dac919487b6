package authority

import (
	"time"

	"postern/internal/dns/view"
	"postern/internal/dns/zonefile"
	"postern/internal/dns/zonelint"
)

const (
	// judgeAfter is how long after the last edit of a large zone all of it is
	// judged again.
	judgeAfter = 2 * time.Second
	// judgeWithin bounds how long that may be put off by edits that do not end.
	judgeWithin = time.Minute
)

// judgeIn returns after what time to judge, now that an edit was served
// unjudged.
func (o *owner) judgeIn(now time.Time) time.Duration {
	if o.unjudgedFrom.IsZero() {
		o.unjudgedFrom = now
	}
	return max(0, min(judgeAfter, judgeWithin-now.Sub(o.unjudgedFrom)))
}

// judge finds what there is to say about the zones that were amended: see
// amend.
func (o *owner) judge() {
	o.unjudgedFrom = time.Time{}
	some := false
	for k, st := range o.served {
		if !st.unjudged || st.reason != "" || len(st.held) > 0 {
			continue // what is refused or waits was judged whole
		}
		some = true
		o.makeRoom()
		st.unjudged = false
		c := &candidate{key: k, source: o.sources[k], records: st.records, content: st.content}
		fed := o.plan.fed(k)
		if fed {
			c.records = asRecords(st.content)
		}
		if c.source != nil {
			c.own = c.source.accepted
		}
		if laid := o.lay(c, c.own); k.view == o.plan.external && !fed {
			laid, c.problems = o.withDerived(k.zone, laid)
			_, yielded := withKin(k.zone, laid, st.kin)
			c.problems = append(c.problems, yielded...)
		}
		c.found = o.findings(c)
		c.problems = append(c.problems, c.found...)
		if fed && c.found == nil {
			c.found = []zonefile.Problem{} // it was looked for
		}
		o.finish(c, st)
		o.noteDown(c, st)
		o.noteFed(st)
	}
	if some {
		o.tabulate()
	}
}

// findings judges the records of c.
func (o *owner) findings(c *candidate) []zonefile.Problem {
	file := o.fileOf(c.key)
	if o.plan.private(c.key) { // nobody resolves names in it
		return zonelint.Unfit(c.records, c.zone, zonelint.Context{File: file})
	}
	problems := append(view.SameKeys(c.zone, file, c.beside, c.records), o.presigned(c.zone, c.records)...)
	for _, p := range zonelint.Check(c.records, c.zone, zonelint.Context{File: file, Exposure: o.exposure(c.view)}) {
		if c.over == "" || p.File == file || p.Blocks() { // the rest is told of the view below
			problems = append(problems, p)
		}
	}
	return problems
}
