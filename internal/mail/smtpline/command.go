package smtpline

import (
	"strings"
	"unicode/utf8"

	"postern/internal/mail/address"
)

// Verb is a command's name.
type Verb uint8

// The verbs that the engine tells apart. HTTP stands for the first word of a
// web request, which a browser may be tricked into sending to a mail port.
const (
	Unknown Verb = iota
	Helo
	Ehlo
	Mail
	Rcpt
	Data
	Rset
	Noop
	Quit
	Vrfy
	Help
	StartTLS
	Auth
	XClientVerb
	Bdat
	HTTP
)

// verbs holds the words in upper case. It is only read.
var verbs = map[string]Verb{
	"HELO": Helo, "EHLO": Ehlo, "MAIL": Mail, "RCPT": Rcpt, "DATA": Data, "RSET": Rset,
	"NOOP": Noop, "QUIT": Quit, "VRFY": Vrfy, "HELP": Help, "STARTTLS": StartTLS, "AUTH": Auth,
	"XCLIENT": XClientVerb, "BDAT": Bdat,
	"GET": HTTP, "HEAD": HTTP, "POST": HTTP, "PUT": HTTP, "DELETE": HTTP, "CONNECT": HTTP,
	"OPTIONS": HTTP, "TRACE": HTTP, "PATCH": HTTP, "PRI": HTTP, "HOST:": HTTP,
}

// String returns the verb in upper case, for logs.
func (v Verb) String() string {
	for word, verb := range verbs {
		if verb == v && v != HTTP {
			return word
		}
	}
	if v == HTTP {
		return "HTTP"
	}
	return "unknown"
}

// Command is one command line, cut in two.
type Command struct {
	Verb Verb
	Arg  string // what follows the verb and its space, without trailing white space
}

// ParseCommand reads a command line without its CRLF. It refuses control bytes
// and bytes that are not UTF-8, so that no argument can carry them further; an
// unknown verb is not an error here.
func ParseCommand(line []byte) (Command, *Reply) {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return Command{}, Refuse(500, "5.5.2", "control-byte", "control characters are not allowed in a command")
		}
	}
	if !utf8.Valid(line) {
		return Command{}, Refuse(500, "5.5.2", "not-utf8", "the command is not UTF-8")
	}
	// RFC 5321, Section 4.1.1: white space before the CRLF is tolerated.
	s := strings.TrimRight(string(line), " \t")
	word, arg, _ := strings.Cut(s, " ")
	verb := verbs[strings.ToUpper(word)]
	if takesNone(verb) && arg != "" {
		return Command{}, Refuse(501, "5.5.4", "syntax", "this command takes no argument")
	}
	return Command{Verb: verb, Arg: arg}, nil
}

// takesNone lists the commands without arguments (RFC 5321, Section 4.1.1.4
// and on; RFC 3207, Section 4). NOOP, HELP and VRFY may have one.
func takesNone(v Verb) bool {
	return v == Data || v == Rset || v == Quit || v == StartTLS
}

// ParseHelo reads the argument of HELO and EHLO: a domain or an address
// literal (RFC 5321, Section 4.1.1.1). Names with underscores and without dots
// are common and pass; anything else that could upset a trace header does not.
func ParseHelo(arg string) (string, *Reply) {
	if arg == "" || len(arg) > 255 {
		return "", badHelo()
	}
	if arg[0] == '[' {
		if lit, err := address.ParseDomain(arg); err == nil {
			return lit, nil
		}
		return "", badHelo()
	}
	for i := range len(arg) {
		if c := arg[i]; !isAlnum(c) && c != '.' && c != '-' && c != '_' {
			return "", badHelo()
		}
	}
	return arg, nil
}

func badHelo() *Reply {
	return Refuse(501, "5.5.2", "bad-helo", "give your host name, or your address in brackets")
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
