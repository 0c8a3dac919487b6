package manage

import (
	"context"
	"testing"
	"time"

	"postern/internal/mail/selector"
)

// shop is a zone of mail domains.
type shop struct{}

func (shop) Publish(context.Context, string, string, []string) error { return nil }
func (shop) Withdraw(context.Context, string, string) error          { return nil }

func TestDKIM(t *testing.T) {
	t.Parallel()
	o := open(t)
	keys, err := selector.New(selector.Config{
		Dir: t.TempDir(), Domains: []string{"city.example"}, Algorithms: []string{selector.Ed25519}, Publisher: shop{},
		Now: func() time.Time { return time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC) },
	})
	o.must(err)
	o.must(keys.Start(t.Context()))
	o.later(keys.Stop)
	keys.Keys(t.Context(), "city.example") // waits until they are made
	o.cfg.DKIM = keys
	o.desk = New(o.cfg)
	got, e := do[[]DKIMKey](o, VerbDKIMList, nil)
	if e != nil || len(got) != 1 || got[0].Owner != "p2026a-ed._domainkey.city.example." || !got[0].Signs || got[0].Record == "" || !got[0].Next.IsZero() {
		t.Errorf("%v, %+v", e, got)
	}
	_, e = do[[]DKIMKey](o, VerbDKIMRotate, DKIMArgs{Domain: "other.example"})
	o.refused(e, ReasonUnknown, "other.example is no domain of ours")
	if got, e = do[[]DKIMKey](o, VerbDKIMRotate, DKIMArgs{Domain: "City.example."}); e != nil || len(got) != 2 || !got[0].Signs || got[1].Signs || got[1].Selector != "p2026b-ed" || !got[1].Published {
		t.Errorf("%v, %+v", e, got)
	}
	_, e = do[[]DKIMKey](o, VerbDKIMRotate, DKIMArgs{Domain: "city.example"})
	o.refused(e, ReasonFailed, "waiting to sign already")
}
