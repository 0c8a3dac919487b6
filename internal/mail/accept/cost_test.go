package accept

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/inspect"
	"postern/internal/mail/verdict"
)

// TestHeadersThatCost sends headers as large as they may be, made of what takes
// most to read: none may cost more than a few times its size, nor many questions.
// Alone, since it counts the octets allocated.
func TestHeadersThatCost(t *testing.T) {
	const large = 240_000
	fill := func(unit string) string { return strings.Repeat(unit, large/len(unit)) }
	from := func(value string) string { return unix("From: "+value+" <a@example.org>", "", "x") }
	deep := strings.Repeat("a.", 110) + "example.org"
	signatures := func(n int, domain, names string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=%d.%s; s=s; h=from%s; bh=AAAA; b=BBBB\r\n", i, domain, names)
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		msg       string
		questions int
	}{
		"encoded words":           {from(fill("=?utf-8?q?x?= ")), 20},
		"encoded words, no end":   {from(fill("=?u?b?x")), 20},
		"comments":                {from(fill("()")), 20},
		"comments within another": {from(strings.Repeat("(", large/2) + strings.Repeat(")", large/2)), 20},
		"folds":                   {from(fill("\r\n ")), 20},
		"angle brackets":          {from(fill("a@b.example <")), 20},
		"addresses":               {from(fill("a@b.example, ")), 20},
		"groups":                  {from(fill("a:;,")), 20},
		"results":                 {strings.Repeat("Authentication-Results: x; "+strings.Repeat("(", 100)+strings.Repeat(")", 100)+"\r\n", 900) + from(""), 20},
		"lists":                   {strings.Repeat("List-Id: "+strings.Repeat("<", 200)+"\r\n", 900) + from(""), 20},
		"signatures":              {signatures(990, "example.org", "") + from(""), 20 + 10},
		"ten that sign it all":    {signatures(10, "example.org", ":subject"+strings.Repeat(":x", 250)) + unix("From: a@example.org", "Subject: "+fill("a b "), "", "x"), 20 + 10},
		"tags":                    {"DKIM-Signature: " + fill("a=b;") + "\r\n" + from(""), 20},
		"domains of many labels":  {unix("From: a@b."+deep+", a@c."+deep+", a@d."+deep+", a@e."+deep+", a@f."+deep, "", "x"), 20 + 5*8},
		"signers of many labels":  {signatures(10, deep, "") + from(""), 20 + 10 + 8},
	} {
		asked := &lookuptest.Recorder{Map: internet}
		w := newWorld(t, lookuptest.Map{}, nil)
		w.look = inspect.New(inspect.Config{Resolver: asked, Rules: inspect.Rules{Checks: verdict.Checks{SPF: true, DKIM: true, DMARC: true}, Domains: []string{"city.example"}}})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := w.arrive("a@example.org", c.msg)
		runtime.ReadMemStats(&after)
		if octets := after.TotalAlloc - before.TotalAlloc; octets > 10<<20 {
			t.Errorf("%s: %d octets for a message of %d: %s", name, octets, len(c.msg), r)
		}
		if n := len(asked.Asked()); n > c.questions {
			t.Errorf("%s: %d questions, at most %d", name, n, c.questions)
		}
		if err := w.look.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
