package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postern/internal/secret"
)

// builder makes a Checked of a tree that the schema has been held against, and
// checks what only the whole can show.
type builder struct {
	file    *File
	opts    Options
	root    table
	checked *Checked

	// For what zones, views and peers say together.
	defaults           []listing                // of all zones
	lists              map[string][]listing     // of each zone
	used               map[string]bool          // peers that some zone names
	primary, secondary map[string]bool          // as which
	signing            map[string]bool          // policies that some zone names
	dirs               map[string][]os.DirEntry // of views, as far as they were read
	catalogs           []listed                 // wherever one is named
}

func (b *builder) build() {
	b.server()
	b.networks()
	b.listeners()
	b.dns()
	b.keys()
	b.peers()
	b.policies()
	b.views()
	b.zoneDefaults()
	b.zones()
	b.resolver()
	b.mail()
	b.rest()
	b.checkListeners()
	b.checkViews()
	b.checkSecondaries()
	b.checkCatalogs()
	b.unusedPolicies()
}

func (b *builder) server() {
	s := b.root.sub("server")
	b.checked.Server = Server{
		Hostname: canonical(s.text("hostname")),
		State:    s.path("state", b.file.Dir),
		Control:  s.path("control", b.file.Dir),
	}
	for _, n := range s.list("admins") {
		b.checked.Server.Admins = append(b.checked.Server.Admins, int(n.number))
	}
}

