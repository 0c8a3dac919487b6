package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/manage"
)

func (e *env) dkim() *cobra.Command {
	return group("dkim", "Keys that sign the mail that leaves", e.dkimList(), e.dkimRotate())
}

func (e *env) dkimList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the DKIM keys, whether each signs, and what to publish where that is up to you",
		Long:  "List the DKIM keys of the mail domains. A key signs once its record is published: by Postern, where it has the domain's zone, else by you. It exits with 1 where a record is not found, since mail goes out without that signature.",
		Args:  exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			keys := []manage.DKIMKey{}
			if err := e.call(c.Context(), manage.VerbDKIMList, nil, &keys); err != nil {
				return err
			}
			if err := e.print(keys, func(w io.Writer) { printDKIMKeys(w, keys) }); err != nil {
				return err
			}
			if slices.ContainsFunc(keys, func(k manage.DKIMKey) bool { return k.Problem != "" }) {
				return errFound
			}
			return nil
		},
	}
}

func (e *env) dkimRotate() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate DOMAIN",
		Short: "Replace the DKIM keys of a mail domain",
		Long: "Make new DKIM keys for a mail domain and publish them. They sign an hour after their records are out, so that secondaries have them; " +
			"two weeks later, when no mail can be on its way that was signed with the old ones, those are withdrawn and destroyed. Where you publish the records yourself, postern dkim list has them.",
		Args: exactly(1, "a mail domain"),
		RunE: func(c *cobra.Command, args []string) error {
			keys := []manage.DKIMKey{}
			if err := e.call(c.Context(), manage.VerbDKIMRotate, manage.DKIMArgs{Domain: args[0]}, &keys); err != nil {
				return err
			}
			return e.print(keys, func(w io.Writer) { printDKIMKeys(w, keys) })
		},
	}
}

func printDKIMKeys(w io.Writer, keys []manage.DKIMKey) {
	if len(keys) == 0 {
		fmt.Fprintln(w, "no keys (hint: they are made for each of mail.domains)")
	}
	table(w, "", "DOMAIN\tSELECTOR\tALGORITHM\tMADE\tSTATE", len(keys), func(w io.Writer) {
		for _, k := range keys {
			state := "not published"
			switch {
			case k.Signs:
				state = "signs"
			case k.Published && !k.Next.IsZero() && k.Began.IsZero():
				state = "published, signs from " + k.Next.Format(time.DateTime)
			case k.Published && !k.Next.IsZero():
				state = "replaced, withdrawn from " + k.Next.Format(time.DateTime)
			case k.Published:
				state = "published"
			case k.Problem == "":
				state = "not used"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.Domain, k.Selector, k.Algorithm, k.Created.Format(time.DateOnly), state)
		}
	})
	for _, k := range keys {
		if k.Problem != "" {
			fmt.Fprintf(w, "%s of %s: %s; mail goes out without its signature until this is published:\n%s IN TXT %s\n", k.Selector, k.Domain, k.Problem, k.Owner, quoted(k.Record))
		}
	}
}

// quoted is a text as a zone file has it, in strings of at most 255 octets.
func quoted(text string) string {
	var all []string
	for part := range slices.Chunk([]byte(text), 255) {
		all = append(all, `"`+string(part)+`"`)
	}
	return strings.Join(all, " ")
}
