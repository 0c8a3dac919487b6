// Package smtpd is the SMTP engine: sockets, TLS, strict framing, the state
// machine of RFC 5321 and every limit that keeps a stranger from costing us
// more than a connection. What a transaction means is decided by a Session;
// mail/mx, mail/submission and mail/relay are the three there are.
//
// Supported: RFC 5321, PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC
// 6152), SMTPUTF8 (RFC 6531), ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC
// 3207), implicit TLS (RFC 8314), AUTH (RFC 4954), LIMITS (RFC 9422), DSN (RFC
// 3461) and CHUNKING (RFC 3030) where switched on; PROXY of version 2 and
// XCLIENT for those whom the configuration trusts. Not here: BINARYMIME, EXPN,
// TURN, and any memory of messages.
//
// Only CRLF ends a line and only CRLF.CRLF ends a message. Whatever could be
// read in two ways (a bare CR, a bare LF, a NUL, input where the client had to
// wait) ends the connection; it is never repaired.
//
// The Server owns its goroutines: one that accepts and one a connection. In
// a connection everything happens in that one goroutine, Session calls
// included.
//
//	greeted ─EHLO→ ready ─MAIL→ mail ─RCPT→ rcpt ─DATA→ data ─end→ ready
//	any ─STARTTLS→ greeted; ready ─AUTH→ ready; mail, rcpt ─RSET, EHLO→ ready
package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"postern/internal/handshake"
	"postern/internal/mail/address"
	"postern/internal/mail/smtpline"
)

// Mode is the TLS of a listener. The zero value is not a mode.
type Mode uint8

// The modes.
const (
	Plain       Mode = iota + 1 // none
	STARTTLS                    // offered on request (RFC 3207)
	ImplicitTLS                 // from the first byte (RFC 8314, Section 3.3)
)

// Config is one listener.
type Config struct {
	Name     string         // "mx", "submission", "relay": for log and errors
	Hostname string         // in greeting and EHLO reply
	Addr     netip.AddrPort // where to listen
	Listener net.Listener   // used in place of Addr where set; the Server closes it
	Mode     Mode           // required
	TLS      *tls.Config    // required but for Plain; session tickets are switched off in a copy

	Turns *handshake.Turns // of TLS handshakes, also of other servers; nil: any number at once

	MaxSize    int64          // of a message, in octets; 0: 25 MB
	RequireTLS bool           // refuse all but EHLO, STARTTLS, NOOP and QUIT until TLS is up
	DSN        bool           // announce DSN
	Chunking   bool           // announce CHUNKING, and take BDAT
	NoScram    bool           // take passwords alone, for clients that would choose SCRAM and have none for it
	Offers     func() Offers  // asked at each EHLO; nil: SMTPUTF8 alone
	Clients    []netip.Prefix // who may connect at all; empty: anyone
	Proxy      bool           // every connection begins with a PROXY block of version 2
	Proxies    []netip.Prefix // whose blocks are believed; required with Proxy, and nobody else then gets in
	XClient    []netip.Prefix // who may say XCLIENT
	Exempt     []netip.Prefix // addresses outside the per-address rates and the early-talker wait
	Limits     Limits

	Log        *slog.Logger
	NewSession func(context.Context, *Conn) (Session, *smtpline.Reply) // a refusal is sent in place of the greeting
}

// Conn is what is known of a connection. The engine fills it as the dialogue
// goes on; a Session may read it during its calls and must copy what other
// goroutines need.
type Conn struct {
	ID     string         // for log lines
	Remote netip.AddrPort // the client: of the socket, of a PROXY block, or of XCLIENT
	Local  netip.AddrPort
	Proxy  netip.AddrPort       // that brought it by a PROXY block; invalid: none
	TLS    *tls.ConnectionState // nil in the clear
	Helo   string               // "" until said
	ESMTP  bool                 // it was EHLO
	User   string               // the identity that AUTH accepted

	Recipients int // of one message, at most; 0: any

	end func(*smtpline.Reply) // nil in tests that make a Conn of their own
}

// End ends the connection with r, which must close it, as soon as the client is
// waited for, at once where it is already. It may be called from any goroutine,
// and does not wait. What was said first holds.
func (c *Conn) End(r *smtpline.Reply) {
	if c.end != nil {
		c.end(r)
	}
}

// Protocol is the "with" of the trace field (RFC 3848; RFC 6531, Section 4.3).
func (c *Conn) Protocol(utf8 bool) string {
	if !c.ESMTP {
		return "SMTP"
	}
	p := "ESMTP"
	if utf8 {
		p = "UTF8SMTP"
	}
	if c.TLS != nil {
		p += "S"
	}
	if c.User != "" {
		p += "A"
	}
	return p
}

// Offers are the extensions that hang on what comes after us.
type Offers struct {
	UTF8       bool // SMTPUTF8
	RequireTLS bool // REQUIRETLS, which is announced under TLS alone
}

// MailParams and RcptParams are the parameters of the two commands.
type (
	MailParams = smtpline.MailParams
	RcptParams = smtpline.RcptParams
)

