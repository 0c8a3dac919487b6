package lab_test

import (
	"os"
	"strings"
	"testing"

	"postern/internal/lab"
)

// TestLastGoodZone: whatever happens to the zone files, the last good zone
// serves on, after a reload and after a restart, and the status and the log
// say what is wrong and where.
func TestLastGoodZone(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		in := tree(l, "")
		edge := alphaPostern(l, in)
		zone := "zones/external/alpha.lab.zone"
		wantWWW(l, "198.51.100.80")

		l.Step("a good edit is served", func() {
			edge.Write(zone, strings.NewReplacer("hostmaster 1 ", "hostmaster 2 ", "198.51.100.80", "198.51.100.90").Replace(alphaExternal))
			edge.Reload()
			wantWWW(l, "198.51.100.90")
		})

		for _, c := range []struct {
			name   string
			damage func()
			reason string // in status and log
			said   string // there too: where
			repair func()
		}{
			{
				name: "a broken zone file",
				damage: func() {
					// Line 9 is the address of edge.
					edge.Write(zone, strings.Replace(alphaExternal, "edge    A     198.51.100.25", "edge    A     198.51.100.256", 1))
				},
				reason: "file-broken", said: "alpha.lab.zone:9:15",
			},
			{
				name: "a zone file cut short",
				damage: func() {
					edge.Write(zone, "$ORIGIN alpha.lab.\n$TTL 300\n@ SOA ns hostmaster (3 3600\n")
				},
				reason: "file-broken", said: "alpha.lab.zone:3:",
			},
			{
				name:   "a vanished zone file",
				damage: func() { edge.Remove(zone) },
				reason: "file-missing", said: "alpha.lab.zone",
			},
			{
				name: "an unreadable folder",
				damage: func() {
					if err := os.Chmod(edge.Path("zones/external"), 0); err != nil {
						l.T().Fatal(err)
					}
				},
				reason: "directory-unreadable", said: "zones/external",
				repair: func() {
					if err := os.Chmod(edge.Path("zones/external"), 0o755); err != nil {
						l.T().Fatal(err)
					}
				},
			},
			{
				name:   "a vanished folder",
				damage: func() { edge.Remove("zones/external") },
				reason: "directory-unreadable", said: "zones/external",
			},
		} {
			l.Step(c.name, func() {
				mark := edge.Log.Mark()
				c.damage()
				// Whether a reload with a problem counts as a failure is the
				// command's own business; that it serves on is ours.
				edge.Run("reload")
				wantServingOn(l, edge, mark, c.reason, c.said)
				mark = edge.Log.Mark()
				edge.Restart()
				wantServingOn(l, edge, mark, c.reason, c.said)
				mark = edge.Log.Mark()
				edge.Kill9()
				edge.Start()
				wantServingOn(l, edge, mark, c.reason, c.said)
				if c.repair != nil {
					c.repair()
				}
			})
		}

		l.Step("a repaired file is served", func() {
			edge.Write(zone, strings.NewReplacer("hostmaster 1 ", "hostmaster 9 ", "198.51.100.80", "198.51.100.99").Replace(alphaExternal))
			edge.Reload()
			wantWWW(l, "198.51.100.99")
		})
	})
}

func wantServingOn(l *lab.Lab, edge *lab.Postern, mark int, reason, said string) {
	l.T().Helper()
	wantWWW(l, "198.51.100.90")
	edge.Log.Wait(mark, reason, said)
	edge.Run("status").Want(1, " ("+reason+")", said)
}

// wantWWW asks outside, and inside for what is inherited there.
func wantWWW(l *lab.Lab, address string) {
	l.T().Helper()
	reply := l.Ask(lab.Dig, lab.Question{Server: alphaDNS, From: outsideClient, Name: "www.alpha.lab"})
	if reply.Rcode != "NOERROR" || !reply.Has("aa") || values(reply.Answer) != address {
		l.T().Errorf("want %s:\n%s", address, reply.Output)
	}
	reply = l.Ask(lab.Dig, lab.Question{Server: alphaInDNS, From: insideClient, Name: "edge.alpha.lab"})
	if values(reply.Answer) != "198.51.100.25" {
		l.T().Errorf("inherited inside:\n%s", reply.Output)
	}
}
