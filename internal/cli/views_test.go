package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestConfigCheckPrintsTheViewOfEachOwnPrefix, also where there are problems
// to warn of.
func TestConfigCheckPrintsTheViewOfEachOwnPrefix(t *testing.T) {
	t.Parallel()
	conf := write(t, "postern.toml", `[networks]
internal = ["10.0.0.0/8"]
dmz = ["192.0.2.0/24"]
[[view]]
name = "inside"
clients = ["internal"]
[[view]]
name = "guests"
clients = ["172.16.0.0/12"]
`)
	code, out, _ := command(t, "", "config", "check", "--config", conf)
	for _, line := range []string{"10.0.0.0/8 (internal): view inside", "192.0.2.0/24 (dmz): no view", "172.16.0.0/12: view guests"} {
		if code != exitFine || !slices.Contains(strings.Split(out, "\n"), line) {
			t.Errorf("exit %d, no line %q in\n%s", code, line, out)
		}
	}
	code, out, _ = command(t, "", "config", "check", "--json", "--config", conf)
	var report struct{ Views []string }
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitFine || !slices.Contains(report.Views, "10.0.0.0/8 (internal): view inside") {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
}
