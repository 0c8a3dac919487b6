package config

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"postern/internal/mail/ldap"
	"postern/internal/secret"
)

// Checked is a configuration the program may use. Domain names in it are lower
// case and without the final dot; paths are absolute; lists of prefixes hold
// what the names of [networks] stand for. It is not changed once made.
type Checked struct {
	Path string // the file, absolute; "" when it was not read from one

	Server   Server
	Networks map[string][]netip.Prefix // as written, and the built-in any, loopback, self
	Listen   []Listen
	DNS      DNS
	Views    []View   // in the order in which they are tried
	Keys     []Key    // by name
	Peers    []Peer   // by name
	Policies []Policy // by name; "standard" is always there
	Zones    []Zone   // by name
	// What a zone has where nothing is written for it; see Secondaries.
	ZoneDefault ZoneDefault
	Resolver    Resolver
	Mail        Mail
	Derived     Derived
	Accounts    Accounts
	Limits      Limits
	TLS         TLS

	file *File // what was written, for Effective
}

// Server is who we are and where we keep things.
type Server struct {
	Hostname string
	State    string // directory
	Control  string // path of the control socket
	Admins   []int  // uids besides root and our own
}

// Service is what a listener serves.
type Service string

// The services that can be listened for.
const (
	ServeDNS        Service = "dns"
	ServeMX         Service = "mx"
	ServeSubmission Service = "submission"
	ServeRelay      Service = "relay"
	ServeAdmin      Service = "admin"
)

// Listen is one entry of [[listen]].
type Listen struct {
	Serve      Service
	Addrs      []netip.AddrPort
	Transports []string       // dns: "udp", "tcp", "tls", "https", "quic"; submission: exactly one of "tls", "starttls"; else empty
	Views      []string       // dns: only these; empty: all
	Clients    []netip.Prefix // who may connect; empty: anyone
	Scram      bool           // submission: SCRAM is offered where anybody can use it
	Proxy      bool           // mail: each connection begins with a PROXY block
}

// DNS is [dns].
type DNS struct {
	Apply     string // "auto", "manual"
	Serial    string // "keep", "counter", "unixtime", "date"
	Lint      string // "serve", "strict"
	MaxChange int    // percent, 1 to 100
	RRL       Rate   // zero: off
	RRLTotal  Rate   // zero: off, as it is without RRL
	Updates   Rate   // of one key; zero: off
	Cookies   bool
	Source    []netip.Addr // of what peers are sent; empty: the system chooses
}

// View is one entry of [[view]].
type View struct {
	Name      string
	Clients   []netip.Prefix
	Any       bool     // Clients hold the whole of IPv4 or IPv6
	Keys      []string // TSIG keys of Checked.Keys
	Zones     string   // directory; "" when it has none of its own
	Overlay   string   // the view it lies over; ""
	Hide      []string
	HideTree  []string
	Recursion bool
}

// Key is [key."NAME"], a TSIG key.
type Key struct {
	Name      string
	Algorithm string       // "hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1"
	Secret    secret.Value // the octets themselves, not base64
}

// Zone is what [zone."NAME"] says about one zone.
type Zone struct {
	Name   string
	File   string // absolute, or relative to the zones directory of each view; "" for NAME.zone
	DNSSEC string // name of one of Checked.Policies, or "off"; "": as ZoneDefault
	Views  []ZoneView
}

// ZoneView is [zone."NAME".view.VIEW].
type ZoneView struct {
	View        string
	NoOverlay   bool     // overlay = "none": the zone of this view is a full copy
	Secondaries []string // names of Checked.Peers; nil: those of ZoneDefault
	Dynamic     []DynamicRule
	Primaries   []string // names of Checked.Peers, in the order in which they are tried; nil: it has a file
	Members     bool     // with Primaries: it is a catalog, and its members are zones here
	Catalog     string   // that it is a member of, or "none"; "": that of ZoneDefault
}

// ZoneDefault is [zone_default].
type ZoneDefault struct {
	DNSSEC string     // name of one of Checked.Policies, or "off"; "": zones are served as their files are
	Views  []ZoneView // with nothing but Secondaries and Catalog
}

