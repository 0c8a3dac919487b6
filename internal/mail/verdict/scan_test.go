package verdict

import (
	"errors"
	"strings"
	"testing"
)

// TestWeigh: what scanners say can make a decision worse and never better.
func TestWeigh(t *testing.T) {
	t.Parallel()
	scan := func(o ScanOutcome) Scan {
		return Scan{Scanner: "clamd", Outcome: o, Name: "Bad\r\nName", Err: errors.New("gone")}
	}
	open := func(o ScanOutcome) Scan { s := scan(o); s.Open = true; return s }
	accept, quarantine := Decision{Action: Accept, Reason: ReasonPass}, Decision{Action: Quarantine, Reason: ReasonQuarantine}
	rejected := refuse(550, "5.7.1", ReasonReject, "no")
	for name, c := range map[string]struct {
		before Decision
		scans  []Scan
		action Action
		reason string
		code   int
	}{
		"no answer, closed":           {accept, []Scan{scan(ScanNone)}, Defer, ReasonScanFailed, 451},
		"failed, closed":              {accept, []Scan{scan(ScanFailed)}, Defer, ReasonScanFailed, 451},
		"failed, open":                {accept, []Scan{open(ScanFailed)}, Accept, ReasonPass, 0},
		"too large, closed":           {accept, []Scan{scan(ScanTooLarge)}, Reject, ReasonScanTooLarge, 552},
		"too large, open":             {accept, []Scan{open(ScanTooLarge)}, Accept, ReasonPass, 0},
		"virus":                       {accept, []Scan{scan(ScanVirus)}, Reject, ReasonVirus, 550},
		"virus, though open":          {accept, []Scan{open(ScanVirus)}, Reject, ReasonVirus, 550},
		"spam":                        {accept, []Scan{scan(ScanSpam)}, Reject, ReasonSpam, 550},
		"later":                       {accept, []Scan{scan(ScanLater)}, Defer, ReasonScanLater, 451},
		"suspect":                     {accept, []Scan{scan(ScanSuspect)}, Quarantine, ReasonSuspect, 0},
		"clean":                       {accept, []Scan{scan(ScanClean)}, Accept, ReasonPass, 0},
		"nobody scans":                {accept, nil, Accept, ReasonPass, 0},
		"clean does not free":         {quarantine, []Scan{scan(ScanClean)}, Quarantine, ReasonQuarantine, 0},
		"the first reason stays":      {quarantine, []Scan{scan(ScanSuspect)}, Quarantine, ReasonQuarantine, 0},
		"a virus in quarantine":       {quarantine, []Scan{scan(ScanVirus)}, Reject, ReasonVirus, 550},
		"refused already":             {rejected, []Scan{scan(ScanLater)}, Reject, ReasonReject, 550},
		"one open, one suspicious":    {accept, []Scan{open(ScanFailed), scan(ScanSuspect)}, Quarantine, ReasonSuspect, 0},
		"for good goes before later":  {accept, []Scan{scan(ScanLater), scan(ScanSpam)}, Reject, ReasonSpam, 550},
		"later goes before a mark":    {accept, []Scan{scan(ScanSuspect), scan(ScanLater)}, Defer, ReasonScanLater, 451},
		"DMARC deferred it in before": {refuse(451, "4.4.3", ReasonDNS, "x"), []Scan{scan(ScanVirus)}, Defer, ReasonDNS, 451},
	} {
		got := Weigh(c.before, c.scans)
		if got.Action != c.action || got.Reason != c.reason {
			t.Errorf("%s: %s %s, want %s %s", name, got.Action, got.Reason, c.action, c.reason)
		}
		if c.code == 0 && got.Reply != nil || c.code != 0 && (got.Reply == nil || got.Reply.Code != c.code) {
			t.Errorf("%s: reply %v, want %d", name, got.Reply, c.code)
		}
		if got.Reply != nil && strings.ContainsAny(got.Reply.Text, "\r\n") {
			t.Errorf("%s: %q", name, got.Reply.Text)
		}
	}
}

func TestScanWords(t *testing.T) {
	t.Parallel()
	if got := (Scan{Scanner: "rspamd", Outcome: ScanSpam, Name: "reject 17.0/15.0", Took: 1_500_000}).String(); got != "rspamd:spam(reject 17.0/15.0):1ms" {
		t.Errorf("%q", got)
	}
}
