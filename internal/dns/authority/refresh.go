package authority

import (
	"time"

	"postern/internal/dns/journal"
)

// Expiry beats durability: where the disk is full or cannot be written, no
// content changes, but signatures that grow old are made anew all the same.
// What comes of it lives in memory until the disk takes it. A serial is noted
// where that is possible in place; where it is not, a restart before the disk
// is well may serve a lower one, which is the lesser evil.

// saveAgain is how long after a failure what lives in memory is tried again to
// be kept.
const saveAgain = time.Minute

// refreshUnsaved makes the signatures of k anew, of the content that is served,
// where they are due and the journal cannot be written.
func (o *owner) refreshUnsaved(k key, now time.Time) {
	st := o.served[k]
	if st == nil || st.content == nil || st.signedBy == nil || o.plan.policyOf(k.zone) == nil || !o.stale(k, now) {
		return
	}
	c := o.asServed(st)
	last, known := o.lastSerial(k)
	c.renumber(o.plan.Serial.next(st.content.Serial(), last, known, now))
	if err := o.sign(c, now); err != nil {
		o.notSigned(c, now, err)
		return
	}
	snap := o.snapshot(c, now)
	if err := o.store.ReserveInPlace(snap); err != nil {
		o.log.Error("serial is served, but cannot be kept: after a restart it may be lower", "zone", k.zone, "view", k.view, "serial", snap.Content.Serial(), "err", err)
	}
	o.accept(c, now)
	st.unsaved, st.saveAfter = true, now.Add(saveAgain)
	o.a.Counters.Unsaved.Inc()
	o.log.Error("signatures are made anew, but cannot be kept; a restart makes them once more", "zone", k.zone, "view", k.view, "serial", st.content.Serial())
}

// asServed is the candidate that changes nothing.
func (o *owner) asServed(st *served) *candidate {
	c := &candidate{key: st.key, source: o.source(st.key), fed: st.fed, content: st.content, fallback: true, who: st.who, why: st.why}
	if !o.plan.fed(st.key) {
		c.records = o.base(st)
	}
	if c.source != nil {
		c.own = o.accepted(c.source)
	}
	return c
}

// saveUnsaved keeps what lives in memory alone, where the disk takes it now.
func (o *owner) saveUnsaved(now time.Time) {
	for _, st := range o.served {
		if !st.unsaved || now.Before(st.saveAfter) {
			continue
		}
		c := o.asServed(st)
		c.out, c.signed, c.signedBy = st.out, st.signed, st.signedBy
		snap := o.snapshot(c, now)
		err := o.store.Reserve([]journal.Snapshot{snap})
		if err == nil {
			err = o.store.Save(snap)
		}
		if err != nil {
			st.saveAfter = now.Add(saveAgain)
			o.a.Counters.Journal.Inc()
			continue
		}
		st.unsaved = false
		o.log.Info("zone is kept again", "zone", st.zone, "view", st.view, "serial", st.out.Serial())
	}
}