// Session is one connection's side of the trade. Its calls come one at a time,
// in an order that the state machine allows. A nil reply is the usual success.
type Session interface {
	// Mail begins a transaction; the zero address is the null reverse-path.
	Mail(ctx context.Context, from address.Address, p MailParams) *smtpline.Reply
	// Rcpt adds a recipient. One without a Domain is the bare <postmaster>.
	Rcpt(ctx context.Context, to address.Address, p RcptParams) *smtpline.Reply
	// Data takes the message. The client is told to send with the first Read;
	// a Session that returns a refusal before it never sees the message. r
	// gives it without the dots and with CRLF at each line's end, and one of
	// the errors below in place of io.EOF when it must not be kept.
	Data(ctx context.Context, r io.Reader) *smtpline.Reply
	// Reset ends the transaction: after DATA, RSET, EHLO and STARTTLS.
	Reset()
	// Close is the last call.
	Close()
}

// Authenticator is a Session that takes AUTH PLAIN and LOGIN, under TLS only.
type Authenticator interface {
	Auth(ctx context.Context, identity, password string) *smtpline.Reply
}

// Greeter is a Session that wants to know when the client has named itself.
type Greeter interface {
	Hello(ctx context.Context, name string)
}

// Why a message came to no good end. Data's reader returns them; the reply that
// the client gets is the engine's, whatever the Session returns.
var (
	ErrFraming   = errors.New("bare CR, bare LF or NUL in the message")
	ErrTooLarge  = errors.New("message too large")
	ErrLongLine  = errors.New("line too long")
	ErrSlow      = errors.New("message sent too slowly")
	ErrTruncated = errors.New("connection lost inside the message")
)

// Limits bound what a connection, an address and all together may use. Zero is
// the default named in the comment.
type Limits struct {
	Connections           int // at once; 1000
	ConnectionsPerAddr    int // at once from one address, an IPv6 one counted by its /64; 50
	ConnectionsPerNetwork int // at once from one /24, or /56 of IPv6; 200
	ConnectionsPerAccount int // at once with one login; 20

	// What a client may do in a time, by address, and by network.
	ConnectRate, NetworkConnectRate int   // new connections a minute; 60, 300
	ErrorRate, NetworkErrorRate     int   // refused commands a minute; 60, 300
	UnknownRate, NetworkUnknownRate int   // recipients an hour that there are not; 1000, 4000
	OctetRate, NetworkOctetRate     int64 // of messages, an hour; 20 GB, 100 GB
	OctetsPerAccount                int64 // of messages, a day; 10 GB
	TrackedAddrs                    int   // addresses, networks and accounts remembered for these; 65536

	Errors     int // refused commands in a connection; 20
	Commands   int // commands between two accepted messages; 2000
	Recipients int // of one message; 1000
	Messages   int // of one connection; 1000
	Chunks     int // of one message; 1000
	AuthFails  int // in a connection; 3
	DataLine   int // longest line of a message, without CRLF; 65536

	GreetWait   time.Duration // silence required before the greeting; 0: one look
	Command     time.Duration // waiting for a command; 5m (RFC 5321, Section 4.5.3.2.7)
	Data        time.Duration // waiting for the next part of a message; 3m
	DataGrace   time.Duration // before DataRate applies; 1m
	DataRate    int64         // octets a second that a message must average; 512
	Handshake   time.Duration // of TLS; 30s
	Proxy       time.Duration // waiting for a PROXY block; 10s
	Write       time.Duration // of a reply; 1m
	SessionTime time.Duration // of a connection in all; 1h
}

func (l Limits) withDefaults() Limits {
	orInt := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	orTime := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	orInt64 := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	orInt(&l.Connections, 1000)
	orInt(&l.ConnectionsPerAddr, 50)
	orInt(&l.ConnectionsPerNetwork, 200)
	orInt(&l.ConnectionsPerAccount, 20)
	orInt(&l.ConnectRate, 60)
	orInt(&l.NetworkConnectRate, 300)
	orInt(&l.ErrorRate, 60)
	orInt(&l.NetworkErrorRate, 300)
	orInt(&l.UnknownRate, 1000)
	orInt(&l.NetworkUnknownRate, 4000)
	orInt64(&l.OctetRate, 20e9)
	orInt64(&l.NetworkOctetRate, 100e9)
	orInt64(&l.OctetsPerAccount, 10e9)
	orInt(&l.TrackedAddrs, 1<<16)
	orInt(&l.Errors, 20)
	orInt(&l.Commands, 2000)
	orInt(&l.Recipients, 1000)
	orInt(&l.Messages, 1000)
	orInt(&l.Chunks, 1000)
	orInt(&l.AuthFails, 3)
	orInt(&l.DataLine, 1<<16)
	orTime(&l.Command, 5*time.Minute)
	orTime(&l.Data, 3*time.Minute)
	orTime(&l.DataGrace, time.Minute)
	orTime(&l.Handshake, 30*time.Second)
	orTime(&l.Proxy, 10*time.Second)
	orTime(&l.Write, time.Minute)
	orTime(&l.SessionTime, time.Hour)
	orInt64(&l.DataRate, 512)
	return l
}
