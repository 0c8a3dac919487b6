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

// RouteArgs is an address.
type RouteArgs struct {
	Address string `json:"address"`
}

// RouteExplanation says what would become of mail for an address, and why.
type RouteExplanation struct {
	Address    string        `json:"address"`
	Ours       bool          `json:"ours"`                 // of one of mail.domains
	Recipients string        `json:"recipients,omitempty"` // how it is known who exists there, and how well that works
	How        string        `json:"how"`                  // what the answer rests on
	Recipient  string        `json:"recipient"`            // what RCPT is answered on port 25
	To         []Destination `json:"to"`                   // where it goes
}

// Destination is where mail for one address goes. Either Problem or Hops.
type Destination struct {
	Address string `json:"address"`
	Why     string `json:"why"` // a route that is configured, or the DNS
	Hops    []Hop  `json:"hops,omitempty"`
	Problem string `json:"problem,omitempty"` // why it goes nowhere
	Held    bool   `json:"held,omitempty"`    // mail.outbound.mode is hold
}

// Hop is one host that it is handed to; they are tried in turn.
type Hop struct {
	Hop       string   `json:"hop"`
	Addresses []string `json:"addresses,omitempty"`
	TLS       string   `json:"tls,omitempty"`  // "opportunistic", "required"; "": there is no network between
	Name      string   `json:"name,omitempty"` // that its certificate must bear
	User      string   `json:"user,omitempty"` // to log in with
	Can       []string `json:"can,omitempty"`  // what it said that it can do
}

func (d *Desk) explainRoute(ctx context.Context, a RouteArgs) (RouteExplanation, error) {
	return d.cfg.Route(ctx, a)
}
