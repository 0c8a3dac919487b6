package route

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"postern/internal/secret"
)

// Protocol is how a hop is spoken to. The zero value is none.
type Protocol uint8

// The protocols.
const (
	SMTP    Protocol = iota + 1
	SMTPS            // TLS from the first octet (RFC 8314)
	LMTP             // RFC 2033
	Maildir          // files, no server
)

var protocolNames = [...]string{"none", "smtp", "smtps", "lmtp", "maildir"}

// String returns the protocol as routes spell it.
func (p Protocol) String() string {
	if int(p) < len(protocolNames) {
		return protocolNames[p]
	}
	return protocolNames[0]
}

// TLSMode is what a hop's connection must be. The zero value takes TLS where it
// is offered, unverified, and goes on without where it fails (RFC 7435).
type TLSMode uint8

// The modes.
const (
	Opportunistic TLSMode = iota
	Required              // a certificate that verifies, or no delivery
)

// String returns the mode's name.
func (m TLSMode) String() string {
	if m == Required {
		return "required"
	}
	return "opportunistic"
}

// TLS is what a hop must meet.
type TLS struct {
	Mode  TLSMode
	Name  string         // that the certificate must hold; "": the hop's host
	Roots *x509.CertPool // nil: the system's
}

// Hop is one host to hand mail to.
type Hop struct {
	Protocol Protocol
	Host     string // name or address, as configured or as in the MX; "" for a path
	Port     uint16
	Path     string           // LMTP: a unix socket; Maildir: the directory
	Addrs    []netip.AddrPort // filled in by Router, in the order to try them
	TLS      TLS
	User     string       // AUTH, over TLS only; "": none
	Secret   secret.Value // its password
	Static   bool         // configured, not found in the DNS
}

// String names the hop for people: "smtp://mx.example:25". No secret.
func (h Hop) String() string {
	if h.Path != "" {
		return h.Protocol.String() + ":" + h.Path
	}
	host := h.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s://%s:%d", h.Protocol, host, h.Port)
}

// ParseHop reads a next hop: "smtp://10.0.0.5:25", "smtps://user@relay.test",
// "lmtp://[::1]:24", "lmtp:/run/dovecot/lmtp", "maildir:PATH". Ports default to
// 25, 465 and 24. A relative PATH is left so. What asks for TLS at any rate
// asks for a certificate that verifies: smtps, and any hop with a user.
func ParseHop(s string) (Hop, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return Hop{}, fmt.Errorf("next hop %q: want smtp://HOST:PORT, smtps://…, lmtp://… or maildir:PATH", said(s))
	}
	switch scheme {
	case "smtp", "smtps", "lmtp":
		if scheme == "lmtp" && !strings.HasPrefix(rest, "//") || strings.HasPrefix(rest, "///") {
			return parsePath(s, scheme, strings.TrimPrefix(rest, "//"))
		}
		return parseHost(s)
	case "maildir":
		return parsePath(s, scheme, rest)
	}
	return Hop{}, fmt.Errorf("next hop %q: unknown protocol (smtp, smtps, lmtp or maildir)", said(s))
}

// said is a text that is no next hop as an error may repeat it: not if somebody
// could have put a password into it.
func said(s string) string {
	if !strings.ContainsAny(s, "@?#") {
		return s
	}
	if scheme, _, ok := strings.Cut(s, "://"); ok && !strings.ContainsAny(scheme, "@?#:") {
		return scheme + "://…"
	}
	return "…"
}

func parsePath(s, scheme, path string) (Hop, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return Hop{}, fmt.Errorf("next hop %q: no path", said(s))
	}
	switch scheme {
	case "lmtp":
		return Hop{Protocol: LMTP, Path: filepath.Clean(path)}, nil
	case "maildir":
		return Hop{Protocol: Maildir, Path: filepath.Clean(path)}, nil
	}
	return Hop{}, fmt.Errorf("next hop %q: no host", said(s))
}

var defaultPorts = map[string]struct {
	protocol Protocol
	port     uint16
}{"smtp": {SMTP, 25}, "smtps": {SMTPS, 465}, "lmtp": {LMTP, 24}}

func parseHost(s string) (Hop, error) {
	u, err := url.Parse(s)
	if err != nil {
		// The error of url.Parse repeats the text, which may hold a password.
		return Hop{}, fmt.Errorf("next hop: malformed, want smtp://HOST:PORT")
	}
	if _, has := u.User.Password(); has {
		return Hop{}, fmt.Errorf("next hop %s://…: a password does not belong here (use the secret key)", u.Scheme)
	}
	if u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return Hop{}, fmt.Errorf("next hop %q: nothing may follow the port", said(s))
	}
	of := defaultPorts[u.Scheme]
	h := Hop{Protocol: of.protocol, Port: of.port, Host: strings.ToLower(u.Hostname()), User: u.User.Username()}
	if h.Host == "" {
		return Hop{}, fmt.Errorf("next hop %q: no host", said(s))
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return Hop{}, fmt.Errorf("next hop %q: bad port", said(s))
		}
		h.Port = uint16(n)
	}
	if h.Protocol == SMTPS || h.User != "" {
		h.TLS.Mode = Required
	}
	return h, nil
}