// Policy is [dnssec.NAME].
type Policy struct {
	Name      string
	Algorithm string        // "ecdsap256sha256", "ecdsap384sha384", "ed25519", "rsasha256"
	Split     bool          // keys = "ksk+zsk"; else one key signs all
	NSEC3     bool          // denial = "nsec3"
	OptOut    bool          // only with NSEC3
	Validity  time.Duration // 0: "auto"
	ZONEMD    string        // "auto", "on", "off"
	// KeyLifetime is that of a CSK or KSK, ZoneKeyLifetime of a ZSK; 0: "manual".
	KeyLifetime, ZoneKeyLifetime time.Duration
	Standby                      bool // one more key of each kind
	CDS                          bool
	CheckDS                      bool
}

// Peer is [peer.NAME], another name server. It has keys or is ByAddress, never
// both, and neither only with Cert.
type Peer struct {
	Name      string
	Address   []netip.AddrPort // where it serves, for zones of which it is a primary
	Notify    []netip.AddrPort
	From      []netip.Prefix      // where it transfers from; empty, with keys only: anywhere
	Keys      []string            // of Checked.Keys; the first signs, all verify
	ByAddress bool                // insecure_by_address
	Transport string              // "tcp"; "tls": never otherwise
	Cert      []*x509.Certificate // with "tls": it shows one of these, or one that one of these has issued; empty: it shows none
	CertName  string              // a name in it; "": any

	// With "tls", of a primary: how it proves itself. A name, a pin, or Unverified.
	ServerName string
	ServerCA   []*x509.Certificate // empty: the system's
	ServerPins [][sha256.Size]byte
	Unverified bool         // verify = "none"
	Source     []netip.Addr // empty: DNS.Source
}

// Resolver is [resolver].
type Resolver struct {
	Validate          bool     // always false: what clients ask for is not validated yet
	RootHints         string   // path; "" for the built-in ones
	TrustAnchors      []string // DS and DNSKEY records as lines; none: the built-in ones
	Negative          []string // names at and below which nothing is validated
	Source            []netip.Addr
	CacheSize         int64  // bytes
	QNAMEMinimisation string // "off", "relaxed", "strict"
	Test              ResolverTest
}

// ResolverTest is [resolver.test]: knobs that no normal server has.
type ResolverTest struct {
	Written              bool // the table stands in the file
	UpstreamMap          map[netip.Addr]netip.AddrPort
	AllowPrivateUpstream bool
	Timeout              time.Duration // per try; 0: the resolver's own
	Skew                 time.Duration // of our clock, when signatures are judged
	IPv4, IPv6           bool
	EDNSSize             int
	CaseRandomisation    bool
	SpecialUse           bool
}

// Mail is [mail].
type Mail struct {
	Domains     []string
	Routes      []Route // by domain
	Inbound     Inbound
	Directories []Directory // by name
	Scanners    []Scanner   // in the order written
	Relays      []Relay     // in the order written
	Outbound    Outbound
	DKIM        DKIM
}

// Route is [mail.route."DOMAIN"].
type Route struct {
	Domain     string
	NextHops   []NextHop // tried in order
	TLS        string    // "opportunistic", "required"
	Name       string    // the name its certificate must bear; "": that of the hop
	CA         string    // path of a PEM file; "": the system's
	User       string    // to log in with; "": none
	Secret     secret.Value
	Recipients string // "any", "verify", "file", "ldap"
	List       string // path of the file, for "file"
	Directory  string // name of one of Mail.Directories, for "ldap"
}

// Directory is [mail.ldap.NAME].
type Directory struct {
	Name     string
	Servers  []NextHop // "ldap", "ldaps"; tried in order
	Plain    bool      // tls = "none": ldap is spoken in the clear, without User
	CertName string    // the name in its certificate; "": that of the server
	CA       string    // path of a PEM file; "": the system's
	User     string    // a DN; "": nobody
	Secret   secret.Value
	Base     string // a DN
	Filter   ldap.Filter
	Timeout  time.Duration

	filter string // as written
}

