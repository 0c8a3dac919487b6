package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/manage"
)

func (e *env) queue() *cobra.Command {
	return group("queue", "Messages that are not delivered yet",
		e.queueList("List the queue", manage.QueueArgs{}), e.queueShow(manage.QueueArgs{}),
		e.queueAct("retry", "Try messages now", manage.VerbQueueRetry, "is due now, unless it is held"),
		e.queueAct("hold", "Keep messages from being tried", manage.VerbQueueHold, "held"),
		e.queueAct("release", "Let held messages go", manage.VerbQueueRelease, "released"),
		e.queueAct("drop", "Throw messages away, without telling the sender", manage.VerbQueueDrop, "dropped"))
}

// selectors adds the flags that choose messages.
func selectors(c *cobra.Command, a *manage.QueueArgs) {
	c.Flags().StringVar(&a.Account, "account", "", "submitted by this `login`")
	c.Flags().StringVar(&a.Domain, "domain", "", "with a recipient in this `domain`")
	c.Flags().StringVar(&a.From, "from", "", "with this envelope sender `address`; <> for bounces")
	c.Flags().StringVar(&a.Reason, "reason", "", "held for this `word`, as the log has it")
}

// quarantine is the queue's commands for what is held by itself.
func (e *env) quarantine() *cobra.Command {
	return group("quarantine", "Messages that are held by a policy, a scanner or a failure",
		e.queueList("List the quarantine", manage.QueueArgs{Quarantine: true}), e.queueShow(manage.QueueArgs{Quarantine: true}),
		e.heldAct("release", "Deliver messages after all", manage.VerbQueueRelease, "released"),
		e.heldAct("drop", "Throw messages away, without telling the sender", manage.VerbQueueDrop, "dropped"))
}

func (e *env) queueList(short string, a manage.QueueArgs) *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: short,
		Args:  exactly(0, "no arguments; flags select"),
		RunE: func(c *cobra.Command, _ []string) error {
			messages := []manage.Message{}
			if err := e.call(c.Context(), manage.VerbQueueList, a, &messages); err != nil {
				return err
			}
			return e.print(messages, func(w io.Writer) {
				switch {
				case len(messages) == 0 && a.Account+a.Domain+a.From+a.Reason != "":
					fmt.Fprintln(w, "no message matches")
				case len(messages) == 0:
					fmt.Fprintf(w, "the %s is empty\n", place(a))
				}
				printQueue(w, messages)
			})
		},
	}
	selectors(c, &a)
	return c
}

func printQueue(w io.Writer, messages []manage.Message) {
	table(w, "", "ID\tRECEIVED\tSIZE\tSTATE\tNEXT TRY\tFROM\tTO", len(messages), func(w io.Writer) {
		for _, m := range messages {
			to := ""
			for i, r := range m.Recipients {
				if i == 2 {
					to += fmt.Sprintf(" and %d more", len(m.Recipients)-2)
					break
				}
				to += " " + r.Address
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", m.ID, m.Received.Format(time.DateTime), m.Size, m.State, when(m.Next), sender(m.From), to[min(1, len(to)):])
		}
	})
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(time.DateTime)
}

func sender(from string) string {
	if from == "" {
		return "<>"
	}
	return from
}

// place is what a command is about.
func place(a manage.QueueArgs) string {
	if a.Quarantine {
		return "quarantine"
	}
	return "queue"
}

func (e *env) queueShow(a manage.QueueArgs) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show one message: where it stands for each recipient, and why",
		Args:  exactly(1, "a queue id"),
		RunE: func(c *cobra.Command, args []string) error {
			var m manage.Message
			if err := e.call(c.Context(), manage.VerbQueueShow, manage.QueueArgs{IDs: args, Quarantine: a.Quarantine}, &m); err != nil {
				return err
			}
			return e.print(m, func(w io.Writer) { printMessage(w, m) })
		},
	}
}

func printMessage(w io.Writer, m manage.Message) {
	fmt.Fprintf(w, "id        %s\nfrom      %s\nreceived  %s\nsize      %d\nstate     %s\n", m.ID, sender(m.From), m.Received.Format(time.DateTime), m.Size, m.State)
	if m.Reason != "" {
		fmt.Fprintf(w, "held for  %s\n", m.Reason)
	}
	if m.Account != "" {
		fmt.Fprintf(w, "account   %s\n", m.Account)
	}
	fmt.Fprintf(w, "next try  %s\n", when(m.Next))
	for _, r := range m.Recipients {
		fmt.Fprintf(w, "to        %s: %s after %d tries", r.Address, r.State, r.Tries)
		if r.Last != "" {
			fmt.Fprintf(w, ": %s", r.Last)
		}
		fmt.Fprintln(w)
	}
}

func (e *env) queueAct(name, short, verb, past string) *cobra.Command {
	return e.act(name, short, verb, past, manage.QueueArgs{})
}

func (e *env) heldAct(name, short, verb, past string) *cobra.Command {
	return e.act(name, short, verb, past, manage.QueueArgs{Quarantine: true})
}

func (e *env) act(name, short, verb, past string, a manage.QueueArgs) *cobra.Command {
	c := &cobra.Command{
		Use:   name + " [ID…]",
		Short: short,
		Args:  between(0, -1, "queue ids, or flags that select"),
		RunE: func(c *cobra.Command, args []string) error {
			a.IDs = args
			if len(args) == 0 && !a.All && a.Account+a.Domain+a.From+a.Reason == "" {
				return usageError{fmt.Errorf("say which messages: ids, a selector, or --all (hint: postern %s list shows them)", place(a))}
			}
			if len(args) > 0 && (a.All || a.Account+a.Domain+a.From+a.Reason != "") {
				return usageError{errors.New("ids, or flags that select, not both (hint: an id is one message, whatever the flags say)")}
			}
			var done manage.Done
			if err := e.call(c.Context(), verb, a, &done); err != nil {
				return err
			}
			if len(done.IDs) == 0 && !a.All {
				return &manage.Error{Reason: manage.ReasonUnknown, Text: "no message matches", Hint: "postern " + place(a) + " list shows what is there"}
			}
			return e.print(done, func(w io.Writer) {
				for _, id := range done.IDs {
					fmt.Fprintf(w, "%s %s\n", id, past)
				}
				if len(done.IDs) == 0 {
					fmt.Fprintf(w, "the %s is empty\n", place(a))
				}
			})
		},
	}
	selectors(c, &a)
	c.Flags().BoolVar(&a.All, "all", false, "every message")
	return c
}
