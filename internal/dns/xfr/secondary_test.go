package xfr

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestSteps plays what becomes of one secondary, and holds when it is told or
// asked next.
func TestSteps(t *testing.T) {
	t.Parallel()
	lost, no := context.DeadlineExceeded, errRcode(5)
	begin := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		name  string
		steps string // t+ told well, t? not answered, t! refused; a+ has it, a- an old serial, a> a newer one, a? no answer; c changed
		want  string // state, then how long until it is told or asked
	}{
		{"nothing yet", "c", "unknown tell 0s"},
		{"told", "c t+", "unknown ask 250ms"},
		{"has it", "c t+ a+", "ok"},
		{"takes a while", "c t+ a- a- a-", "lagging ask 2s"},
		{"takes a while, has it", "c t+ a- a- a- a+", "ok"},
		{"one packet lost", "c t?", "unknown tell 2s"},
		{"two lost", "c t? t?", "unknown tell 4s"},
		{"three lost", "c t? t? t?", "unreachable tell 8s"},
		{"answers after all", "c t? t? t? t+", "unreachable ask 250ms"},
		{"dead: asked only, ever less", "c t? t? t? t? t? t?", "unreachable ask 1m0s"},
		{"dead for long", "c t? t? t? t? t? t? a? a? a? a? a? a? a? a?", "unreachable ask 15m0s"},
		{"back: told again at once", "c t? t? t? t? t? t? a? a-", "lagging tell 0s"},
		{"back, and has it", "c t? t? t? t? t? t? a? a+", "ok"},
		{"refuses NOTIFY, but has it", "c t! a+", "ok"},
		{"refuses NOTIFY, and lags", "c t! a-", "lagging ask 500ms"},
		{"refuses all", "c t! a! a!", "unreachable ask 1s"},
		{"has a newer one", "c t+ a>", "lagging ask 500ms"},
		{"lags on: told again", "c t+ a- a- a- a- a- a- a- a- a- a-", "lagging tell 4m16s"},
		{"a newer one is not told again", "c t+ a> a> a> a> a> a> a> a> a> a>", "lagging ask 4m16s"},
		{"changed again", "c t+ a+ c", "lagging tell 1s"}, // no sooner than a second after it was told
		{"told once more, nothing is new", "c t+ a+ s", "ok tell 1s"},
		{"changed while dead", "c t? t? t? t? t? t? a? c", "unreachable tell 1s"},
	} {
		var s secondary
		s.phase = resting
		now, serial := begin, uint32(7)
		for step := range strings.FieldsSeq(c.steps) {
			switch step {
			case "c":
				serial++
				s.changed(serial, now, now)
			case "s":
				s.changed(serial, now, now)
			case "t+", "t?", "t!":
				s.told = now
				s.notified(map[string]error{"t?": lost, "t!": no}[step], step != "t?", now, now)
			case "a+":
				s.seen(serial, nil, now, now)
			case "a-":
				s.seen(serial-5, nil, now, now)
			case "a>":
				s.seen(serial+5, nil, now, now)
			case "a?":
				s.seen(0, lost, now, now)
			case "a!":
				s.seen(0, no, now, now)
			}
		}
		got := s.State.String()
		if s.phase != resting {
			got += fmt.Sprintf(" %s %v", [...]string{telling: "tell", asking: "ask"}[s.phase], s.due.Sub(now))
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if (s.State == OK) != s.Since.IsZero() || (s.State == Unreachable) != (s.Reason() != "") {
			t.Errorf("%s: since %v, reason %q", c.name, s.Since, s.Reason())
		}
	}
	if !errors.Is(no, errRcode(5)) || no.Error() != "it answers REFUSED" {
		t.Error(no)
	}
}
