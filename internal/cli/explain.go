package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/dns/serve"
	"postern/internal/manage"
)

func (e *env) explain() *cobra.Command {
	return group("explain", "Say why the server does what it does", e.explainQuery(), e.explainRoute(), e.explainMail())
}

func (e *env) explainQuery() *cobra.Command {
	var a manage.QueryArgs
	c := &cobra.Command{
		Use:   "query NAME TYPE --from IP",
		Short: "Say which view and zone answer a question, and how",
		Args:  exactly(2, "a name and a record type"),
		RunE: func(c *cobra.Command, args []string) error {
			a.Name, a.Type = args[0], args[1]
			var x serve.Explanation
			if err := e.call(c.Context(), manage.VerbExplainQuery, a, &x); err != nil {
				return err
			}
			return e.print(x, func(w io.Writer) { printExplanation(w, x) })
		},
	}
	c.Flags().StringVar(&a.From, "from", "127.0.0.1", "the client's `address`")
	c.Flags().StringVar(&a.Key, "key", "", "the `name` of the TSIG key that the client signs with")
	c.Flags().StringVar(&a.Via, "via", "", "the listener's `address`, for one that serves only some views")
	return c
}

func printExplanation(w io.Writer, x serve.Explanation) {
	for _, row := range [][2]string{{"view", x.View}, {"why", x.Why}, {"zone", x.Zone}, {"answer", x.Kind}, {"rcode", x.Rcode}} {
		if row[1] != "" {
			fmt.Fprintf(w, "%-7s %s\n", row[0], row[1])
		}
	}
	for _, r := range x.Records {
		fmt.Fprintln(w, r)
	}
}

func (e *env) explainMail() *cobra.Command {
	var a manage.MailArgs
	c := &cobra.Command{
		Use:   "mail --ip IP --from ADDRESS --to ADDRESS",
		Short: "Say what would become of an unsigned message from the world, and why",
		Args:  exactly(0, "no arguments; flags say the case"),
		RunE: func(c *cobra.Command, _ []string) error {
			if a.IP == "" || a.To == "" {
				return usageError{errors.New("--ip and --to are needed (hint: --from is the null sender where it is left out)")}
			}
			var x manage.MailExplanation
			if err := e.call(c.Context(), manage.VerbExplainMail, a, &x); err != nil {
				return err
			}
			if err := e.print(x, func(w io.Writer) { printMail(w, x) }); err != nil {
				return err
			}
			return wrongUnless(x.Action == "accept")
		},
	}
	c.Flags().StringVar(&a.IP, "ip", "", "the client's `address`")
	c.Flags().StringVar(&a.Helo, "helo", "", "the `name` it says it has")
	c.Flags().StringVar(&a.From, "from", "", "the envelope sender's `address`, who is the author too")
	c.Flags().StringVar(&a.To, "to", "", "the recipient's `address`")
	return c
}

func printMail(w io.Writer, x manage.MailExplanation) {
	for _, row := range [][2]string{
		{"rcpt", x.Recipient}, {"to", strings.Join(x.To, " ")}, {"reverse", strings.TrimSpace(x.Reverse + " " + x.Name)},
		{"listed", strings.Join(x.Listed, " ")}, {"spf", strings.Join(x.SPF, ", ")}, {"dmarc", x.DMARC},
		{"policy", strings.TrimSpace(x.Policy + " " + x.PolicyAt)}, {"marks", strings.Join(x.Marks, " ")},
		{"verdict", x.Action}, {"why", x.Reason}, {"reply", x.Reply},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%-7s %s\n", row[0], row[1])
		}
	}
}

func (e *env) explainRoute() *cobra.Command {
	return &cobra.Command{
		Use:   "route ADDRESS",
		Short: "Say where mail for an address goes, who takes it, and why",
		Args:  exactly(1, "an address"),
		RunE: func(c *cobra.Command, args []string) error {
			var x manage.RouteExplanation
			if err := e.call(c.Context(), manage.VerbExplainRoute, manage.RouteArgs{Address: args[0]}, &x); err != nil {
				return err
			}
			if err := e.print(x, func(w io.Writer) { printRoute(w, x) }); err != nil {
				return err
			}
			return wrongUnless(arrives(x))
		},
	}
}

// arrives reports mail that goes where the address leads.
func arrives(x manage.RouteExplanation) bool {
	return len(x.To) > 0 && !slices.ContainsFunc(x.To, func(d manage.Destination) bool { return d.Problem != "" })
}

func printRoute(w io.Writer, x manage.RouteExplanation) {
	row := func(what, text string) {
		if text != "" {
			fmt.Fprintf(w, "%-10s %s\n", what, text)
		}
	}
	row("address", x.Address)
	row("recipients", x.Recipients)
	row("how", x.How)
	row("rcpt", x.Recipient)
	for _, d := range x.To {
		row("to", d.Address)
		row("  by", d.Why)
		row("  problem", d.Problem)
		if d.Held {
			row("  held", "mail.outbound.mode is hold: nothing is sent to the world")
		}
		for _, h := range d.Hops {
			row("  hop", strings.TrimSpace(h.Hop+" "+strings.Join(h.Addresses, " ")))
			row("    tls", strings.TrimSpace(h.TLS+" "+h.Name))
			row("    login", h.User)
			row("    can", strings.Join(h.Can, ", "))
		}
	}
}
