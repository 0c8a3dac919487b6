package manual

import (
	"io/fs"
	"strings"
	"testing"
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
	for _, topic := range []string{"config", "zones", "mail", "queue", "limits", "troubleshooting"} {
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
