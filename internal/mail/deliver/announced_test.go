package deliver

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"postern/internal/mail/route"
)

// RFC 8689, Section 4.2.1: a message that was sent with REQUIRETLS goes only
// where TLS is verified and REQUIRETLS is announced, and says so; elsewhere it
// fails, as no wait will mend that.
func TestRequireTLS(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t, "mx1.example")
	demand := func(h *route.Hop) { h.TLS = route.TLS{Mode: route.Required, Roots: pool} }
	both := []string{"STARTTLS", "REQUIRETLS"}
	for _, c := range []struct {
		name   string
		server *server
		hop    func(*route.Hop)
		want   Outcome
	}{
		{"in the clear", &server{ext: []string{"REQUIRETLS"}}, nil, Failed},
		{"unverified", &server{ext: both, tls: serverTLS(cert)}, nil, Failed},
		{"verified, not announced", &server{ext: both[:1], tls: serverTLS(cert)}, demand, Failed},
		{"announced in the clear alone, TLS refused", &server{ext: both, say: map[string]string{"starttls": "454 no"}}, demand, Deferred},
		{"verified and announced", &server{ext: both, tls: serverTLS(cert)}, demand, Delivered},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := job(1, "b@example.net")
				j.Envelope.RequireTLS = true
				if c.hop != nil {
					c.hop(&j.Hops[0])
				}
				r := client(world{first: c.server}).Deliver(context.Background(), j).Results[0]
				if r.Outcome != c.want || c.want == Failed && r.Enhanced != "5.7.30" {
					t.Errorf("%+v", r)
				}
				if said := strings.Contains(c.server.told(), " REQUIRETLS"); said != (c.want == Delivered) || !said && strings.Contains(c.server.told(), "MAIL") {
					t.Errorf("said %s", c.server.told())
				}
			})
		})
	}
}

// What a configured host announced last is remembered; hosts of the world and
// maildirs are not.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := client(world{first: {ext: []string{"SMTPUTF8", "SIZE 1000", "REQUIRETLS"}}})
		c.cfg.Announced = &Announced{}
		j := job(1, "b@example.net")
		c.Deliver(context.Background(), j)
		if can, known := c.cfg.Announced.Of(j.Hops[0]); known {
			t.Errorf("%+v of a host of the world", can)
		}
		j.Hops[0].Static = true
		c.Deliver(context.Background(), j)
		if can, known := c.cfg.Announced.Of(j.Hops[0]); !known || can != (Abilities{UTF8: true, Size: 1000}) {
			t.Errorf("%+v, %v; REQUIRETLS in the clear is no promise", can, known)
		}
		if can, known := c.cfg.Announced.Of(route.Hop{Protocol: route.Maildir, Path: "/mail"}); !known || !can.RequireTLS {
			t.Errorf("%+v", can)
		}
		var none *Announced
		if _, known := none.Of(j.Hops[0]); known {
			t.Error("nothing remembers nothing")
		}
		full := &Announced{said: map[string]Abilities{}}
		for i := range maxAnnounced {
			full.said[string(rune(i))] = Abilities{}
		}
		c.cfg.Announced = full
		c.Deliver(context.Background(), j)
		if len(full.said) != maxAnnounced {
			t.Errorf("%d hosts remembered", len(full.said))
		}
	})
}

// RFC 3461: a host that announced DSN tells of success itself.
func TestTells(t *testing.T) {
	t.Parallel()
	for ext, want := range map[string]bool{"DSN": true, "SIZE 1000": false} {
		synctest.Test(t, func(t *testing.T) {
			r := client(world{first: {ext: []string{ext}}}).Deliver(context.Background(), job(1, "b@example.net")).Results[0]
			if r.Outcome != Delivered || r.Tells != want {
				t.Errorf("%s: %+v", ext, r)
			}
		})
	}
}
