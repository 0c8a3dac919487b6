package selector

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"postern/internal/lookup"
)

// publisherKey names us to the Publisher.
const publisherKey = "dkim"

// publishTime bounds one publication.
const publishTime = 10 * time.Second

var errNobody = errors.New("no zone of ours holds the name")

// publish tries every record that is not yet published.
func (r *Ring) publish(ctx context.Context) {
	keys := slices.Clone(*r.keys.Load())
	changed := false
	for i := range keys {
		k := &keys[i]
		if k.Published || !slices.Contains(r.cfg.Domains, k.Domain) || ctx.Err() != nil {
			continue
		}
		before := k.Problem
		err := r.publishOne(ctx, k.Status)
		if err == nil {
			k.Published, k.Problem = true, ""
			r.Counters.Published.Inc()
			r.cfg.Log.Info("dkim key published", "domain", k.Domain, "selector", k.Selector, "algorithm", k.Algorithm)
		} else {
			r.Counters.Refused.Inc()
			if k.Problem = err.Error(); k.Problem != before {
				r.cfg.Log.Warn("dkim key not published: mail goes out without its signature", "reason", "dkim-unpublished",
					"domain", k.Domain, "selector", k.Selector, "err", err, "hint", "publish it yourself: "+k.Owner()+" TXT \""+k.Record+"\"")
			}
		}
		changed = true
	}
	if changed {
		r.keys.Store(&keys)
	}
}

// publishOne publishes a record, or finds that somebody else does: the zone of
// the domain may be served elsewhere, or the admin has written the record.
func (r *Ring) publishOne(ctx context.Context, s Status) error {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	err := errNobody
	if r.cfg.Publisher != nil {
		r.busy.Store(true)
		err = r.cfg.Publisher.Publish(ctx, s.Owner(), publisherKey, []string{s.Record})
		r.busy.Store(false)
	}
	if err == nil || r.cfg.Resolver == nil {
		return err
	}
	answer, lookErr := r.cfg.Resolver.Query(ctx, s.Owner(), lookup.TXT)
	if lookErr != nil || len(answer.Records) != 1 || keyOf(answer.Records[0].Text) != keyOf(s.Record) {
		return err
	}
	return nil
}

// keyOf is the p= of a record without white space.
func keyOf(record string) string {
	for part := range strings.SplitSeq(record, ";") {
		tag, value, _ := strings.Cut(part, "=")
		if strings.TrimSpace(tag) == "p" {
			return strings.Join(strings.Fields(value), "")
		}
	}
	return ""
}
