package cli

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"postern/internal/manual"
)

// others are flags of other programs that the manual shows.
var others = []string{
	"--server", "--tls-on-connect", "--auth", "--auth-user", "--auth-password", "--to", // swaks
}

// TestManualNamesOnlyWhatExists: every command and flag in the manual and the
// README is one of ours.
func TestManualNamesOnlyWhatExists(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]string{"README.md": string(readme)}
	for _, topic := range manual.Topics() {
		pages[topic], _ = manual.Page(topic)
	}
	root := (&env{in: strings.NewReader(""), out: io.Discard, err: io.Discard}).root()
	flags := slices.Clone(others)
	commands := []string{"help"}
	var walk func(*cobra.Command, string)
	walk = func(c *cobra.Command, path string) {
		flags = append(flags, regexp.MustCompile(`--[a-z][a-z-]*`).FindAllString(c.Flags().FlagUsages()+c.PersistentFlags().FlagUsages(), -1)...)
		for _, sub := range c.Commands() {
			name := strings.TrimSpace(path + " " + sub.Name())
			commands = append(commands, name)
			walk(sub, name)
		}
	}
	walk(root, "")
	for page, text := range pages {
		for _, flag := range regexp.MustCompile(`(?:^|[\s"(])(--[a-z][a-z-]*)`).FindAllStringSubmatch(text, -1) {
			if !slices.Contains(flags, flag[1]) {
				t.Errorf("%s names the flag %s, which does not exist", page, flag[1])
			}
		}
		for _, m := range regexp.MustCompile("(?m)(?:^|`|\\./cmd/|\\./)postern ([a-z]+)(?: ([a-z]+(?:-[a-z]+)?))?").FindAllStringSubmatch(text, -1) {
			one, two := m[1], m[1]+" "+m[2]
			isGroup := slices.ContainsFunc(commands, func(c string) bool { return strings.HasPrefix(c, one+" ") })
			if !slices.Contains(commands, one) || isGroup && m[2] != "" && !slices.Contains(commands, two) {
				t.Errorf("%s names the command %q, which does not exist", page, m[0])
			}
		}
	}
}
