package authority

import (
	"slices"
	"strings"

	"postern/internal/dns/rollover"
	"postern/internal/dns/zonefile"
)

// told bounds the problems of one line of the log; the rest is counted.
const told = 10

// tell logs, once, what keeps a change from being published or, where nothing
// does, what is wrong with the zone all the same. Notes are for who asks.
func (o *owner) tell(st *served) {
	reason, problems := o.trouble(st)
	var texts []string
	for _, p := range problems {
		if p.Severity != zonefile.NOTE {
			texts = append(texts, p.String())
		}
	}
	text := reason + strings.Join(texts, "\n")
	if text == st.logged {
		return
	}
	st.logged = text
	log := o.log.With("zone", st.zone, "view", st.view)
	list := []any{"problems", len(texts), "first", texts[:min(told, len(texts))]}
	switch {
	case reason == "" && o.plan.fed(st.key):
		log.Debug("secondary zone has problems", list...) // for its own admin to put right
	case reason == "" && len(texts) > 0:
		log.Warn("zone is published with problems", list...)
	case reason == "":
	case reason == ReasonWaiting:
		log.Info("secondary zone waits for its first transfer", "now", st.meanwhile())
	case slices.Contains(st.held, reason) && st.asWanted():
		log.Info("zone change waits to be applied", append([]any{"reason", strings.Join(st.held, ",")}, list...)...)
	case slices.Contains(st.held, reason):
		log.Warn("zone change waits to be applied", append([]any{"reason", strings.Join(st.held, ",")}, list...)...)
	case reason == rollover.ReasonParentUnknown && o.unlooked(st.zone):
		log.Info("zone waits to be signed until its parent was asked for a DS")
	default:
		log.Error("zone is not updated", append([]any{"reason", reason, "now", st.meanwhile()}, list...)...)
	}
}

// asWanted reports that a change waits for no other reason than that somebody
// asked for it: that is no failure.
func (st *served) asWanted() bool {
	return !slices.ContainsFunc(st.held, func(reason string) bool { return reason != ReasonPlanned && reason != ReasonPinned })
}

// meanwhile says what is served while a change is refused.
func (st *served) meanwhile() string {
	switch {
	case st.unborn():
		return "it does not exist yet"
	case st.content == nil || st.expired:
		return "there is no good state: SERVFAIL"
	}
	return "the last good state is served"
}

// trouble returns why what is served is not what the admin wrote.
func (o *owner) trouble(st *served) (string, []zonefile.Problem) {
	if s := o.sources[st.key]; s != nil && s.reason != "" {
		return s.reason, s.problems
	}
	if st.reason == "" && st.unsaved {
		return reasonJournal, []zonefile.Problem{{
			File: o.fileOf(st.key), Severity: zonefile.ERR, Code: reasonJournal, Message: "signatures were made anew, but could not be kept",
			Hint: "is the disk full? they are served, and it is tried again by itself",
		}}
	}
	return st.reason, st.problems
}

// fileOf is where a problem of the zone as a whole is to be looked for.
func (o *owner) fileOf(k key) string {
	if s := o.sources[k]; s != nil {
		return s.path()
	}
	return k.zone.String()
}
