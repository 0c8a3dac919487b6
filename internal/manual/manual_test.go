package manual

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"postern/internal/dns/xfr"
)

func TestUnknownTopics(t *testing.T) {
	t.Parallel()
	for _, topic := range []string{"", "nothing", "../manual", "flow.md"} {
		if text, ok := Page(topic); ok {
			t.Errorf("Page(%q) is %q", topic, text)
		}
	}
}

// TestEveryPageIsATopic and begins with its name.
func TestEveryPageIsATopic(t *testing.T) {
	t.Parallel()
	files, err := fs.ReadDir(pages, "pages")
	if err != nil || len(files) != len(Topics()) {
		t.Fatalf("%d files, %d topics, %v", len(files), len(Topics()), err)
	}
	for _, topic := range Topics() {
		text, ok := Page(topic)
		if !ok || !strings.HasPrefix(text, "# "+topic+"\n\n") {
			t.Errorf("page %s does not begin with its name", topic)
		}
		for line := range strings.Lines(text) {
			if len(line) > 100 && !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "swaks") {
				t.Errorf("page %s: long line %q", topic, line)
			}
		}
	}
}

// TestSubjectsHaveTheSameHeadings lets a reader find the same thing in the same
// place of each subject.
func TestSubjectsHaveTheSameHeadings(t *testing.T) {
	t.Parallel()
	for _, topic := range []string{"config", "zones", "keys", "transfers", "secondary", "catalogs", "updates", "dnssec", "mail", "recipients", "scanners", "queue", "limits", "alerts", "troubleshooting"} {
		text, _ := Page(topic)
		var got []string
		for line := range strings.Lines(text) {
			if h, ok := strings.CutPrefix(line, "## "); ok {
				got = append(got, strings.TrimSpace(h))
			}
		}
		if strings.Join(got, ", ") != "What, Settings, Example, Checks, Failure signs" {
			t.Errorf("page %s has the headings %q", topic, got)
		}
	}
}

// TestReasonsOfTransfers: each word that a transfer from a primary can end with
// is explained where its reader looks for it.
func TestReasonsOfTransfers(t *testing.T) {
	t.Parallel()
	text, _ := Page("secondary")
	for _, r := range xfr.Reasons() {
		if !strings.Contains(text, "\n| "+r.String()+" | ") {
			t.Errorf("nothing about %s", r)
		}
	}
}

// TestPackagesExist keeps the pages that name packages true.
func TestPackagesExist(t *testing.T) {
	t.Parallel()
	named := map[string]string{
		"flow": "`((?:dns|mail)/[a-z/]+|account|lookup|app|manage|control|cli|admin|certs|store|lifecycle)`",
		"rfc":  `\b((?:dns|mail)/[a-z]+(?:/[a-z]+)?)\b`,
	}
	for topic, pattern := range named {
		text, _ := Page(topic)
		found := regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1)
		if len(found) < 10 {
			t.Errorf("page %s names %d packages", topic, len(found))
		}
		for _, m := range found {
			if info, err := os.Stat("../" + m[1]); err != nil || !info.IsDir() {
				t.Errorf("page %s names the package %s, which does not exist", topic, m[1])
			}
		}
	}
}
