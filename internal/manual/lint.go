package manual

import (
	"fmt"
	"strings"

	"postern/internal/dns/zonefile"
	"postern/internal/dns/zonelint"
)

// codes is the end of the page lint: the table that the checks themselves use.
func codes() string {
	var b strings.Builder
	from := ""
	for _, c := range zonelint.Codes() {
		if c.From != from {
			from = c.From
			fmt.Fprintf(&b, "\n## %s\n\n", map[string]string{"file": "The text of a file", "zone": "The records of a zone", "views": "A view over another"}[from])
		}
		severity := c.Severity
		switch {
		case c.Blocks:
			severity += ", blocks"
		case severity == zonefile.ERR:
			severity += ", is served"
		}
		b.WriteString(wrap(fmt.Sprintf("- %s (%s): %s.", c.Code, severity, c.What)))
		b.WriteString(wrap("  Fix: " + c.Fix))
	}
	return b.String()
}

// wrap breaks a line of a list at blanks.
func wrap(text string) string {
	const width = 78
	var b strings.Builder
	line := ""
	for i, word := range strings.Split(text, " ") {
		if i > 0 && len(line)+1+len(word) > width {
			b.WriteString(line + "\n")
			line = " "
		}
		if i > 0 {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
}
