package cli

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/mail/trail"
	"postern/internal/manage"
)

func (e *env) trace() *cobra.Command {
	log := ""
	c := &cobra.Command{
		Use:   "trace ID|ADDRESS|MESSAGE-ID",
		Short: "Say all that happened to messages, also when they are gone",
		Args:  exactly(1, "a queue id, an address or a Message-ID"),
		RunE: func(c *cobra.Command, args []string) error {
			var t manage.Trace
			if log != "" {
				found, err := searchLog(log, args[0])
				if err != nil {
					return err
				}
				t = manage.Trace{Lines: append([]trail.Line{}, found.Lines...), Queue: []manage.Message{}, More: found.More}
			} else if err := e.call(c.Context(), manage.VerbTrace, manage.TraceArgs{Query: args[0]}, &t); err != nil {
				return err
			}
			if err := e.print(t, func(w io.Writer) { printTrace(w, t) }); err != nil {
				return err
			}
			return wrongUnless(len(t.Lines)+len(t.Queue) > 0)
		},
	}
	c.Flags().StringVar(&log, "log", "", "search this `file`, a log in JSON, and no running server")
	return c
}

// searchLog looks into a log that was written with --log-format json.
func searchLog(name, query string) (trail.Found, error) {
	return trail.Search(query, func(each func(io.Reader) error) error {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return each(f)
	})
}

func printTrace(w io.Writer, t manage.Trace) {
	if len(t.Lines)+len(t.Queue) == 0 {
		fmt.Fprintln(w, "nothing is known of such a message")
	}
	if t.More {
		fmt.Fprintln(w, "the newest of many:")
	}
	for _, l := range t.Lines {
		id := l.ID
		if id == "" {
			id = "-"
		}
		fmt.Fprintf(w, "%s %s %s%s\n", l.At.Local().Format(time.DateTime), id, l.Text, details(l.Fields))
	}
	for _, m := range t.Queue {
		fmt.Fprintln(w, "\nin the queue:")
		printMessage(w, m)
	}
}

// details are the fields of a line, by name; a level that says nothing is left
// out.
func details(fields map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := fields[name]
		if name == "level" && value == "INFO" || value == "" {
			continue
		}
		if strings.ContainsAny(value, " \"\n\t") {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, " %s=%s", name, value)
	}
	return b.String()
}
