package manage

import "context"

// MailArgs is a message as if a client brought it: unsigned, from an author who is
// its envelope sender.
type MailArgs struct {
	IP   string `json:"ip"`
	Helo string `json:"helo,omitempty"`
	From string `json:"from,omitempty"` // "" or "<>": the null sender
	To   string `json:"to"`
}

// MailExplanation says what would become of it, and why. Words are those of the
// log.
type MailExplanation struct {
	Recipient string   `json:"recipient"`           // what RCPT is answered
	To        []string `json:"to,omitempty"`        // where it goes
	Reverse   string   `json:"reverse,omitempty"`   // whether a name of the client leads back to it
	Name      string   `json:"name,omitempty"`      // that name
	Listed    []string `json:"listed,omitempty"`    // LIST=REPLY
	SPF       []string `json:"spf,omitempty"`       // of HELO, and of MAIL FROM
	DMARC     string   `json:"dmarc,omitempty"`     // of an unsigned message from that author
	Policy    string   `json:"policy,omitempty"`    // what the author's domain asks for
	PolicyAt  string   `json:"policy_at,omitempty"` // where it says so
	Marks     []string `json:"marks,omitempty"`
	Action    string   `json:"action,omitempty"` // "" where RCPT is refused
	Reason    string   `json:"reason,omitempty"`
	Reply     string   `json:"reply,omitempty"`
}

func (d *Desk) explainMail(ctx context.Context, a MailArgs) (MailExplanation, error) {
	return d.cfg.Mail(ctx, a)
}
