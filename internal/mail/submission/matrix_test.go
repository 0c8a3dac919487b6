package submission

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"postern/internal/mail/smtpd"
)

// scram is a client of SCRAM-SHA-256 of our own making: Debian's tools have
// hardly any, and none that errs on purpose.
type scram struct {
	mechanism, flag, login, password string
	binding                          []byte

	bare, server string
	proof        []byte // what the server must say in the end
	done         bool
}

func (c *scram) Start() (string, []byte, error) {
	c.bare = "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(c.login) + ",r=" + rand.Text()
	return c.mechanism, []byte(c.flag + ",," + c.bare), nil
}

func (c *scram) Next(challenge []byte) ([]byte, error) {
	if c.proof != nil {
		if string(challenge) != "v="+base64.StdEncoding.EncodeToString(c.proof) {
			return nil, fmt.Errorf("the server does not know the password: %q", challenge)
		}
		c.done = true
		return []byte{}, nil
	}
	c.server = string(challenge)
	parts := strings.Split(c.server, ",")
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "r="+c.bare[strings.Index(c.bare, ",r=")+3:]) {
		return nil, fmt.Errorf("challenge %q", challenge)
	}
	salt, err1 := base64.StdEncoding.DecodeString(strings.TrimPrefix(parts[1], "s="))
	rounds, err2 := strconv.Atoi(strings.TrimPrefix(parts[2], "i="))
	salted, err3 := pbkdf2.Key(sha256.New, c.password, salt, rounds, sha256.Size)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	final := "c=" + base64.StdEncoding.EncodeToString(append([]byte(c.flag+",,"), c.binding...)) + "," + parts[0]
	message := c.bare + "," + c.server + "," + final
	key := keyed(salted, "Client Key")
	stored := sha256.Sum256(key)
	proof := make([]byte, sha256.Size)
	subtle.XORBytes(proof, key, keyed(stored[:], message))
	c.proof = keyed(keyed(salted, "Server Key"), message)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func keyed(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// other is a mechanism that we do not have.
type other struct{ name string }

func (o other) Start() (string, []byte, error)        { return o.name, nil, nil }
func (o other) Next(challenge []byte) ([]byte, error) { return nil, errors.New("asked to go on") }

// mechanisms of the matrix, by what the client does.
var mechanisms = map[string]func(c *smtp.Client, login, password string) sasl.Client{
	"PLAIN":            func(_ *smtp.Client, l, p string) sasl.Client { return sasl.NewPlainClient("", l, p) },
	"PLAIN, authzid":   func(_ *smtp.Client, l, p string) sasl.Client { return sasl.NewPlainClient(l, l, p) },
	"PLAIN for others": func(_ *smtp.Client, l, p string) sasl.Client { return sasl.NewPlainClient("boss@example.test", l, p) },
	"LOGIN":            func(_ *smtp.Client, l, p string) sasl.Client { return sasl.NewLoginClient(l, p) },
	"SCRAM": func(_ *smtp.Client, l, p string) sasl.Client {
		return &scram{mechanism: "SCRAM-SHA-256", flag: "n", login: l, password: p}
	},
	"SCRAM, y": func(_ *smtp.Client, l, p string) sasl.Client {
		return &scram{mechanism: "SCRAM-SHA-256", flag: "y", login: l, password: p}
	},
	"PLUS, exporter": func(c *smtp.Client, l, p string) sasl.Client {
		return &scram{mechanism: "SCRAM-SHA-256-PLUS", flag: "p=tls-exporter", login: l, password: p, binding: exporter(c)}
	},
	"PLUS, end point": func(c *smtp.Client, l, p string) sasl.Client {
		return &scram{mechanism: "SCRAM-SHA-256-PLUS", flag: "p=tls-server-end-point", login: l, password: p, binding: shownTo(c)}
	},
	"PLUS, somebody between": func(_ *smtp.Client, l, p string) sasl.Client {
		return &scram{mechanism: "SCRAM-SHA-256-PLUS", flag: "p=tls-exporter", login: l, password: p, binding: make([]byte, 32)}
	},
	"PLUS, tls-unique": func(c *smtp.Client, l, p string) sasl.Client {
		return &scram{mechanism: "SCRAM-SHA-256-PLUS", flag: "p=tls-unique", login: l, password: p, binding: exporter(c)}
	},
	"CRAM-MD5":    func(*smtp.Client, string, string) sasl.Client { return other{"CRAM-MD5"} },
	"SCRAM-SHA-1": func(*smtp.Client, string, string) sasl.Client { return other{"SCRAM-SHA-1"} },
}

func exporter(c *smtp.Client) []byte {
	if state, ok := c.TLSConnectionState(); ok {
		if key, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32); err == nil {
			return key
		}
	}
	return nil
}

