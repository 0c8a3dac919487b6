package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

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
			o.Hashing = hashing()
			o.Version, o.Stderr, o.JSON, o.Invoked = e.version, e.err, logFormat == "json", e.invoked
			ctx, stop := untilSignal(c.Context())
			defer stop()
			return app.Run(ctx, o)
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
	if _, err := os.Stat("postern.toml"); err == nil {
		fmt.Fprintln(e.err, "postern.toml lies here and is not read (hint: postern serve --config postern.toml)")
	}
	return nil // no file: the demo
}
