package lab_test

import (
	"fmt"
	"strings"
	"testing"

	"postern/internal/lab"
)

// TestMailClients has the programs that people send mail with log in, in each
// their own way: by the mechanism that they choose by themselves, on both ports,
// with the account's password and with one for a program.
func TestMailClients(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		beta := betaPostfix(l)
		edge := alphaPostern(l, tree(l, ""))
		edge.AddUser("ann@alpha.lab", password)
		c := &clients{l: l, edge: edge, beta: beta}

		l.Step("with the account's own password", func() {
			c.all(password, "by=password")
		})
		app := strings.TrimSpace(edge.Run("user", "app-password", "ann@alpha.lab", "--name", "programs").Want(0).Stdout)
		l.Step("with the password of a program", func() {
			c.all(app, "")
		})
		l.Step("by SCRAM where a client has it", func() {
			c.sent("msmtp, SCRAM", `by="proof of an app"`, func(subject string) lab.Output { return c.msmtp("scram-sha-256", 587, app, subject) })
			c.sent("Postfix, SCRAM", `by="proof of an app"`, func(subject string) lab.Output { return c.postfix("SCRAM-SHA-256", app, subject) })
			cb := map[string][]string{"SCRAM-SHA-256": {"--no-cb"}}
			for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} {
				from := edge.Log.Mark()
				if out := c.gsasl(mechanism, app, cb[mechanism]...); !out.Has("235 2.7.0") {
					l.T().Errorf("%s: refused:\n%s", mechanism, out)
				}
				edge.Log.Wait(from, "login", "ann@alpha.lab", `by="proof of an app"`)
			}
			c.sent("Python, bound to the certificate", `by="proof of an app"`, func(subject string) lab.Output { return c.python(scramPython, 465, app, subject) })
		})
		l.Step("whoever uses SCRAM with the account's own password reads why it fails", func() {
			const why = "SCRAM takes app passwords alone"
			if out := c.msmtp("scram-sha-256", 587, password, "closed"); out.Code == 0 || !out.Has(why) {
				l.T().Errorf("msmtp:\n%s", out)
			}
			// By itself msmtp takes PLAIN where there is TLS; Postfix does not.
			c.sent("msmtp beside SCRAM", "by=password", func(s string) lab.Output { return c.msmtp("on", 587, password, s) })
			branch := c.branch("", password)
			branch.Send("ann@alpha.lab", "bob@beta.lab", byProgram("closed"))
			branch.Log.Wait(0, "status=deferred", why)
			branch.Kill9()
		})
		l.Step("and pass where the listener leaves SCRAM out", func() {
			edge.Write("postern.toml", strings.ReplaceAll(alphaConfig, `transport = ["starttls"]`, "transport = [\"starttls\"]\nscram = false"))
			edge.Reload().Want(0)
			c.sent("Postfix, no SCRAM", "by=password", func(s string) lab.Output { return c.postfix("", password, s) })
			edge.Write("postern.toml", alphaConfig)
			edge.Reload().Want(0)
		})
		l.Step("and not otherwise", func() {
			for name, out := range map[string]lab.Output{
				"SCRAM with the account's own": c.msmtp("scram-sha-256", 587, password, "closed"),
				"PLUS with the account's own":  c.gsasl("SCRAM-SHA-256-PLUS", password),
				"not bound where it could be":  c.gsasl("SCRAM-SHA-256", app), // RFC 5802, Section 6
				"a wrong password":             c.curl("smtps", 465, "guess", "closed"),
				"bound to another certificate": c.python(strings.Replace(scramPython, "sha256(cert)", "sha256(cert + b'x')", 1), 465, app, "closed"),
			} {
				if out.Code == 0 || out.Has("235 2.7.0") {
					l.T().Errorf("%s: let in:\n%s", name, out)
				}
			}
			edge.Run("user", "app-password", "ann@alpha.lab", "--name", "programs", "--remove").Want(0)
			if out := c.curl("smtps", 465, app, "closed"); out.Code == 0 {
				l.T().Errorf("a password that was taken away:\n%s", out)
			}
		})
		l.Step("what was refused did not arrive", func() {
			for _, m := range beta.All() {
				if m.Header("Subject") == "closed" {
					l.T().Errorf("arrived:\n%s", m.Raw)
				}
			}
		})
		edge.Run("user", "show", "ann@alpha.lab").Want(0, "login at", "from 203.0.113.66", "failures")
	})
}

