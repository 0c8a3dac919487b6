package authority

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// logged are the lines of the log with that message.
func (b *bench) logged(message string) []string {
	var lines []string
	for line := range strings.Lines(b.log.String()) {
		if strings.Contains(line, `msg="`+message+`"`) {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestProblemsOfAPublishedZoneAreLoggedOnce, without notes, the first ten and
// their number, each with its place.
func TestProblemsOfAPublishedZoneAreLoggedOnce(t *testing.T) {
	t.Parallel()
	const message = "zone is published with problems"
	b := newBench(t)
	text := external + "_dmarc TXT \"v=DMARC1; p=reject\"\n@ TXT \"v=spf1 -all\"\n"
	b.write("external/example.test.zone", text)
	b.start()
	if lines := b.logged(message); len(lines) != 0 {
		t.Fatalf("a zone with notes alone: %q", lines)
	}
	for i := range 12 {
		text += fmt.Sprintf("c%d CNAME nowhere\n", i)
	}
	b.cfg.MaxChange = 1000
	b.write("external/example.test.zone", text)
	b.start()
	for range 3 {
		b.settle()
	}
	lines := b.logged(message)
	if len(lines) != 1 || !strings.Contains(lines[0], " problems=12 ") || !strings.Contains(lines[0], "level=WARN") {
		t.Fatalf("logged %q", lines)
	}
	if places := regexp.MustCompile(`example\.test\.zone:\d+:\d+: WARN cname-dangling`).FindAllString(lines[0], -1); len(places) != 10 {
		t.Errorf("%d of them in %q", len(places), lines[0])
	}
	b.write("external/example.test.zone", text+"x A 192.0.2.7\n")
	b.settle()
	b.want("external", "x.example.test", "192.0.2.7")
	if lines := b.logged(message); len(lines) != 1 {
		t.Errorf("the same problems again: %q", lines)
	}
	b.write("external/example.test.zone", text+"x A 192.0.2\n")
	b.settle()
	if lines := b.logged("zone is not updated"); len(lines) != 1 || !regexp.MustCompile(`example\.test\.zone:21:5: ERR bad-data`).MatchString(lines[0]) || strings.Contains(lines[0], " NOTE ") {
		t.Errorf("a refusal: %q", lines)
	}
}

// TestEveryReasonHasAPlace: who reads status or log can jump to it.
func TestEveryReasonHasAPlace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Manual = true
	b.write("external/example.test.zone", external)
	b.write("external/empty.test.zone", "")
	b.write("internal/other.test.zone", "$TTL 60\nwww A 10.0.0.1\n")
	b.start()
	places := regexp.MustCompile(`^\S+\.zone:\d+:\d+: (ERR|WARN|NOTE) [a-z-]+ `)
	for _, s := range b.a.Zones() {
		if len(s.Problems) == 0 {
			t.Errorf("%s in %s: %s without a problem", s.Zone, s.View, s.Reason)
		}
		for _, p := range s.Problems {
			if !places.MatchString(p.String()) {
				t.Errorf("%s in %s: no place in %q", s.Zone, s.View, p)
			}
		}
	}
}
