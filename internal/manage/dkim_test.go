package manage

import (
	"testing"
	"time"

	"postern/internal/mail/selector"
)

func TestDKIMList(t *testing.T) {
	t.Parallel()
	o := open(t)
	o.cfg.DKIM = func() []selector.Status {
		return []selector.Status{{Domain: "city.example", Selector: "p2026a-ed", Algorithm: "ed25519", Created: time.Unix(1, 0), Record: "v=DKIM1", Problem: "no zone"}}
	}
	o.desk = New(o.cfg)
	got, e := do[[]DKIMKey](o, VerbDKIMList, nil)
	if e != nil || len(got) != 1 || got[0].Owner != "p2026a-ed._domainkey.city.example." || got[0].Signs || got[0].Problem != "no zone" || got[0].Record != "v=DKIM1" || got[0].Created.Unix() != 1 {
		t.Errorf("%v, %+v", e, got)
	}
}