func shownTo(c *smtp.Client) []byte {
	if state, ok := c.TLSConnectionState(); ok {
		sum := sha256.Sum256(state.PeerCertificates[0].Raw)
		return sum[:]
	}
	return nil
}

// logins is the matrix's inner table: mechanism, password and account, and what
// is said to them under TLS 1.2 and 1.3, on both ports. 235 is in.
var logins = []struct {
	mechanism, password, account string
	want                         int
}{
	{"PLAIN", "own", "enabled", 235},
	{"PLAIN", "app", "enabled", 235},
	{"PLAIN", "wrong", "enabled", 535},
	{"PLAIN", "removed app", "enabled", 535},
	{"PLAIN", "another's app", "enabled", 535},
	{"PLAIN", "own", "disabled", 535},
	{"PLAIN", "app", "disabled", 535},
	{"PLAIN", "own", "unknown", 535},
	{"PLAIN", "own", "locked", 454},
	{"PLAIN", "app", "locked", 454},
	{"PLAIN, authzid", "own", "enabled", 235},
	{"PLAIN for others", "own", "enabled", 535},
	{"LOGIN", "own", "enabled", 235},
	{"LOGIN", "app", "enabled", 235},
	{"LOGIN", "wrong", "enabled", 535},
	{"LOGIN", "own", "disabled", 535},
	{"LOGIN", "own", "unknown", 535},
	{"LOGIN", "own", "locked", 454},
	{"SCRAM", "own", "enabled", 535}, // only an app password has the keys
	{"SCRAM", "app", "enabled", 235},
	{"SCRAM", "wrong", "enabled", 535},
	{"SCRAM", "removed app", "enabled", 535},
	{"SCRAM", "another's app", "enabled", 535},
	{"SCRAM", "app", "disabled", 535},
	{"SCRAM", "app", "unknown", 535},
	{"SCRAM", "app", "locked", 454},
	{"SCRAM, y", "app", "enabled", 535}, // RFC 5802, Section 6
	{"PLUS, exporter", "app", "enabled", 235},
	{"PLUS, exporter", "own", "enabled", 535},
	{"PLUS, exporter", "wrong", "enabled", 535},
	{"PLUS, exporter", "app", "disabled", 535},
	{"PLUS, exporter", "app", "unknown", 535},
	{"PLUS, exporter", "app", "locked", 454},
	{"PLUS, end point", "app", "enabled", 235},
	{"PLUS, end point", "wrong", "enabled", 535},
	{"PLUS, end point", "app", "disabled", 535},
	{"PLUS, somebody between", "app", "enabled", 535},
	{"PLUS, tls-unique", "app", "enabled", 535},
	{"CRAM-MD5", "own", "enabled", 504},
	{"SCRAM-SHA-1", "app", "enabled", 504},
}

const lockedFrom = "127.0.0.1"

// matrix is an office with accounts in every state, and their passwords.
func matrix(t *testing.T, m smtpd.Mode) (o *office, passwords map[string]map[string]string) {
	t.Helper()
	o = open(t, m, nil)
	ctx := t.Context()
	passwords = map[string]map[string]string{}
	app := func(login, name string) string {
		p, err := o.users.AddApp(ctx, login, name)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, state := range []string{"disabled", "locked"} {
		if _, err := o.users.Create(ctx, state+"@example.test", password, nil); err != nil {
			t.Fatal(err)
		}
		passwords[state] = map[string]string{"own": password, "app": app(state+"@example.test", "phone")}
	}
	passwords["enabled"] = map[string]string{
		"own": password, "app": app(login, "phone"), "wrong": "wrong horse battery",
		"removed app": app(login, "laptop"), "another's app": passwords["locked"]["app"],
	}
	passwords["unknown"] = passwords["enabled"]
	if err := errors.Join(o.users.RemoveApp(ctx, login, "laptop"), o.users.Disable(ctx, "disabled@example.test")); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c, err := knock(t, o, lockedFrom, m, tls.VersionTLS13)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := code(c.Auth(sasl.NewPlainClient("", "locked@example.test", "wrong horse battery"))); n != 535 {
			t.Fatal(n)
		}
		_ = c.Close()
	}
	return o, passwords
}

