package deliver

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"

	"postern/internal/mail/route"
	"postern/internal/secret"
)

func serverTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t, "mx1.example")
	other, _ := certificate(t, "other.example")
	old := serverTLS(cert)
	old.MaxVersion = tls.VersionTLS11
	demand := func(h *route.Hop) { h.TLS = route.TLS{Mode: route.Required, Roots: pool} }
	demandName := func(h *route.Hop) { h.TLS = route.TLS{Mode: route.Required, Roots: pool, Name: "mail.inner.test"} }
	demandIP := func(h *route.Hop) { demand(h); h.Host = "192.0.2.1" }
	smtps := func(h *route.Hop) { demand(h); h.Protocol = route.SMTPS }
	offers := []string{"STARTTLS"}
	for _, c := range []struct {
		name   string
		server *server
		hop    func(*route.Hop)
		want   Outcome
		tls    string // of the result
	}{
		{"RFC 7435: offered and taken, unverified", &server{ext: offers, tls: serverTLS(other)}, nil, Delivered, "TLS 1.3"},
		{"not offered", &server{}, nil, Delivered, ""},
		{"RFC 3207, 4: refused, on in plain", &server{ext: offers, say: map[string]string{"starttls": "454 not now"}}, nil, Delivered, ""},
		{"handshake fails, again in plain", &server{ext: offers, tls: old}, nil, Delivered, ""},
		{"server without certificate, again in plain", &server{ext: offers, tls: &tls.Config{}}, nil, Delivered, ""},

		{"required, not offered", &server{}, demand, Deferred, ""},
		{"required, refused", &server{ext: offers, say: map[string]string{"starttls": "454 not now"}}, demand, Deferred, ""},
		{"required, handshake fails", &server{ext: offers, tls: old}, demand, Deferred, ""},
		{"required, wrong name", &server{ext: offers, tls: serverTLS(cert)}, demandName, Deferred, ""},
		{"required, unknown issuer", &server{ext: offers, tls: serverTLS(other)}, demand, Deferred, ""},
		{"required and met", &server{ext: offers, tls: serverTLS(cert)}, demand, Delivered, "TLS 1.3"},
		{"required and met by address", &server{ext: offers, tls: serverTLS(cert)}, demandIP, Delivered, "TLS 1.3"},
		{"smtps", &server{smtps: true, tls: serverTLS(cert)}, smtps, Delivered, "TLS 1.3"},
		{"smtps, unknown issuer", &server{smtps: true, tls: serverTLS(other)}, smtps, Deferred, ""},
		{"smtps, but plain", &server{}, smtps, Deferred, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := job(1, "b@example.net")
				if c.hop != nil {
					c.hop(&j.Hops[0])
				}
				r := client(world{first: c.server}).Deliver(context.Background(), j).Results[0]
				if r.Outcome != c.want || r.TLS != c.tls {
					t.Errorf("%+v after %s", r, c.server.told())
				}
				if c.want == Deferred && strings.Contains(c.server.told(), "MAIL") {
					t.Errorf("mail was offered: %s", c.server.told())
				}
				if c.tls != "" && !c.server.smtps && strings.Count(c.server.told(), "EHLO") != 2 {
					t.Errorf("RFC 3207, 4.2: said %s", c.server.told())
				}
			})
		})
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t, "mx1.example")
	login := base64.StdEncoding.EncodeToString([]byte("\x00user\x00hunter2"))
	for _, c := range []struct {
		name   string
		server *server
		mode   route.TLSMode
		want   Outcome
		said   bool
	}{
		{"never in plain", &server{ext: []string{"AUTH PLAIN"}}, route.Opportunistic, Deferred, false},
		{"never to who is not verified", &server{ext: []string{"STARTTLS"}, tls: serverTLS(cert)}, route.Opportunistic, Deferred, false},
		{"refused: ours to mend", &server{ext: []string{"STARTTLS"}, tls: serverTLS(cert), say: map[string]string{"auth": "535 5.7.8 wrong"}}, route.Required, Deferred, true},
		{"refused with an echo", &server{ext: []string{"STARTTLS"}, tls: serverTLS(cert), say: map[string]string{"auth": "500 what is AUTH PLAIN " + login + "?"}}, route.Required, Deferred, true},
		{"refused with half of an echo", &server{ext: []string{"STARTTLS"}, tls: serverTLS(cert), say: map[string]string{"auth": "500 " + strings.ToUpper(login[3:20])}}, route.Required, Deferred, true},
		{"refused with the password", &server{ext: []string{"STARTTLS"}, tls: serverTLS(cert), say: map[string]string{"auth": "535 no (hunter2)"}}, route.Required, Deferred, true},
		{"ended with an echo", &server{ext: []string{"STARTTLS"}, tls: serverTLS(cert), say: map[string]string{"auth": "421 AUTH PLAIN " + login}}, route.Required, Deferred, true},
		{"taken", &server{ext: []string{"STARTTLS"}, tls: serverTLS(cert)}, route.Required, Delivered, true},
		{"not offered", &server{smtps: true, tls: serverTLS(cert)}, route.Required, Deferred, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := job(1, "b@example.net")
				hop := &j.Hops[0]
				hop.User, hop.Secret, hop.TLS = "user", secret.New([]byte("hunter2")), route.TLS{Mode: c.mode, Roots: pool}
				if c.server.smtps {
					hop.Protocol = route.SMTPS
				}
				r := client(world{first: c.server}).Deliver(context.Background(), j).Results[0]
				if r.Outcome != c.want || strings.Contains(c.server.told(), login) != c.said {
					t.Errorf("%+v after %s", r, c.server.told())
				}
				if text := strings.ToLower(r.Text); strings.Contains(text, strings.ToLower(login[3:20])) || strings.Contains(text, "hunter2") {
					t.Errorf("the result tells the password: %+v", r)
				}
			})
		})
	}
}
