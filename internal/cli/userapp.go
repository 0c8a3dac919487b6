package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/manage"
)

// userApp makes passwords for programs and takes them away.
func (e *env) userApp() *cobra.Command {
	var name string
	var remove bool
	c := &cobra.Command{
		Use:   "app-password ADDRESS",
		Short: "Make a password for one program of an account",
		Long: "Make a password for one program of an account, and print it: it is random, shown this once, and kept in a form that does not give it back. " +
			"Programs may use it with SCRAM-SHA-256, which is offered once anybody has one. With --remove it is taken away, and the sessions that it opened end.",
		Args: exactly(1, "an account's address"),
		RunE: func(c *cobra.Command, args []string) error {
			if remove {
				return e.removeApp(c, args[0], name)
			}
			var made manage.AppPassword
			if err := e.call(c.Context(), manage.VerbUserAppAdd, manage.AppArgs{Login: args[0], Name: name}, &made); err != nil {
				return err
			}
			return e.print(made, func(w io.Writer) { fmt.Fprintln(w, made.Password) })
		},
	}
	c.Flags().StringVar(&name, "name", "", "what `program` it is for; app-1 and so on unless given")
	c.Flags().BoolVar(&remove, "remove", false, "take the one of that name away")
	return c
}

func (e *env) removeApp(c *cobra.Command, login, name string) error {
	if name == "" {
		return usageError{errors.New("--remove needs --name (hint: postern user show lists the names)")}
	}
	var u manage.UserDetail
	if err := e.call(c.Context(), manage.VerbUserAppRemove, manage.AppArgs{Login: login, Name: name}, &u); err != nil {
		return err
	}
	return e.print(u, func(w io.Writer) { fmt.Fprintf(w, "%s has no app password %s any more\n", u.Login, name) })
}

func (e *env) userShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show ADDRESS",
		Short: "Show what is known of an account",
		Args:  exactly(1, "an account's address"),
		RunE: func(c *cobra.Command, args []string) error {
			var u manage.UserDetail
			if err := e.call(c.Context(), manage.VerbUserShow, manage.UserArgs{Login: args[0]}, &u); err != nil {
				return err
			}
			return e.print(u, func(w io.Writer) { printUser(w, u) })
		},
	}
}

func printUser(w io.Writer, u manage.UserDetail) {
	state := "enabled"
	if u.Disabled {
		state = "disabled"
	}
	fmt.Fprintf(w, "login      %s\nstate      %s\nsenders    %s\ncreated    %s\npassword   since %s\n",
		u.Login, state, strings.Join(u.Senders, " "), u.Created.Format(time.DateOnly), u.Password.Format(time.DateOnly))
	fmt.Fprintf(w, "login at   %s\nfailures   %s\n", whenFrom(u.LastLogin, u.LoginFrom), failures(u))
	if len(u.Networks) > 0 {
		fmt.Fprintf(w, "known from %s\n", strings.Join(u.Networks, " "))
	}
	for _, a := range u.Apps {
		used := "never used"
		if !a.Used.IsZero() {
			used = "last used " + a.Used.Format(time.DateTime)
		}
		fmt.Fprintf(w, "app        %s, since %s, %s\n", a.Name, a.Created.Format(time.DateOnly), used)
	}
}

func whenFrom(at time.Time, from string) string {
	if at.IsZero() {
		return "never"
	}
	return at.Format(time.DateTime) + " from " + from
}

func failures(u manage.UserDetail) string {
	if u.Failures == 0 {
		return "none"
	}
	return fmt.Sprintf("%d in all, the last at %s", u.Failures, whenFrom(u.LastFailed, u.FailedFrom))
}
