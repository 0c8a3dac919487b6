// Package zones holds the zone files that come with the binary: the hints to
// find the root servers (RFC 9609), the root's trust anchor and the example zones of the demo. It only
// embeds; reading them is the business of those who serve them.
package zones

import "embed"

// RootHints is the names and addresses of the root servers, as a zone file.
//
//go:embed root.hints
var RootHints string

// TrustAnchor is the DS records of the root's keys, one a line.
//
//go:embed root.anchor
var TrustAnchor string

// Examples is the example zone files, in the directories external and
// internal.
//
//go:embed external/*.zone internal/*.zone
var Examples embed.FS
