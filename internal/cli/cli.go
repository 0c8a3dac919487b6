// Package cli is the command line: it parses arguments, calls the roof or the
// running server, and prints. Every command prints for people or, with --json,
// for programs; it exits with 0 when all is well, 1 when something is wrong,
// and 2 when it was used wrongly. It decides nothing else.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"postern/internal/control"
	"postern/internal/manage"
)

// The exit codes of every command.
const (
	exitFine  = 0
	exitWrong = 1
	exitUsage = 2
)

// env is what a command may touch, so that tests can stand in for it.
type env struct {
	in       io.Reader
	out, err io.Writer
	version  string
	invoked  string // how the command was called, for hints that can be copied

	config string // --config
	json   bool   // --json
}

// errFound ends a command that has already said what is wrong.
var errFound = errors.New("something is wrong")

// usageError is a command used wrongly.
type usageError struct{ error }

// Main runs the command line and returns the exit code.
func Main(version string) int {
	// Background: the process's own. A signal ends every command at once but
	// those that have something to put in order first: serve, and the prompt
	// for a password.
	e := &env{in: os.Stdin, out: os.Stdout, err: os.Stderr, version: version, invoked: os.Args[0]}
	return run(context.Background(), e, os.Args[1:]) // Background: see above
}

// untilSignal ends with ctx or with the first signal to end; a second one ends
// the process as if nobody listened.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func run(ctx context.Context, e *env, args []string) int {
	root := e.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitFine
	case errors.Is(err, errFound):
		return exitWrong
	}
	var refused *manage.Error
	if !errors.As(err, &refused) {
		refused = &manage.Error{Reason: manage.ReasonFailed, Text: err.Error()}
		switch {
		case errors.As(err, &usage):
			refused.Reason = manage.ReasonUsage
		case errors.Is(err, control.ErrNotRunning):
			refused.Reason = reasonNotRunning
		}
	}
	if e.json || slices.Contains(args, "--json") { // a wrong flag before it ends the parsing
		_ = json.NewEncoder(e.out).Encode(map[string]any{"error": refused})
	}
	fmt.Fprintf(e.err, "postern: %v\n", err)
	if refused.Reason == manage.ReasonUsage {
		return exitUsage
	}
	return exitWrong
}

// reasonNotRunning is the reason word of a server that is not there to answer.
const reasonNotRunning = "not-running"

func (e *env) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "postern",
		Short:         "Guards an organisation's names and mail: DNS server, closed resolver and mail relay in one",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q (hint: postern --help lists them)", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.PersistentFlags().StringVar(&e.config, "config", "", "configuration `file`")
	root.PersistentFlags().BoolVar(&e.json, "json", false, "print JSON")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (hint: %s --help lists the flags)", err, c.CommandPath())}
	})
	root.AddCommand(e.serve(), e.initCmd(), e.status(), e.reload(), e.configCmd(), e.zone(), e.dnssec(), e.dkim(), e.user(), e.queue(), e.quarantine(), e.key(), e.explain(), e.trace(), e.test(), e.man(), e.versionCmd(), e.hash())
	root.SetHelpCommand(e.help())
	return root
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("unknown command %q (hint: postern %s --help lists them)", c.Name()+" "+args[0], c.Name())}
		}
		return nil
	}, RunE: func(c *cobra.Command, _ []string) error {
		return usageError{fmt.Errorf("%s: say what to do (hint: postern %[1]s --help; it knows %s)", c.Name(), strings.Join(names(c), ", "))}
	}}
	c.AddCommand(subs...)
	return c
}

// names is what stands below a command.
func names(c *cobra.Command) []string {
	var all []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, sub.Name())
		}
	}
	return all
}

// exactly is cobra's check of the number of arguments, as a usage error.
func exactly(n int, what string) cobra.PositionalArgs {
	return between(n, n, what)
}

func between(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usageError{fmt.Errorf("%s wants %s (hint: %[1]s --help)", c.CommandPath(), what)}
		}
		return nil
	}
}

// print writes v as JSON, or calls text.
func (e *env) print(v any, text func(io.Writer)) error {
	if !e.json {
		text(e.out)
		return nil
	}
	enc := json.NewEncoder(e.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
