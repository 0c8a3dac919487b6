package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/app"
)

func (e *env) serve() *cobra.Command {
	var o app.Options
	var logFormat string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the appliance",
		Long: `Run the appliance. Without --config it uses ` + defaultConfig + ` if that exists;
else it runs the demo: example zones and a mail relay on loopback, state in ./var,
nothing sent to the world. SIGTERM ends it within five seconds, SIGHUP reloads.`,
		Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if logFormat != "text" && logFormat != "json" {
				return usageError{fmt.Errorf("--log-format %q: want text or json", logFormat)}
			}
			if o.TestClock != "" && !o.TestKnobs {
				return usageError{errors.New("--test-clock goes with --test-knobs")}
			}
			if err := e.whatToServe(&o); err != nil {
				return err
			}
			o.Version, o.Stderr, o.JSON = e.version, e.err, logFormat == "json"
			return app.Run(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.TestKnobs, "test-knobs", false, "allow [resolver.test]; the state directory is then for tests only")
	c.Flags().StringVar(&o.TestClock, "test-clock", "", "take the time from a `file` of Unix seconds")
	c.Flags().StringVar(&logFormat, "log-format", "text", "text or json")
	return c
}

// whatToServe decides between a named configuration, the installed one and the
// demo.
func (e *env) whatToServe(o *app.Options) error {
	if o.Config = e.config; o.Config != "" {
		return nil
	}
	_, err := os.Stat(defaultConfig)
	switch {
	case err == nil:
		o.Config = defaultConfig
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil // no file: the demo
}

func (e *env) configCmd() *cobra.Command {
	return group("config", "The configuration file", e.configCheck(), e.configShow(), e.configReference())
}

// load reads the configuration named by the flag, else the installed one, else
// the demo's, and lists every problem.
func (e *env) load() (*config.Checked, []config.Problem) {
	path := e.config
	if path == "" {
		if _, err := os.Stat(defaultConfig); err != nil {
			return app.DemoConfig()
		}
		path = defaultConfig
	}
	return config.Load(path)
}

func (e *env) configCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "List every problem of the configuration, and the view of each own network",
		Args:  exactly(0, "no arguments; --config names the file"),
		RunE: func(*cobra.Command, []string) error {
			c, problems := e.load()
			report := struct {
				Problems []string `json:"problems"`
				Views    []string `json:"views"`
			}{Problems: []string{}, Views: []string{}}
			blocked := c == nil
			for _, p := range problems {
				report.Problems = append(report.Problems, p.String())
				blocked = blocked || p.Blocks()
			}
			if !blocked {
				report.Views = append(report.Views, config.OwnPrefixViews(c)...)
			}
			err := e.print(report, func(w io.Writer) {
				for _, line := range append(report.Problems, report.Views...) {
					fmt.Fprintln(w, line)
				}
				if !blocked {
					fmt.Fprintln(w, "the configuration is good")
				}
			})
			if err == nil && blocked {
				err = errFound
			}
			return err
		},
	}
}

func (e *env) configShow() *cobra.Command {
	var effective bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Show the configuration as it takes effect; secrets are never shown",
		Args:  exactly(0, "no arguments; --config names the file"),
		RunE: func(*cobra.Command, []string) error {
			c, problems := e.load()
			for _, p := range problems {
				fmt.Fprintln(e.err, p.String())
			}
			if c == nil {
				return errFound
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
