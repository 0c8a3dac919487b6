package lab_test

import (
	"encoding/json"
	"strings"
	"testing"

	"postern/internal/lab"
)

// TestManualApply: under apply = "manual" nothing of a zone file is served
// before somebody applies it; a dangerous change is accepted in so many words;
// a rollback holds, also over a restart, until the file changed and is applied.
func TestManualApply(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		in := tree(l, "")
		edge := l.Postern(lab.PosternConfig{
			Config: alphaConfig + "\n\t[dns]\n\tapply = \"manual\"\n",
			Files: map[string]string{
				"root.hints":                    in.HintsText(),
				"zones/external/alpha.lab.zone": alphaExternal,
				"zones/internal/alpha.lab.zone": alphaInternal,
				"zones/internal/corp.lab.zone":  corpInternal,
			},
		})
		zone := "zones/external/alpha.lab.zone"
		www := func(address string) string { return strings.Replace(alphaExternal, "198.51.100.80", address, 1) }

		l.Step("new files wait", func() {
			reply := l.Ask(lab.Dig, lab.Question{Server: alphaDNS, From: outsideClient, Name: "www.alpha.lab"})
			if reply.Rcode != "REFUSED" {
				t.Errorf("not a zone yet:\n%s", reply.Output)
			}
			edge.Run("zone", "list").Want(0, "planned")
			edge.Run("status").Want(0, "planned")
			edge.Run("zone", "plan").Want(0, "a new zone", "+ www.alpha.lab. 300 IN A 198.51.100.80")
			edge.Run("zone", "apply").Want(2, "--all")
			edge.Run("zone", "apply", "--all").Want(0, "corp.lab", "view external", "view internal")
			wantWWW(l, "198.51.100.80")
		})
		l.Step("an edit waits, and exactly its plan is applied", func() {
			edge.Write(zone, www("198.51.100.90"))
			edge.Reload()
			wantWWW(l, "198.51.100.80")
			var plan struct{ Plan string }
			out := edge.Run("zone", "plan", "alpha.lab", "--json").Want(0)
			if err := json.Unmarshal([]byte(out.Stdout), &plan); err != nil || plan.Plan == "" {
				t.Fatalf("%v\n%s", err, out)
			}
			edge.Write(zone, www("198.51.100.91"))
			edge.Run("zone", "apply", "alpha.lab", "--plan", plan.Plan).Want(1, "not what that plan was made of")
			wantWWW(l, "198.51.100.80")
			edge.Run("zone", "apply", "alpha.lab").Want(0, "1 removed, 1 added")
			wantWWW(l, "198.51.100.91")
		})
		l.Step("a danger is accepted by its name and with a reason", func() {
			edge.Write(zone, strings.Replace(www("198.51.100.92"), "@       MX    10 edge\n", "", 1))
			edge.Run("zone", "apply", "alpha.lab").Want(1, "loses-mx", "--accept loses-mx --reason")
			edge.Run("zone", "apply", "alpha.lab", "--accept", "loses-mx").Want(1, "reason")
			wantWWW(l, "198.51.100.91")
			edge.Run("zone", "apply", "alpha.lab", "--accept", "loses-mx", "--reason", "mail moves").Want(0)
			wantWWW(l, "198.51.100.92")
			edge.Run("zone", "history", "alpha.lab", "--view", "external").Want(0, "mail moves", "uid 0")
		})
		l.Step("a rollback pins", func() {
			edge.Run("zone", "rollback", "alpha.lab", "--view", "external", "--reason", "typo").Want(0, "pinned")
			wantWWW(l, "198.51.100.91")
			edge.Run("zone", "apply", "alpha.lab").Want(1, "rolled back")
			edge.Write(zone, www("198.51.100.93"))
			edge.Restart()
			wantWWW(l, "198.51.100.91")
			edge.Run("zone", "apply", "--all").Want(0)
			wantWWW(l, "198.51.100.93")
		})
		l.Step("a vanished zone is removed", func() {
			edge.Run("zone", "remove", "corp.lab").Want(1, "has its file still")
			edge.Remove("zones/internal/corp.lab.zone")
			edge.Run("zone", "remove", "corp.lab").Want(0, "internal")
			if edge.Run("zone", "list").Has("corp.lab") {
				t.Error("corp.lab is still there")
			}
		})
	})
}
