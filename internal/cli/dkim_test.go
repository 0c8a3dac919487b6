package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"postern/internal/manage"
)

func TestPrintDKIMKeys(t *testing.T) {
	t.Parallel()
	made := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		keys []manage.DKIMKey
		want string
	}{
		{nil, "no keys (hint: they are made for each of mail.domains)\n"},
		{[]manage.DKIMKey{
			{Domain: "a.example", Selector: "s1", Algorithm: "ed25519", Created: made, Published: true, Signs: true},
			{Domain: "a.example", Selector: "s2", Algorithm: "ed25519", Created: made, Published: true},
			{Domain: "a.example", Selector: "s3", Algorithm: "ed25519", Created: made, Published: true, Next: made},
			{Domain: "a.example", Selector: "s4", Algorithm: "ed25519", Created: made, Published: true, Next: made, Began: made},
			{Domain: "b.example", Selector: "s1", Algorithm: "rsa2048", Created: made, Owner: "s1._domainkey.b.example.", Record: strings.Repeat("k", 256), Problem: "no zone"},
			{Domain: "old.example", Selector: "s1", Algorithm: "rsa2048", Created: made},
		}, "DOMAIN       SELECTOR  ALGORITHM  MADE        STATE\n" +
			"a.example    s1        ed25519    2026-03-04  signs\n" +
			"a.example    s2        ed25519    2026-03-04  published\n" +
			"a.example    s3        ed25519    2026-03-04  published, signs from 2026-03-04 00:00:00\n" +
			"a.example    s4        ed25519    2026-03-04  replaced, withdrawn from 2026-03-04 00:00:00\n" +
			"b.example    s1        rsa2048    2026-03-04  not published\n" +
			"old.example  s1        rsa2048    2026-03-04  not used\n" +
			"s1 of b.example: no zone; mail goes out without its signature until this is published:\n" +
			"s1._domainkey.b.example. IN TXT \"" + strings.Repeat("k", 255) + "\" \"k\"\n"},
	} {
		var b bytes.Buffer
		if printDKIMKeys(&b, c.keys); b.String() != c.want {
			t.Errorf("got\n%swant\n%s", b.String(), c.want)
		}
	}
}