// networks fills the named sets. "self" takes the addresses listened on, so
// they are read here before the listeners are.
func (b *builder) networks() {
	sets := map[string][]netip.Prefix{
		"any":      {netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		"loopback": {netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}
	b.checked.Networks = sets
	s := b.root.sub("networks")
	for _, name := range s.names() {
		n := s.written(name)
		switch {
		case name == "any" || name == "loopback" || name == "self":
			b.file.errorAt(n.key, fmt.Sprintf("the network %q is built in", name), "choose another name")
			continue
		case !isNetworkName(name):
			b.file.errorAt(n.key, fmt.Sprintf("bad network name %q", name), "want letters, digits, - and _")
			continue
		}
		sets[name] = []netip.Prefix{}
		for _, e := range s.list(name) {
			if p, ok := parsePrefix(e.text); ok {
				sets[name] = append(sets[name], p)
			}
		}
	}
	self := slices.Clone(sets["loopback"])
	own := slices.Clone(b.opts.OwnAddrs)
	for _, l := range b.root.each("listen") {
		for _, n := range l.list("address") {
			if a, err := netip.ParseAddrPort(n.text); err == nil {
				own = append(own, a.Addr())
			}
		}
	}
	for _, a := range own {
		a = a.Unmap()
		p := netip.PrefixFrom(a, a.BitLen())
		if a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !slices.Contains(self, p) {
			self = append(self, p)
		}
	}
	sets["self"] = self
}

// clients follows the names of networks in a list of client sets.
func (b *builder) clients(t table, name string) []netip.Prefix {
	var all []netip.Prefix
	for _, n := range t.list(name) {
		if !isNetworkName(n.text) {
			if p, ok := parsePrefix(n.text); ok {
				all = append(all, p)
			}
			continue
		}
		set, known := b.checked.Networks[n.text]
		if !known {
			n.bad = true
			b.file.errorAt(n.at, fmt.Sprintf("there is no network %q", n.text), meant(n.text, b.networkNames(), "name it in [networks]"))
			continue
		}
		all = append(all, set...)
	}
	return all
}

func (b *builder) networkNames() []string {
	var names []string
	for name := range b.checked.Networks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// meant is a hint for a reference to nothing.
func meant(name string, known []string, otherwise string) string {
	if near := closest(name, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return otherwise
}

func (b *builder) dns() {
	s := b.root.sub("dns")
	b.checked.DNS = DNS{Apply: s.text("apply"), Serial: s.text("serial"), Lint: s.text("lint")}
	b.checked.DNS.RRL, b.checked.DNS.RRLTotal, b.checked.DNS.Cookies = s.rate("rrl"), s.rate("rrl_total"), s.flag("cookies")
	b.checked.DNS.Updates = s.rate("updates")
	b.checked.DNS.Source = s.addresses("source")
	b.checked.DNS.MaxChange, _ = parsePercent(s.text("max_change"))
}

// addresses reads a list of plain addresses.
func (t table) addresses(name string) []netip.Addr {
	var all []netip.Addr
	for _, n := range t.list(name) {
		if a, err := netip.ParseAddr(n.text); err == nil {
			all = append(all, a.Unmap())
		}
	}
	return all
}

// readable makes a problem of a file that is named and cannot be read.
func (b *builder) readable(t table, name, path string) {
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		b.file.errorAt(t.where(name), fmt.Sprintf("cannot read %s: %v", path, reason(err)), "")
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		b.file.errorAt(t.where(name), path+" is a directory", "")
	}
}

// maxBlocklist is of the file, in octets.
const maxBlocklist = 256 << 20

// atMost makes a problem of a file that is larger.
func (b *builder) atMost(t table, name, path string, octets int64) {
	if info, err := os.Stat(path); path != "" && err == nil && info.Mode().IsRegular() && info.Size() > octets {
		b.file.errorAt(t.where(name), fmt.Sprintf("%s is larger than %d MiB", path, octets>>20), "keep the part that matters")
	}
}

// filePath reads "file:PATH" or PATH.
func (b *builder) filePath(t table, name string) string {
	path := absolute(strings.TrimPrefix(t.text(name), "file:"), b.file.Dir)
	b.readable(t, name, path)
	return path
}

func (b *builder) rest() {
	d := b.root.sub("derived")
	kinds := d.texts("publish")
	b.checked.Derived = Derived{DKIM: slices.Contains(kinds, "dkim"), DS: slices.Contains(kinds, "ds"), Signals: slices.Contains(kinds, "dsboot")}
	a := b.root.sub("accounts")
	b.checked.Accounts = Accounts{MinLength: a.count("min_length"), Lockout: a.rate("lockout"), Reuse: a.count("reuse"), Blocklist: b.filePath(a, "blocklist")}
	b.atMost(a, "blocklist", b.checked.Accounts.Blocklist, maxBlocklist)
	if age := a.text("max_age"); age != "off" {
		b.checked.Accounts.MaxAge, _ = parseDuration(age)
	}
	l := b.root.sub("limits")
	b.checked.Limits = Limits{
		Exempt:                b.clients(l, "exempt"),
		Connections:           l.count("connections"),
		ConnectionsPerAddress: l.count("connections_per_address"),
		ConnectionsPerNetwork: l.count("connections_per_network"),
		ConnectionsPerAccount: l.count("connections_per_account"),
		RecipientsPerMessage:  l.count("recipients_per_message"),
		MessagesPerConnection: l.count("messages_per_connection"),
		ChunksPerMessage:      l.count("chunks_per_message"),

		ConnectionsPerMinute: l.count("connections_per_minute"), NetworkConnectionsPerMinute: l.count("network_connections_per_minute"),
		ErrorsPerMinute: l.count("errors_per_minute"), NetworkErrorsPerMinute: l.count("network_errors_per_minute"),
		UnknownPerHour: l.count("unknown_recipients_per_hour"), NetworkUnknownPerHour: l.count("network_unknown_recipients_per_hour"),
		BytesPerHour: l.size("bytes_per_hour"), NetworkBytesPerHour: l.size("network_bytes_per_hour"),

		AccountBytesPerDay: l.size("account_bytes_per_day"),
		SessionTime:        l.duration("session_time"),
		GreetingDelay:      l.duration("greeting_delay"),
	}
	b.tls()
}

func (b *builder) tls() {
	s := b.root.sub("tls")
	t := TLS{Issuer: s.text("issuer"), MinVersion: s.text("min_version")}
	for _, name := range []string{"cert", "key"} {
		written := s.written(name)
		switch {
		case t.Issuer == "files" && s.n.field(name) == nil:
			b.file.errorAt(s.where("issuer"), `tls.issuer = "files" needs tls.`+name, map[string]string{"cert": `like cert = "edge.pem"`, "key": `like key = "file:edge.key"`}[name])
		case t.Issuer != "files" && written != nil:
			b.file.errorAt(written.key, fmt.Sprintf("tls.%s is of no use with issuer = %q", name, t.Issuer), `set issuer = "files"`)
		}
	}
	if s.written("cert") != nil {
		t.Cert = b.filePath(s, "cert")
	}
	if n := s.written("key"); n != nil {
		t.Key = b.keyFile(n)
	}
	b.checked.TLS = t
}

// keyFile returns the path behind a reference to a private key. The key itself
// is read by whoever uses it, again after each change; here only whether it
// may be.
func (b *builder) keyFile(n *node) string {
	scheme, rest, _ := strings.Cut(n.text, ":")
	if scheme == "env" {
		b.file.errorAt(n.at, "a key cannot come from the environment", `want "file:PATH" or "cred:NAME"`)
		return ""
	}
	if b.secret(n).IsZero() {
		return ""
	}
	if scheme == "cred" {
		return filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), rest)
	}
	return absolute(rest, b.file.Dir)
}

// secret follows a reference; there is a problem when it leads to nothing.
func (b *builder) secret(n *node) secret.Value {
	v, err := secret.Read(n.text, b.file.Dir)
	switch {
	case err != nil:
		message, hint := splitHint(err.Error())
		b.file.errorAt(n.at, message, hint)
	case v.IsZero():
		b.file.errorAt(n.at, fmt.Sprintf("secret %s is empty", n.text), "")
	}
	return v
}

// splitHint takes "(hint: …)" off the end of an error's text.
func splitHint(text string) (message, hint string) {
	message, rest, ok := strings.Cut(text, "(hint: ")
	if ok {
		return strings.TrimSpace(message), strings.TrimSuffix(rest, ")")
	}
	head, rest, ok := strings.Cut(text, "; hint: ")
	if ok {
		return head + ")", strings.TrimSuffix(rest, ")")
	}
	return text, ""
}
