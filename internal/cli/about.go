package cli

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"postern/internal/manual"
)

func (e *env) help() *cobra.Command {
	return &cobra.Command{
		Use:   "help [TOPIC]",
		Short: "Show a page of the manual, or the help of a command",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				if err := c.Root().Help(); err != nil {
					return err
				}
				fmt.Fprintf(e.out, "\nManual pages, read with postern help TOPIC: %s\n", strings.Join(manual.Topics(), " "))
				return nil
			}
			if page, ok := manual.Page(args[0]); ok && len(args) == 1 {
				return e.print(map[string]string{"topic": args[0], "text": page}, func(w io.Writer) { _, _ = io.WriteString(w, page) })
			}
			if args[0] == "lint" && len(args) == 2 {
				page, _ := manual.Page("lint")
				entry, ok := lintEntry(page, args[1])
				if !ok {
					return usageError{fmt.Errorf("no code %q (hint: postern help lint lists them)", args[1])}
				}
				return e.print(map[string]string{"topic": args[0], "code": args[1], "text": entry}, func(w io.Writer) { _, _ = io.WriteString(w, entry) })
			}
			if sub, rest, err := c.Root().Find(args); err == nil && len(rest) == 0 {
				return sub.Help()
			}
			return usageError{fmt.Errorf("no manual page and no command %q (hint: postern help lists both)", strings.Join(args, " "))}
		},
	}
}

// lintEntry is what the page says of one code. Some entries are of several.
func lintEntry(page, code string) (string, bool) {
	for entry := range strings.SplitSeq(strings.ReplaceAll(page, "\n\n", "\n- "), "\n- ") {
		head, _, found := strings.Cut(entry, ":")
		head, _, _ = strings.Cut(head, " (")
		if found && slices.Contains(strings.FieldsFunc(head, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }), code) {
			return strings.TrimRight(entry, "\n") + "\n", true
		}
	}
	return "", false
}

func (e *env) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": e.version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			return e.print(v, func(w io.Writer) { fmt.Fprintf(w, "postern %s (%s, %s)\n", e.version, v["go"], v["platform"]) })
		},
	}
}

func (e *env) man() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write a man page for every command into a directory",
		Args:  exactly(1, "a directory"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			return doc.GenManTree(c.Root(), &doc.GenManHeader{Title: "POSTERN", Section: "8", Source: "Postern " + e.version}, args[0])
		},
	}
}
