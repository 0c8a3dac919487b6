// Package manual holds the pages that "postern help TOPIC" prints: Markdown,
// in the binary. It never formats them and knows nothing of who reads.
package manual

import (
	"embed"
	"slices"
)

//go:embed pages/*.md
var pages embed.FS

// Topics returns the names of all pages, in the order in which a newcomer
// would read them.
func Topics() []string {
	return []string{"quickstart", "config", "zones", "keys", "transfers", "secondary", "catalogs", "updates", "dnssec", "mail", "recipients", "scanners", "accounts", "queue", "limits", "alerts", "troubleshooting", "lint", "flow", "speed", "rfc"}
}

// Page returns the text of one page.
func Page(topic string) (string, bool) {
	if !slices.Contains(Topics(), topic) {
		return "", false
	}
	text, err := pages.ReadFile("pages/" + topic + ".md")
	if topic == "lint" {
		text = append(text, codes()...)
	}
	return string(text), err == nil
}
