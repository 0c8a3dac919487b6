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
	"syscall"

	"github.com/spf13/cobra"

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

	config string // --config
	json   bool   // --json
}

// errFound ends a command that has already said what is wrong.
var errFound = errors.New("something is wrong")

// usageError is a command used wrongly.
type usageError struct{ error }

// Main runs the command line and returns the exit code.
func Main(version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM) // the process's own
	defer stop()
	return run(ctx, &env{in: os.Stdin, out: os.Stdout, err: os.Stderr, version: version}, os.Args[1:])
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
	case errors.As(err, &usage):
		fmt.Fprintf(e.err, "postern: %v\n", err)
		return exitUsage
	}
	var refused *manage.Error
	if errors.As(err, &refused) && e.json {
		_ = json.NewEncoder(e.out).Encode(map[string]any{"error": refused})
	}
	fmt.Fprintf(e.err, "postern: %v\n", err)
	if refused != nil && refused.Reason == manage.ReasonUsage {
		return exitUsage
	}
	return exitWrong
}

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
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(e.serve(), e.initCmd(), e.status(), e.reload(), e.configCmd(), e.zone(), e.user(), e.queue(), e.explain(), e.man(), e.versionCmd())
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
		_ = c.Help() // shown, and still wrong
		return usageError{fmt.Errorf("%s: say what", c.Name())}
	}}
	c.AddCommand(subs...)
	return c
}

// exactly is cobra's check of the number of arguments, as a usage error.
func exactly(n int, what string) cobra.PositionalArgs {
	return between(n, n, what)
}

func between(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usageError{fmt.Errorf("%s wants %s", c.CommandPath(), what)}
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
