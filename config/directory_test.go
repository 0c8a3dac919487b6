package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/mail/address"
)

// TestDirectory reads one with everything, and one with nothing that has a
// default. Neither shows its password.
func TestDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems := Parse([]byte(`
[mail]
domains = ["a.test", "b.test"]
[mail.route."a.test"]
next_hop = ["maildir:box"]
recipients = "ldap:whole"
[mail.route."b.test"]
next_hop = ["smtp://10.0.0.5"]
recipients = "ldap:plain"
[mail.ldap.whole]
servers = ["ldaps://LDAP.inner.test", "ldap://[fd00::7]:3890"]
name = "dc1.inner.test"
user = "cn=postern,dc=inner,dc=test"
secret = "file:password"
base = "ou=people,dc=inner,dc=test"
filter = "(|(mail={address})(proxyAddresses=smtp:{address}))"
timeout = "3s"
[mail.ldap.plain]
servers = ["ldap://127.0.0.1"]
tls = "none"
base = "dc=test"
`), "postern.toml", dir)
	if c == nil {
		t.Fatal(problems)
	}
	if r := c.Mail.Routes[0]; r.Recipients != "ldap" || r.Directory != "whole" || r.List != "" {
		t.Errorf("route %+v", r)
	}
	plain, whole := c.Mail.Directories[0], c.Mail.Directories[1]
	if !plain.Plain || plain.User != "" || plain.Timeout != 5*time.Second || plain.Servers[0].Port != 389 {
		t.Errorf("plain %+v", plain)
	}
	if whole.Plain || whole.Servers[0] != (NextHop{Scheme: "ldaps", Host: "ldap.inner.test", Port: 636}) || whole.Servers[1].Port != 3890 ||
		string(whole.Secret.Reveal()) != "hunter2" || whole.CertName != "dc1.inner.test" || whole.Timeout != 3*time.Second {
		t.Errorf("whole %+v", whole)
	}
	ann := address.Address{Local: "ann", Domain: "a.test"}
	if asked := string(whole.Filter.For(ann)); !strings.Contains(asked, "smtp:ann@a.test") {
		t.Errorf("asks %q", asked)
	}
	if asked := string(plain.Filter.For(ann)); !strings.Contains(asked, "mail") {
		t.Errorf("asks %q", asked)
	}
	for _, shown := range []string{string(Effective(c)), whole.Text()} {
		if strings.Contains(shown, "hunter2") || !strings.Contains(shown, "ldaps://") {
			t.Errorf("shows\n%s", shown)
		}
	}
}
