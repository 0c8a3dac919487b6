// Package zones holds the zone files that come with the binary: the hints to
// find the root servers (RFC 9609) and the example zones of the demo. It only
// embeds; reading them is the business of those who serve them.
package zones

import (
	"embed"
	"io/fs"
)

//go:embed root.hints
var rootHints string

//go:embed external internal
var examples embed.FS

// RootHints returns the names and addresses of the root servers, as a zone
// file.
func RootHints() string { return rootHints }

// Examples returns the example zone files, in the directories external and
// internal.
func Examples() fs.FS { return examples }