// clients are programs at the stranger's address, and where their mail comes out.
type clients struct {
	l    *lab.Lab
	edge *lab.Postern
	beta *lab.Postfix
	n    int
}

// all has every client send a mail by what it chooses itself.
func (c *clients) all(secret, by string) {
	c.l.T().Helper()
	for _, port := range []int{465, 587} {
		scheme := map[int]string{465: "smtps", 587: "smtp"}[port]
		for name, send := range map[string]func(subject string) lab.Output{
			"msmtp":   func(s string) lab.Output { return c.msmtp("on", port, secret, s) },
			"curl":    func(s string) lab.Output { return c.curl(scheme, port, secret, s) },
			"smtplib": func(s string) lab.Output { return c.python(plainPython, port, secret, s) },
			"swaks":   func(s string) lab.Output { return c.swaks(port, secret, s) },
		} {
			c.sent(fmt.Sprintf("%s, port %d", name, port), by, send)
		}
	}
	c.sent("Postfix", by, func(s string) lab.Output { return c.postfix("", secret, s) })
}

// sent checks that a client got in as it should, and that its mail came out.
func (c *clients) sent(name, by string, send func(subject string) lab.Output) {
	c.l.T().Helper()
	c.n++
	subject := fmt.Sprintf("mail %d by %s", c.n, strings.ReplaceAll(name, ",", ""))
	from := c.edge.Log.Mark()
	out := send(subject)
	if out.Code != 0 {
		c.l.T().Errorf("%s:\n%s", name, out)
		return
	}
	c.edge.Log.Wait(from, "login", "ann@alpha.lab", by)
	c.beta.ReceiveWhere(subject, func(m *lab.Message) bool { return m.Header("Subject") == subject })
}

func byProgram(subject string) string {
	return "From: ann@alpha.lab\nTo: bob@beta.lab\nSubject: " + subject + "\n\nWritten by a program.\n"
}

func (c *clients) msmtp(auth string, port int, secret, subject string) lab.Output {
	c.l.T().Helper()
	args := []string{
		"--host=" + alphaMX, fmt.Sprintf("--port=%d", port), "--source-ip=" + stranger, "--tls=on", "--tls-certcheck=off", "--auth=" + auth,
		"--user=ann@alpha.lab", "--passwordeval=echo " + secret, "--from=ann@alpha.lab", "--timeout=15",
	}
	if port == 465 {
		args = append(args, "--tls-starttls=off")
	}
	return c.l.Tool("msmtp", "msmtp", byProgram(subject), append(args, "bob@beta.lab")...)
}

func (c *clients) curl(scheme string, port int, secret, subject string) lab.Output {
	c.l.T().Helper()
	return c.l.Tool("curl", "curl", byProgram(subject), "--silent", "--show-error", "--insecure", "--ssl-reqd", "--max-time", "15",
		"--interface", stranger, fmt.Sprintf("%s://%s:%d/pc.home.lab", scheme, alphaMX, port), "--user", "ann@alpha.lab:"+secret,
		"--mail-from", "ann@alpha.lab", "--mail-rcpt", "bob@beta.lab", "--upload-file", "-", "--crlf")
}

func (c *clients) swaks(port int, secret, subject string) lab.Output {
	c.l.T().Helper()
	tls := map[int]string{465: "--tlsc", 587: "--tls"}[port]
	return c.l.Swaks(tls, "--port", fmt.Sprint(port), "--server", alphaMX, "--local-interface", stranger, "--ehlo", "pc.home.lab",
		"--auth", "--auth-user", "ann@alpha.lab", "--auth-password", secret, "--from", "ann@alpha.lab", "--to", "bob@beta.lab",
		"--header", "Subject: "+subject)
}

