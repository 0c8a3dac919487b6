package cli

import (
	"io"

	"github.com/spf13/cobra"

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
			return e.text(c, manage.VerbExplainQuery, a)
		},
	}
	c.Flags().StringVar(&a.From, "from", "127.0.0.1", "the client's `address`")
	c.Flags().StringVar(&a.Via, "via", "", "the listener's `address`, for one that serves only some views")
	return c
}

// text calls a verb whose result is for reading, and prints it as it is.
func (e *env) text(c *cobra.Command, verb string, args any) error {
	var t manage.Text
	if err := e.call(c.Context(), verb, args, &t); err != nil {
		return err
	}
	return e.print(t, func(w io.Writer) { _, _ = io.WriteString(w, t.Text) })
}