// TestAuthMatrix: mechanism, version of TLS, port, state of the account, kind of
// password.
func TestAuthMatrix(t *testing.T) {
	t.Parallel()
	for port, mode := range map[string]smtpd.Mode{"465": smtpd.ImplicitTLS, "587": smtpd.STARTTLS} {
		o, passwords := matrix(t, mode)
		seat := 0
		for version, number := range map[string]uint16{"none": 0, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
			for _, l := range logins {
				name := fmt.Sprintf("port %s, TLS %s, %s, %s password, %s account", port, version, l.mechanism, l.password, l.account)
				who := map[string]string{"enabled": login}[l.account]
				if who == "" {
					who = l.account + "@example.test"
				}
				from := lockedFrom
				if l.account != "locked" { // each from a network of its own: no lockout but where it is meant
					seat++
					from = fmt.Sprintf("127.1.%d.1", seat)
				}
				c, err := knock(t, o, from, mode, number)
				switch {
				case version == "1.0" || version == "1.1" || version == "none" && port == "465":
					if err == nil {
						t.Errorf("%s: the connection stands", name)
						_ = c.Close()
					}
					continue
				case err != nil:
					t.Fatalf("%s: %v", name, err)
				}
				want := l.want
				if version == "none" {
					want = 530
				}
				try(t, name, c, mechanisms[l.mechanism](c, who, passwords[l.account][l.password]), want)
			}
		}
	}
}

// knock connects from that address with that version of TLS and no other.
func knock(t *testing.T, o *office, from string, mode smtpd.Mode, version uint16) (*smtp.Client, error) {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(t.Context(), "tcp", o.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
	switch {
	case version == 0 && mode == smtpd.ImplicitTLS:
		defer conn.Close()
		_, err := conn.Write([]byte("EHLO x\r\n"))
		answer, err2 := io.ReadAll(conn)
		return nil, fmt.Errorf("%q, %w", answer, errors.Join(err, err2, errors.New("no greeting")))
	case version == 0:
		return smtp.NewClient(conn), nil
	case mode == smtpd.ImplicitTLS:
		secure := tls.Client(conn, conf)
		return smtp.NewClient(secure), secure.HandshakeContext(t.Context())
	}
	c, err := smtp.NewClientStartTLS(conn, conf)
	if err != nil {
		return nil, err
	}
	return c, c.Hello("client.example.test") // only now is the handshake made
}

// try logs in and, once in, checks that mail is taken, and else that it is not.
func try(t *testing.T, name string, c *smtp.Client, m sasl.Client, want int) {
	t.Helper()
	defer c.Close()
	got := 235
	if err := c.Auth(m); err != nil {
		got, _ = code(err)
	}
	if got != want {
		t.Errorf("%s: %d, want %d", name, got, want)
	}
	if s, ok := m.(*scram); ok && s.done != (want == 235) {
		t.Errorf("%s: the server has proven that it knows the password: %v", name, s.done)
	}
	if err := c.Mail(login, nil); (err == nil) != (want == 235) {
		t.Errorf("%s: MAIL: %v", name, err)
	}
}

// SCRAM is offered when it can work, and -PLUS with it.
func TestMechanismsOffered(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, nil)
	offered := func() string {
		_, list := o.client(t).Extension("AUTH")
		return list
	}
	if got := offered(); got != "PLAIN LOGIN" {
		t.Errorf("without app passwords %q", got)
	}
	if _, err := o.users.AddApp(t.Context(), login, "phone"); err != nil {
		t.Fatal(err)
	}
	if got := offered(); got != "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN" {
		t.Errorf("with one %q", got)
	}
	if err := o.users.RemoveApp(t.Context(), login, "phone"); err != nil {
		t.Fatal(err)
	}
	if got := offered(); got != "PLAIN LOGIN" {
		t.Errorf("without it again %q", got)
	}
}

// A client that does not like our proof is not logged in.
func TestScramCancelledAtTheEnd(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, nil)
	p, err := o.users.AddApp(t.Context(), login, "phone")
	if err != nil {
		t.Fatal(err)
	}
	c := o.client(t)
	m := &doubter{scram{mechanism: "SCRAM-SHA-256", flag: "n", login: login, password: p}}
	if err := c.Auth(m); err == nil {
		t.Error("logged in")
	}
	if n, _ := code(c.Mail(login, nil)); n != 530 {
		t.Errorf("MAIL: %d", n)
	}
}

// doubter believes no server.
type doubter struct{ scram }

func (d *doubter) Next(challenge []byte) ([]byte, error) {
	if d.proof != nil {
		return nil, errors.New("not the server I know")
	}
	return d.scram.Next(challenge)
}