// Text is what it is asked for, without the secret.
func (d Directory) Text() string {
	var servers []string
	for _, s := range d.Servers {
		servers = append(servers, s.Scheme+"://"+net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	}
	return fmt.Sprintf("%s, plain %t, name %q, ca %q, user %q, base %q, filter %s", strings.Join(servers, " "), d.Plain, d.CertName, d.CA, d.User, d.Base, d.filter)
}

// NextHop is one place to hand mail to.
type NextHop struct {
	Scheme string // "smtp", "smtps", "lmtp", "maildir"
	Host   string // name or address, without brackets; "" for a path
	Port   int
	Path   string // absolute: a maildir, or for lmtp a socket
}

// Inbound is [mail.inbound].
type Inbound struct {
	MaxSize    int64
	SPF        bool
	DKIM       bool
	DMARC      bool
	Enforce    bool   // dmarc = "enforce"; else "monitor"
	Quarantine string // "hold", "tag"
	Blocklists []Blocklist
	Exceptions Exceptions
	Chunking   bool
	// Whose PROXY block and whose XCLIENT is believed; empty: nobody's.
	TrustedProxies, TrustedXClient []netip.Prefix
}

// Scanner is one entry of [[mail.scanner]].
type Scanner struct {
	Kind    string // "clamd", "rspamd"
	Network string // "unix", "tcp"
	Address string // absolute path, or address and port
	Accept  bool   // fail = "accept"; else "defer"
	Timeout time.Duration
	Doors   []string // "mx", "submission", "relay"
}

// Blocklist is an entry of mail.inbound.dnsbl.
type Blocklist struct {
	Zone    string
	Replies []netip.Prefix // in 127.0.0.0/8
}

// Exceptions is [mail.inbound.exceptions].
type Exceptions struct {
	Networks []netip.Prefix // of forwarders
	Domains  []string       // of forwarders
	Lists    []string
	Sealers  []string
}

// Relay is one entry of [[mail.relay]].
type Relay struct {
	Name        string
	Clients     []netip.Prefix      // empty, with Cert only: any address
	Cert        []*x509.Certificate // the certificate it shows, or an authority that has issued it; empty: none
	CertName    string              // a name in it; "": any
	Senders     []string            // address, "@domain", or "<>"
	Recipients  []string            // address or "@domain"; empty: anyone
	ForeignFrom string              // "refuse", "srs", "keep"
	Rate        Rate
}

// Outbound is [mail.outbound].
type Outbound struct {
	Mode   string // "deliver", "hold"
	Source []netip.Addr
	// What one account may send in a day: recipients, messages, and recipients
	// to whom it has never written.
	PerAccountPerDay, MessagesPerAccountPerDay, NewPerAccountPerDay int
}

// DKIM is [mail.dkim].
type DKIM struct {
	Algorithms []string // "rsa2048", "ed25519"
}

// Derived is [derived]: the records Postern may make itself.
type Derived struct {
	DKIM    bool
	DS      bool // of zones, in those above them
	Signals bool // "dsboot": of zones without a DS, in those of their name servers
}

// Accounts is [accounts].
type Accounts struct {
	MinLength int
	Lockout   Rate
	Reuse     int           // the last passwords that a new one must not be; 0: any may be
	MaxAge    time.Duration // of a password; 0: any
	Blocklist string        // the path of a list of refused passwords; "": none
}

// Limits is [limits]: of each mail listener.
type Limits struct {
	Exempt                []netip.Prefix // outside what counts by address
	Connections           int            // at once
	ConnectionsPerAddress int            // at once
	ConnectionsPerNetwork int            // at once, of a /24 or a /56
	ConnectionsPerAccount int            // at once
	RecipientsPerMessage  int
	MessagesPerConnection int
	ChunksPerMessage      int

	// Of one address, and of one network: new connections, refused commands,
	// recipients that there are not, octets of messages.
	ConnectionsPerMinute, NetworkConnectionsPerMinute int
	ErrorsPerMinute, NetworkErrorsPerMinute           int
	UnknownPerHour, NetworkUnknownPerHour             int
	BytesPerHour, NetworkBytesPerHour                 int64

	AccountBytesPerDay int64
	SessionTime        time.Duration
	GreetingDelay      time.Duration
}

// TLS is [tls].
type TLS struct {
	Issuer     string // "local", "files"
	Cert       string // path of a PEM chain, for "files"
	Key        string // path of its PEM key, which only its owner can read
	MinVersion string // "1.2", "1.3"
}

// Rate is so many in a window of time. The zero value is no limit.
type Rate struct {
	Count  int
	Window time.Duration
}
