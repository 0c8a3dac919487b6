package smtpd

import "postern/internal/mail/smtpline"

// The engine's own replies. They say what to do and nothing about us.
var (
	notAClient     = closing(554, "5.7.1", "not-a-client", "no SMTP service for you here")
	tooBusy        = closing(421, "4.3.2", "busy", "too busy, try again later")
	crowded        = closing(421, "4.3.2", "crowded", "too busy to wait for you, connect again later")
	tooMany        = closing(421, "4.7.0", "rate", "too many connections or errors from your address, try again later")
	tooManyNear    = closing(421, "4.7.0", "network-rate", "too many connections or errors from your network, try again later")
	tooManyUnknown = closing(421, "4.7.0", "unknown-recipients", "too many recipients that do not exist, try again later")
	overOctets     = closing(421, "4.7.0", "octets", "you have sent as much as you may for now, try again later")
	accountBusy    = closing(421, "4.7.0", "account-connections", "too many connections of your account, try again later")
	shutdown       = closing(421, "4.3.2", "shutdown", "service is closing, try again later")
	timedOut       = closing(421, "4.4.2", "timeout", "timed out waiting for you")
	overTime       = closing(421, "4.4.2", "session-time", "the session took too long, connect again")

	earlyTalker = closing(554, "5.5.0", "early-talker", "you spoke before your turn")
	pipelining  = closing(503, "5.5.0", "pipelining", "you sent on where you had to wait for a reply")
	injected    = closing(554, "5.5.0", "starttls-injection", "input after STARTTLS and before the handshake")
	bareLine    = closing(500, "5.5.2", "framing", "lines end with CRLF and nothing else")
	longCommand = closing(500, "5.5.2", "long-command", "command line too long")
	notSMTP     = closing(500, "5.5.1", "not-smtp", "this is not a web server")
	tooManyErrs = closing(421, "4.7.0", "errors", "too many errors")
	tooManyCmds = closing(421, "4.7.0", "commands", "too many commands without a message")
	tooManyMsgs = closing(421, "4.7.0", "messages", "message limit of a connection reached, connect again")
	tooManyAuth = closing(421, "4.7.0", "auth-failures", "too many failed logins")

	badData  = closing(550, "5.6.11", "framing", "the message holds a bare CR, a bare LF or a NUL")
	slowData = closing(421, "4.4.2", "slow", "the message came too slowly")
	largeMsg = smtpline.Refuse(552, "5.3.4", "too-large", "the message is larger than allowed")
	longLine = smtpline.Refuse(554, "5.6.0", "long-line", "the message has a line that is too long")

	unknownCommand = smtpline.Refuse(500, "5.5.1", "unknown-command", "command not recognised")
	notImplemented = smtpline.Refuse(502, "5.5.1", "not-implemented", "command not implemented")
	helloFirst     = smtpline.Refuse(503, "5.5.1", "sequence", "say EHLO first")
	nestedMail     = smtpline.Refuse(503, "5.5.1", "sequence", "a transaction has begun already")
	mailFirst      = smtpline.Refuse(503, "5.5.1", "sequence", "MAIL first")
	rcptFirst      = smtpline.Refuse(503, "5.5.1", "sequence", "RCPT first")
	noValidRcpt    = smtpline.Refuse(554, "5.5.1", "no-recipients", "no valid recipients")
	tooManyRcpts   = smtpline.Refuse(452, "4.5.3", "recipients", "too many recipients, send the rest in another message")
	tlsFirst       = smtpline.Refuse(530, "5.7.0", "needs-tls", "STARTTLS first")
	tlsActive      = smtpline.Refuse(503, "5.5.1", "sequence", "TLS is active already")
	internal       = smtpline.Refuse(451, "4.3.0", "internal", "local error, try again later")
)

func closing(code int, enhanced, reason, text string) *smtpline.Reply {
	r := smtpline.Refuse(code, enhanced, reason, text)
	r.Close = true
	return r
}

func ok(text string) *smtpline.Reply {
	return &smtpline.Reply{Code: 250, Enhanced: "2.0.0", Text: text}
}
