package lab_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"postern/internal/lab"
)

// innerPeople is who is in the inner directory.
const innerPeople = `
	dn: dc=alpha,dc=lab
	objectClass: dcObject
	objectClass: organization
	dc: alpha
	o: Alpha

	dn: ou=people,dc=alpha,dc=lab
	objectClass: organizationalUnit
	ou: people

	dn: uid=ann,ou=people,dc=alpha,dc=lab
	objectClass: inetOrgPerson
	uid: ann
	cn: Ann
	sn: A
	mail: ann@alpha.lab
	mail: anna@alpha.lab

	dn: uid=carl,ou=people,dc=alpha,dc=lab
	objectClass: inetOrgPerson
	uid: carl
	cn: Carl
	sn: C
	mail: carl@alpha.lab
	employeeType: left

	dn: uid=eve,dc=alpha,dc=lab
	objectClass: inetOrgPerson
	uid: eve
	cn: Eve
	sn: E
	mail: eve@alpha.lab
	`

const innerReader = "cn=postern,dc=alpha,dc=lab"

// TestRecipientsByDirectory: OpenLDAP says who exists, by StartTLS and by ldaps.
func TestRecipientsByDirectory(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		in := tree(l, "")
		inner := l.Postfix(lab.PostfixConfig{Host: "inner.alpha.lab", Address: alphaInner, Domains: []string{"alpha.lab"}})
		ca := l.Issue(nil, "authority", false)
		slapd := l.Directory(lab.DirectoryConfig{
			Name: "slapd", Address: alphaInner, Paper: l.Issue(ca, "ldap.alpha.lab", false), Suffix: "dc=alpha,dc=lab",
			Reader: innerReader, Password: "hunter2", Records: innerPeople,
		})
		edge := alphaPosternWith(l, in, nil)
		const theirs = "(&(mail={address})(!(employeeType=left)))"
		set := func(servers, name, filter, password string) lab.Output {
			l.T().Helper()
			path := l.Write(edge.Path("run", "ldap"), password+"\n")
			if err := errors.Join(os.Chmod(path, 0o600), os.Chown(path, nobody, nobody)); err != nil {
				l.T().Fatal(err)
			}
			edge.Write("postern.toml", alphaWith(l, `recipients = "any"`, fmt.Sprintf(`recipients = "ldap:inner"

	[mail.ldap.inner]
	servers = [%s]
	name    = %q
	ca      = "file:%s"
	user    = %q
	secret  = "file:run/ldap"
	base    = "ou=people,dc=alpha,dc=lab"
	filter  = %q
	timeout = "2s"`, servers, name, ca.Cert, innerReader, filter)))
			return edge.Reload()
		}
		set(`"ldap://10.0.0.5:3890", "ldap://10.0.0.5"`, "ldap.alpha.lab", theirs, "hunter2")

		l.Step("who is in it is taken, and nobody else", func() {
			out := l.Swaks(rcpts("hello", "ann@alpha.lab", "Anna@alpha.lab", "ann+lists@alpha.lab", "carl@alpha.lab", "eve@alpha.lab", "nobody@alpha.lab")...).Want(0)
			if strings.Count(out.Stdout, "<** 550 5.1.1 ") != 3 || strings.Contains(out.Stdout, "10.0.0.5") {
				l.T().Errorf("dialogue:\n%s", out)
			}
			inner.ReceiveWhere("hello", func(m *lab.Message) bool { return m.Header("Subject") == "hello" })
			edge.Run("status").Want(0, "ldap")
		})

		l.Step("what an address holds is never part of the question", func() {
			for _, local := range []string{`*`, `a*`, `*)(uid=*`, `ann@alpha.lab)(|(uid=*`, `\2a`} {
				to := `"` + strings.ReplaceAll(local, `\`, `\\`) + `"@alpha.lab`
				out := l.Swaks("--server", alphaMX, "--local-interface", betaMX, "--ehlo", "mx.beta.lab", "--from", "bob@beta.lab", "--to", to, "--quit-after", "RCPT")
				if out.Code == 0 || !out.Has("<** 550 5.") {
					l.T().Errorf("%s:\n%s", local, out)
				}
			}
			// The others are refused before anybody is asked: they point further.
			if slapd.Questions(`(mail=\2A@alpha.lab)`) != 1 || slapd.Questions(`(mail=a\2A@alpha.lab)`) != 1 || slapd.Questions("uid=*") != 0 {
				l.T().Errorf("not asked as a value:\n%s", slapd.Log)
			}
		})

		l.Step("it is asked once, and in TLS", func() {
			for range 3 {
				l.Swaks(rcpts("again", "ann@alpha.lab")...).Want(0)
				l.Swaks(rcpts("again", "nobody@alpha.lab")...).Want(24)
			}
			// Ann was asked for twice: with a detail, and without.
			if a, n := slapd.Questions("mail=ann@alpha.lab"), slapd.Questions("mail=nobody@alpha.lab"); a != 2 || n != 1 {
				l.T().Errorf("asked %d and %d times", a, n)
			}
			for line := range strings.Lines(slapd.Log.String()) {
				if strings.Contains(line, "BIND dn=") && strings.HasSuffix(strings.TrimSpace(line), " ssf=0") {
					l.T().Errorf("logged in in the clear: %s", line)
				}
			}
		})

		l.Step("while it is down, who is known is taken and others are put off", func() {
			slapd.Kill9()
			mark := edge.Log.Mark()
			l.Swaks(rcpts("while down", "ann@alpha.lab")...).Want(0)
			l.Swaks(rcpts("stranger", "dora@alpha.lab")...).Want(24, "<** 450 4.4.3 ")
			edge.Log.Wait(mark, "the directory does not answer", "verify-silent")
			edge.Run("status").Want(1, "silent")
			edge.Restart()
			l.Swaks(rcpts("after a restart", "ann@alpha.lab")...).Want(0)
		})

		l.Step("when it is back, somebody new is found", func() {
			slapd.Start()
			slapd.Add(`
				dn: uid=dora,ou=people,dc=alpha,dc=lab
				objectClass: inetOrgPerson
				uid: dora
				cn: Dora
				sn: D
				mail: dora@alpha.lab
				`)
			l.Eventually("it is asked again", func() error {
				if out := l.Swaks(rcpts("hello dora", "dora@alpha.lab")...); out.Code != 0 {
					return fmt.Errorf("%s", out)
				}
				return nil
			})
		})

		l.Step("a wrong password is no answer", func() {
			slapd.Kill9() // what is open would be asked on
			slapd.Start()
			mark := edge.Log.Mark()
			set(`"ldap://10.0.0.5"`, "ldap.alpha.lab", theirs, "wrong")
			l.Swaks(rcpts("x", "zoe@alpha.lab")...).Want(24, "<** 450 4.4.3 ")
			edge.Log.Wait(mark, "verify-silent", "bind: invalid credentials")
		})

		l.Step("by ldaps; a certificate of somebody else is none; a filter that fits all is found", func() {
			mark := edge.Log.Mark()
			set(`"ldaps://10.0.0.5"`, "ldap.alpha.lab", theirs, "hunter2").Want(0, "directory inner")
			edge.Log.Wait(mark, "recipients are verified with the directory")
			l.Swaks(rcpts("x", "yves@alpha.lab")...).Want(24, "<** 550 5.1.1 ")
			mark = edge.Log.Mark()
			set(`"ldaps://10.0.0.5"`, "other.alpha.lab", theirs, "hunter2")
			edge.Log.Wait(mark, "verify-silent", "other.alpha.lab")
			mark = edge.Log.Mark()
			set(`"ldaps://10.0.0.5"`, "ldap.alpha.lab", "(|(mail={address})(uid=*))", "hunter2")
			edge.Log.Wait(mark, "accepts-anything", "the directory knows a name made up by chance")
			edge.Run("status").Want(1, "accepts-anything")
		})
	})
}
