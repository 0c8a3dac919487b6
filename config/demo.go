package config

import (
	_ "embed"
	"strings"
)

//go:embed demo.toml
var demoText string

// Demo is the configuration of a server that was given none: everything on
// loopback, outbound mail held. It keeps its state in stateDir and reads the
// directories external and internal of zonesDir. Bytes of the two names that
// are not UTF-8 are lost.
func Demo(stateDir, zonesDir string) *Checked {
	text := strings.NewReplacer(
		`"var`, strings.TrimSuffix(quoted(stateDir), `"`),
		`:var`, ":"+strings.Trim(quoted(stateDir), `"`),
		`"zones`, strings.TrimSuffix(quoted(zonesDir), `"`),
	).Replace(demoText)
	c, _ := Parse([]byte(text), "demo.toml", ".")
	return c
}