// branch is an office elsewhere whose mail server logs in like anybody.
func (c *clients) branch(mechanism, secret string) *lab.Postfix {
	c.l.T().Helper()
	settings := map[string]string{
		"smtp_sasl_auth_enable": "yes", "smtp_sasl_security_options": "noanonymous", "smtp_tls_security_level": "encrypt",
		"smtp_sasl_password_maps":    fmt.Sprintf("inline:{{[%s]:587=ann@alpha.lab:%s}}", alphaMX, secret),
		"smtp_sasl_mechanism_filter": mechanism,
	}
	c.n++
	return c.l.Postfix(lab.PostfixConfig{Host: fmt.Sprintf("branch%d.home.lab", c.n), Address: stranger, Relayhost: "[" + alphaMX + "]:587", Settings: settings})
}

func (c *clients) postfix(mechanism, secret, subject string) lab.Output {
	c.l.T().Helper()
	branch := c.branch(mechanism, secret)
	branch.Send("ann@alpha.lab", "bob@beta.lab", byProgram(subject))
	branch.Log.Wait(0, "status=sent", alphaMX)
	branch.Kill9()
	return lab.Output{}
}

// gsasl logs in and sends nothing; it binds to the channel by tls-exporter, unless
// told not to. Its exit status says more of how the connection ended than of the
// login.
func (c *clients) gsasl(mechanism, secret string, more ...string) lab.Output {
	c.l.T().Helper()
	return c.l.Tool("gsasl", "gsasl", "QUIT\r\n", append([]string{
		"--client", "--smtp", "--connect", alphaMX + ":587", "--starttls", "--x509-ca-file=",
		"--mechanism", mechanism, "--authentication-id", "ann@alpha.lab", "--authorization-id", "", "--password", secret,
	}, more...)...)
}

func (c *clients) python(script string, port int, secret, subject string) lab.Output {
	c.l.T().Helper()
	return c.l.Python(script, byProgram(subject), alphaMX, fmt.Sprint(port), stranger, secret)
}

const plainPython = `
	import smtplib, ssl, sys
	host, port, source, secret = sys.argv[1:]
	tls = ssl._create_unverified_context()
	if port == "465":
	    s = smtplib.SMTP_SSL(host, int(port), "pc.home.lab", context=tls, timeout=15, source_address=(source, 0))
	else:
	    s = smtplib.SMTP(host, int(port), "pc.home.lab", timeout=15, source_address=(source, 0))
	    s.starttls(context=tls)
	s.login("ann@alpha.lab", secret)
	s.sendmail("ann@alpha.lab", ["bob@beta.lab"], sys.stdin.read())
	s.quit()
	`

// scramPython binds to the server's certificate: Python shows no more of TLS.
const scramPython = `
	import base64, hashlib, hmac, os, smtplib, ssl, sys
	host, port, source, secret = sys.argv[1:]
	s = smtplib.SMTP_SSL(host, int(port), "pc.home.lab", context=ssl._create_unverified_context(), timeout=15, source_address=(source, 0))
	s.ehlo()
	def sha256(b): return hashlib.sha256(b).digest()
	def mac(k, m): return hmac.new(k, m, hashlib.sha256).digest()
	cert = s.sock.getpeercert(binary_form=True)
	header = b"p=tls-server-end-point,,"
	bare = b"n=ann@alpha.lab,r=" + base64.b64encode(os.urandom(18))
	code, text = s.docmd("AUTH", "SCRAM-SHA-256-PLUS " + base64.b64encode(header + bare).decode())
	assert code == 334, (code, text)
	server = base64.b64decode(text)
	parts = dict(p.split(b"=", 1) for p in server.split(b","))
	salted = hashlib.pbkdf2_hmac("sha256", secret.encode(), base64.b64decode(parts[b"s"]), int(parts[b"i"]))
	without = b"c=" + base64.b64encode(header + sha256(cert)) + b",r=" + parts[b"r"]
	message = bare + b"," + server + b"," + without
	key = mac(salted, b"Client Key")
	proof = bytes(a ^ b for a, b in zip(key, mac(sha256(key), message)))
	code, text = s.docmd(base64.b64encode(without + b",p=" + base64.b64encode(proof)).decode())
	assert code == 334, (code, text)
	assert base64.b64decode(text) == b"v=" + base64.b64encode(mac(mac(salted, b"Server Key"), message)), text
	code, text = s.docmd("")
	assert code == 235, (code, text)
	s.sendmail("ann@alpha.lab", ["bob@beta.lab"], sys.stdin.read())
	s.quit()
	`
