package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/app"
)

func (e *env) configCmd() *cobra.Command {
	return group("config", "The configuration file", e.configCheck(), e.configShow(), e.configReference())
}

// load reads the configuration named by the flag, else the installed one, else
// the demo's, and lists every problem.
func (e *env) load(testKnobs bool) (*config.Checked, []config.Problem) {
	return app.LoadConfig(e.file(), testKnobs)
}

// file is the configuration file that is meant; "" is the demo's.
func (e *env) file() string {
	if e.config != "" {
		return e.config
	}
	if _, err := os.Stat(defaultConfig); err == nil {
		return defaultConfig
	}
	return ""
}

func (e *env) configCheck() *cobra.Command {
	var knobs bool
	c := &cobra.Command{
		Use:   "check",
		Short: "List every problem of the configuration, and the view of each own network",
		Args:  exactly(0, "no arguments; --config names the file"),
		RunE: func(*cobra.Command, []string) error {
			c, problems := e.load(knobs)
			report := struct {
				Problems []config.Problem `json:"problems"`
				Views    []string         `json:"views"`
			}{problems, []string{}}
			if c != nil {
				report.Views = append(report.Views, config.OwnPrefixViews(c)...)
			}
			err := e.print(report, func(w io.Writer) {
				for _, p := range report.Problems {
					fmt.Fprintln(w, p.String())
				}
				for _, line := range report.Views {
					fmt.Fprintln(w, line)
				}
				switch {
				case c == nil:
				case e.file() == "":
					fmt.Fprintln(w, "the configuration of the demo is good (hint: --config names a file)")
				default:
					fmt.Fprintf(w, "the configuration is good: %s\n", e.file())
				}
			})
			if err == nil && c == nil {
				err = errFound
			}
			return err
		},
	}
	c.Flags().BoolVar(&knobs, "test-knobs", false, "allow [resolver.test], as serve --test-knobs does")
	return c
}

func (e *env) configShow() *cobra.Command {
	var effective bool
	c := &cobra.Command{
		Use:   "show --effective",
		Short: "Show the configuration as it takes effect; secrets are never shown",
		Args:  exactly(0, "no arguments; --config names the file"),
		RunE: func(*cobra.Command, []string) error {
			if !effective {
				return usageError{errors.New("config show shows what takes effect (hint: the file itself is for cat)")}
			}
			c, problems := e.load(true)
			for _, p := range problems {
				fmt.Fprintln(e.err, p.String())
			}
			if c == nil {
				if !e.json {
					return errFound
				}
				return errors.Join(errFound, e.print(map[string]any{"problems": problems}, nil))
			}
			text := string(config.Effective(c))
			return e.print(map[string]string{"toml": text}, func(w io.Writer) { _, _ = io.WriteString(w, text) })
		},
	}
	c.Flags().BoolVar(&effective, "effective", true, "with every default filled in")
	return c
}

func (e *env) configReference() *cobra.Command {
	return &cobra.Command{
		Use:   "reference",
		Short: "Print every key with its meaning and default",
		Args:  exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			text := string(config.Reference())
			return e.print(map[string]string{"toml": text}, func(w io.Writer) { _, _ = io.WriteString(w, text) })
		},
	}
}
