package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"postern/internal/manage"
)

func (e *env) user() *cobra.Command {
	return group("user", "Accounts that may submit mail",
		e.userWithPassword("add", "Make an account", manage.VerbUserAdd),
		e.userWithPassword("passwd", "Set an account's password", manage.VerbUserPasswd),
		e.userDisable(),
		e.userPlain("enable", "Let a disabled account in again", manage.VerbUserEnable, "enabled"),
		e.userPlain("remove", "Remove an account", manage.VerbUserRemove, "removed"),
		e.userPlain("unlock", "Forget an account's failed logins, and that it was stopped today", manage.VerbUserUnlock, "unlocked"),
		e.userApp(),
		e.userShow(),
		e.userList())
}

func (e *env) userWithPassword(name, short, verb string) *cobra.Command {
	var fromStdin bool
	var senders []string
	c := &cobra.Command{
		Use:   name + " ADDRESS",
		Short: short,
		Long:  short + ". The password is asked for, or read from standard input with --password-stdin; it never stands on the command line.",
		Args:  exactly(1, "an account's address"),
		RunE: func(c *cobra.Command, args []string) error {
			password, err := e.password(c.Context(), args[0], fromStdin)
			if err != nil {
				return err
			}
			var u manage.User
			if err := e.call(c.Context(), verb, manage.UserArgs{Login: args[0], Password: password, Senders: senders}, &u); err != nil {
				return err
			}
			return e.print(u, func(w io.Writer) { fmt.Fprintf(w, "%s may submit as %s\n", u.Login, strings.Join(u.Senders, ", ")) })
		},
	}
	c.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	if verb == manage.VerbUserAdd {
		c.Flags().StringSliceVar(&senders, "sender", nil, "another `address` it may send from; @domain for all of a domain")
	}
	return c
}

// password reads one line from standard input, or asks twice at the terminal,
// once it is known that somebody will listen.
func (e *env) password(ctx context.Context, login string, fromStdin bool) (string, error) {
	if fromStdin {
		line, err := bufio.NewReader(io.LimitReader(e.in, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	f, ok := e.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", usageError{errors.New("no terminal to ask for the password (hint: --password-stdin)")}
	}
	server, err := e.dial(ctx)
	if err != nil {
		return "", err
	}
	if err := server.Close(); err != nil { // it would not wait for somebody who types
		return "", err
	}
	var read [2]string
	for i, prompt := range []string{"Password for " + login + ": ", "Again: "} {
		fmt.Fprint(e.err, prompt)
		b, err := readSecretly(ctx, int(f.Fd()))
		fmt.Fprintln(e.err)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		read[i] = string(b)
	}
	if read[0] != read[1] {
		return "", errors.New("the two passwords differ; nothing was changed")
	}
	return read[0], nil
}

// readSecretly reads a line that the terminal does not show. A signal ends the
// wait and lets the terminal show again what is typed.
func readSecretly(ctx context.Context, fd int) ([]byte, error) {
	ctx, stop := untilSignal(ctx)
	defer stop()
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() { // a signal leaves it waiting for the terminal; it ends with the process
		text, err := term.ReadPassword(fd)
		typed <- line{text, err}
	}()
	select {
	case l := <-typed:
		return l.text, l.err
	case <-ctx.Done():
		return nil, errors.Join(errors.New("interrupted; nothing was changed"), term.Restore(fd, before))
	}
}

func (e *env) userPlain(name, short, verb, past string) *cobra.Command {
	return &cobra.Command{
		Use:   name + " ADDRESS",
		Short: short,
		Args:  exactly(1, "an account's address"),
		RunE: func(c *cobra.Command, args []string) error {
			var u manage.User
			if err := e.call(c.Context(), verb, manage.UserArgs{Login: args[0]}, &u); err != nil {
				return err
			}
			return e.print(u, func(w io.Writer) { fmt.Fprintf(w, "%s is %s\n", u.Login, past) })
		},
	}
}

func (e *env) userDisable() *cobra.Command {
	var drop bool
	c := e.userPlain("disable", "Stop an account at once; its open sessions end", manage.VerbUserDisable, "disabled")
	c.RunE = func(c *cobra.Command, args []string) error {
		var u manage.User
		if err := e.call(c.Context(), manage.VerbUserDisable, manage.UserArgs{Login: args[0], DropQueue: drop}, &u); err != nil {
			return err
		}
		return e.print(u, func(w io.Writer) {
			fmt.Fprintf(w, "%s is disabled\n", u.Login)
			if drop {
				fmt.Fprintf(w, "%d messages of its queue were dropped\n", u.Dropped)
			}
		})
	}
	c.Flags().BoolVar(&drop, "drop-queue", false, "throw away what it has in the queue, and tell nobody")
	return c
}

func (e *env) userList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the accounts",
		Args:  exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			users := []manage.User{}
			if err := e.call(c.Context(), manage.VerbUserList, nil, &users); err != nil {
				return err
			}
			return e.print(users, func(w io.Writer) { printUsers(w, users) })
		},
	}
}

func printUsers(w io.Writer, users []manage.User) {
	if len(users) == 0 {
		fmt.Fprintln(w, "no accounts (hint: postern user add ADDRESS)")
	}
	table(w, "", "LOGIN\tSTATE\tCREATED\tSENDERS", len(users), func(w io.Writer) {
		for _, u := range users {
			state := "enabled"
			if u.Disabled {
				state = "disabled"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.Login, state, u.Created.Format(time.DateOnly), strings.Join(u.Senders, " "))
		}
	})
}
