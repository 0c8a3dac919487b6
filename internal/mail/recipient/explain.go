package recipient

import (
	"context"
	"fmt"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/smtpline"
)

// Explanation is what Find says of an address, and why.
type Explanation struct {
	Standing
	How     string            // what the answer rests on
	Targets []address.Address // where its mail goes
	Reply   *smtpline.Reply   // the refusal; nil: it is taken
}

// Explain finds as Find does, and counts no recipient.
func (k *Keeper) Explain(ctx context.Context, to address.Address) Explanation {
	d := k.domain(to.Domain)
	if d == nil {
		return Explanation{Targets: []address.Address{to}, How: "every recipient is taken"}
	}
	how := d.how(to, k.cfg.Now())
	x := Explanation{How: how}
	x.Targets, x.Reply = k.find(ctx, d, to)
	x.Standing = d.standing()
	if x.Mode.asks() && x.State == Silent && !always(to) {
		x.How += ", " + x.Mode.whom() + " does not answer"
	}
	return x
}

// how is what an answer would rest on.
func (d *domain) how(to address.Address, now time.Time) string {
	switch {
	case d.Mode == File:
		if how, ok := d.list.how(to); ok {
			return how
		}
		if !always(to) {
			return "not listed in " + d.File
		}
		fallthrough
	case always(to) && d.Mode != Any:
		return "postmaster and abuse are always taken"
	case d.Mode == Any:
		return "every recipient is taken"
	}
	return d.asked.how(to, now)
}

// how names the line that an address is found by.
func (l *listed) how(to address.Address) (string, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	e, _, as, ok := l.list.entry(to)
	if !ok {
		return "", false
	}
	kind := "a mailbox"
	if len(e.targets) > 0 {
		kind = "an alias"
	}
	return fmt.Sprintf("%s:%d: %s, %s", l.file, e.line, as, kind), true
}

// how tells what is remembered.
func (v *verifier) how(to address.Address, now time.Time) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	at, known := v.known[keyOf(to)]
	gone, absent := v.absent[to.Key()]
	switch {
	case v.anything:
		return v.mode.whom() + " knows any name, and is not asked"
	case known && now.Sub(at) < v.mode.freshFor():
		return "remembered: it existed when asked for at " + at.UTC().Format(time.RFC3339)
	case absent && now.Sub(gone) < absentFresh:
		return "remembered: nobody of that name when asked for at " + gone.UTC().Format(time.RFC3339)
	case known && now.Sub(at) < knownLong:
		return "asked now; it existed at " + at.UTC().Format(time.RFC3339)
	}
	return "asked now"
}
