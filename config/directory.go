package config

import (
	"fmt"
	"slices"
	"strings"

	"postern/internal/mail/ldap"
)

// directories reads [mail.ldap.NAME].
func (b *builder) directories(s table) {
	for _, name := range s.names() {
		t := s.sub(name)
		if t.n == nil {
			continue
		}
		if !isPlainName(name) {
			b.file.errorAt(t.at, fmt.Sprintf("bad directory name %q", name), "want letters, digits, - and _")
			continue
		}
		d := Directory{
			Name: name, Plain: t.text("tls") == "none", CertName: canonical(t.text("name")), CA: b.filePath(t, "ca"),
			Base: t.text("base"), Timeout: t.duration("timeout"), filter: t.text("filter"),
		}
		if n := t.written("base"); n != nil && n.text == "" {
			b.file.errorAt(n.at, fmt.Sprintf("the directory %q has an empty base", name), "the DN below which people are")
		}
		d.Filter, _ = ldap.ParseFilter(d.filter) // whose faults are told of already
		b.directoryServers(t, &d)
		b.directoryLogin(t, &d)
		b.checked.Mail.Directories = append(b.checked.Mail.Directories, d)
	}
	slices.SortFunc(b.checked.Mail.Directories, func(a, c Directory) int { return strings.Compare(a.Name, c.Name) })
}

func (b *builder) directoryServers(t table, d *Directory) {
	if n := t.written("servers"); n != nil && len(n.items) == 0 {
		b.file.errorAt(n.at, fmt.Sprintf("the directory %q has no servers", d.Name), `like ["ldaps://ldap.inner.test"]`)
	}
	for _, n := range t.list("servers") {
		s, _, _ := parseDirectory(n.text)
		d.Servers = append(d.Servers, s)
		if s.Scheme == "ldaps" && d.Plain {
			b.file.errorAt(n.at, fmt.Sprintf("the directory %q is asked in TLS here, but tls is \"none\"", d.Name), "want ldap://, or leave tls out")
		}
	}
}

// directoryLogin reads user and secret, which go together. A password without a
// user would be nobody's, and one in the clear everybody's.
func (b *builder) directoryLogin(t table, d *Directory) {
	user, ref := t.written("user"), t.written("secret")
	switch {
	case user != nil && ref == nil && t.n.field("secret") == nil:
		b.file.errorAt(user.key, fmt.Sprintf("the directory %q has a user without a secret", d.Name), `like secret = "file:PATH"`)
	case user == nil && ref != nil:
		b.file.errorAt(ref.key, fmt.Sprintf("the directory %q has a secret without a user", d.Name), "")
	case user != nil && user.text == "":
		b.file.errorAt(user.at, "user is empty", "leave it out")
	case user != nil && d.Plain:
		b.file.errorAt(user.key, fmt.Sprintf("the directory %q would get its password in the clear", d.Name), `leave tls = "none" out`)
	}
	d.User = t.text("user")
	if ref != nil {
		d.Secret = b.secret(ref)
	}
}

// directoryAt returns the directory that a route names, if there is one.
func (b *builder) directoryAt(route table, name string) string {
	var names []string
	for _, d := range b.checked.Mail.Directories {
		if names = append(names, d.Name); d.Name == name {
			return name
		}
	}
	if b.root.n.field("mail").field("ldap").field(name) == nil {
		b.file.errorAt(route.where("recipients"), fmt.Sprintf("there is no directory %q", name), meant(name, names, "add ["+dotted([]string{"mail", "ldap", name})+"]"))
	}
	return ""
}

func (b *builder) unusedDirectories(s table) {
	for _, d := range b.checked.Mail.Directories {
		if !slices.ContainsFunc(b.checked.Mail.Routes, func(r Route) bool { return r.Directory == d.Name }) {
			b.file.warnAt(s.sub(d.Name).at, fmt.Sprintf("nobody asks the directory %q", d.Name), fmt.Sprintf(`recipients = "ldap:%s" in a [mail.route]`, d.Name))
		}
	}
}
