package spf

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/lookup"
	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/address"
)

var (
	client = netip.MustParseAddr("192.0.2.1")
	world  = lookuptest.Map{
		"good.example TXT":           {"v=spf1 ip4:192.0.2.1 -all", "other text"},
		"bad.example TXT":            {"v=spf1 -all"},
		"two.example TXT":            {"v=spf1 -all", "v=spf1 +all"},
		"broken.example TXT":         {"SERVFAIL"},
		"list.example TXT":           {"v=spf1 a:hosts.list.example -all"},
		"hosts.list.example A":       {"192.0.2.1"},
		"via.example TXT":            {"v=spf1 include:broken.example -all"},
		"ptr.example TXT":            {"v=spf1 ptr -all"},
		"host.ptr.example A":         {"192.0.2.1"},
		"1.2.0.192.in-addr.arpa PTR": {"host.ptr.example."},
		"long.example TXT":           {padded("v=spf1 ip4:192.0.2.1 -all", maxRecord)},
		"longer.example TXT":         {padded("v=spf1 ip4:192.0.2.1 -all", maxRecord+1)},
		"vialonger.example TXT":      {"v=spf1 include:longer.example -all"},
		"text.example TXT":           {"v=spf1 ip4:192.0.2.1 -all", strings.Repeat("x", 60000)},
	}
)

// padded makes a record longer by terms that match nobody.
func padded(record string, octets int) string {
	const term = " ip4:203.0.113.1"
	for octets-len(record) >= 2*len(term) {
		record += term
	}
	return record + " x=" + strings.Repeat("y", octets-len(record)-3)
}

func TestHELO(t *testing.T) {
	t.Parallel()
	for helo, want := range map[string]Status{
		"":               None,
		"localhost":      None, // RFC 7208, Section 4.3: one label
		"[192.0.2.1]":    None,
		"a..example":     None,
		"none.example":   None,
		"two.example":    PermError, // RFC 7208, Section 4.5
		"broken.example": TempError,
		"bad.example":    Fail,
		"Good.Example.":  Pass,
		"ptr.example":    Pass,
		"long.example":   Pass,
		"longer.example": PermError, // longer than we read
		"text.example":   Pass,      // what is not SPF may be long

		"vialonger.example": PermError,
	} {
		if got := CheckHELO(t.Context(), world, client, helo); got.Status != want || got.Identity != HELO {
			t.Errorf("HELO %q: %+v, want %s", helo, got, want)
		}
	}
}

func TestMailFrom(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from address.Address
		helo string
		want Result
	}{
		"null sender takes HELO (2.4)": {address.Address{}, "good.example", Result{HELO, Pass, "good.example", "matched ip4"}},
		"null sender, no HELO domain":  {address.Address{}, "x", Result{HELO, None, "", "HELO is not a domain name"}},
		"literal":                      {address.Address{Local: "a", Domain: "[192.0.2.1]"}, "good.example", Result{MailFrom, None, "[192.0.2.1]", "not a domain name"}},
		"fail":                         {address.Address{Local: "a", Domain: "bad.example"}, "good.example", Result{MailFrom, Fail, "bad.example", "matched all"}},
		"at sign in a quoted local part chooses no domain": {
			address.Address{Local: "a@good.example", Domain: "bad.example"},
			"x",
			Result{MailFrom, Fail, "bad.example", "matched all"},
		},
		"temporary failure below": {
			address.Address{Local: "a", Domain: "via.example"},
			"x",
			Result{MailFrom, TempError, "via.example", "look-up of broken.example: SERVFAIL"},
		},
	} {
		if got := CheckMailFrom(t.Context(), world, client, c.helo, c.from); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestMappedClient(t *testing.T) {
	t.Parallel()
	mapped := netip.MustParseAddr("::ffff:192.0.2.1")
	if got := CheckHELO(t.Context(), world, mapped, "list.example"); got.Status != Pass {
		t.Errorf("an IPv4 client on an IPv6 socket: %+v", got)
	}
	if got := CheckHELO(t.Context(), world, netip.Addr{}, "list.example"); got.Status != PermError {
		t.Errorf("no address: %+v", got)
	}
}

// silent never answers before the context ends.
type silent struct{}

func (silent) Query(ctx context.Context, name string, t lookup.Type) (lookup.Answer, error) {
	<-ctx.Done()
	return lookup.Answer{}, &lookup.Error{Name: name, Type: t, Temporary: true, Cause: ctx.Err()}
}

func TestTimeOut(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if got := CheckHELO(ctx, silent{}, client, "good.example"); got.Status != TempError || got.Explain != "time-out" {
		t.Errorf("RFC 7208, Section 4.6.4: got %+v", got)
	}
}

func TestReverse(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"192.0.2.10":  "10.2.0.192.in-addr.arpa",
		"2001:db8::1": "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := ReverseName(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %s", ip, got)
		}
	}
}
