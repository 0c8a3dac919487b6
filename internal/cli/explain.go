package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"postern/internal/dns/serve"
	"postern/internal/manage"
)

func (e *env) explain() *cobra.Command {
	return group("explain", "Say why the server does what it does", e.explainQuery())
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

// text calls a verb whose result is for reading, and prints it as it is.
func (e *env) text(c *cobra.Command, verb string, args any) error {
	var t manage.Text
	if err := e.call(c.Context(), verb, args, &t); err != nil {
		return err
	}
	return e.print(t, func(w io.Writer) { _, _ = io.WriteString(w, t.Text) })
}
