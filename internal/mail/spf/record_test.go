package spf

import (
	"net/netip"
	"strings"
	"testing"

	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/address"
)

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, term := range strings.Fields(`moo all: all/8 +-all a: a:/24 a/33 a/032 a/-1 a/ a// a//129 a:b a:b.1 a:b.c- a:b.example/ mx:b.example/x
		include include: include:b.example/24 exists exists/24 ip4 ip4: ip4:1.2.3 ip4:1.2.3.4/33 ip4:1.2.3.4/ ip4:::1 ip4:1.2.3.4/24/8
		ip6:1.2.3.4 ip6:::1/129 ip6:fe80::1%eth0 ptr/24 redirect= redirect=b redirect=%{c}.example exp=%{r}.example foo=%abc foo=% foo=%{
		a:%{}.example a:%{x}.example a:%{d0}.example a:%{d;}.example a:%{d a:%{dxr}.example a:%d.example =x 1=x -foo=x`) {
		for _, txt := range []string{"v=spf1 " + term, "v=spf1 all " + term} { // Section 4.6: also behind a match
			if r, err := parse(txt); err == nil {
				t.Errorf("%q was read as %+v", txt, r)
			}
		}
	}
	for _, txt := range []string{"v=spf1 redirect=a.example redirect=b.example", "v=spf1 exp=a.example EXP=a.example"} {
		if _, err := parse(txt); err == nil {
			t.Errorf("%q was read", txt)
		}
	}
}

// TestIsRecord: RFC 7208, Section 4.5.
func TestIsRecord(t *testing.T) {
	t.Parallel()
	for txt, want := range map[string]bool{
		"v=spf1": true, "v=spf1 ": true, "V=SPF1 -all": true, "v=spf1 moo": true,
		"": false, "v=spf": false, "v=spf10": false, "v=spf1\t-all": false, " v=spf1": false, "v=spf1;-all": false, "spf2.0/pra -all": false,
	} {
		if isRecord(txt) != want {
			t.Errorf("%q: %t", txt, !want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	r, err := parse("v=spf1  -IP4:192.0.2.77/24 ~a:x/1.example/30//64 ?mx//0 foo.b_r-1=%{r}%% +exists:%{l1R-}.%{d} redirect=%{o}")
	if err != nil || len(r.mechanisms) != 4 || !r.redirects {
		t.Fatalf("%+v, %v", r, err)
	}
	ip, a, mx := r.mechanisms[0], r.mechanisms[1], r.mechanisms[2]
	if ip.result != Fail || ip.prefix != netip.MustParsePrefix("192.0.2.0/24") {
		t.Errorf("%+v", ip)
	}
	if a.result != SoftFail || a.bits4 != 30 || a.bits6 != 64 || a.target[0].literal != "x/1.example" {
		t.Errorf("%+v", a)
	}
	if mx.result != Neutral || mx.bits4 != 32 || mx.bits6 != 0 {
		t.Errorf("%+v", mx)
	}
}

// TestExpand are the examples of RFC 7208, Section 7.4, and what they leave out.
func TestExpand(t *testing.T) {
	t.Parallel()
	e := evaluation{
		ctx: t.Context(), r: lookuptest.Map{}, helo: "mx.example.org", client: netip.MustParseAddr("192.0.2.3"),
		local: "strong-bad", sender: "email.example.com",
	}
	six := e
	six.client = netip.MustParseAddr("2001:db8::cb01")
	utf8 := e
	utf8.local = "stärk"
	long := strings.Repeat("a23456789.", 30)
	for _, c := range []struct {
		e          evaluation
		spec, want string
	}{
		{e, "%{s}", "strong-bad@email.example.com"},
		{e, "%{o}", "email.example.com"},
		{e, "%{d4}", "email.example.com"},
		{e, "%{d3}", "email.example.com"},
		{e, "%{d2}", "example.com"},
		{e, "%{d1}", "com"},
		{e, "%{dr}", "com.example.email"},
		{e, "%{d2r}", "example.email"},
		{e, "%{l}", "strong-bad"},
		{e, "%{l-}", "strong.bad"},
		{e, "%{lr}", "strong-bad"},
		{e, "%{lr-}", "bad.strong"},
		{e, "%{l1r-}", "strong"},
		{e, "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
		{e, "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
		{e, "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
		{e, "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
		{e, "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
		{six, "%{ir}.%{v}._spf.%{d2}", "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"},
		{e, "%{h}", "mx.example.org"},
		{e, "%{p}", "unknown"},
		{e, "%{S}", "strong-bad%40email.example.com"},
		{e, "a%%b%_c%-d.example.", "a%b c%20d.example"},
		{e, "%{d99999999999999999999}", "email.example.com"},
		{utf8, "%{d}", "email.example.com"},
		{utf8, "%{l}.example", ""}, // RFC 8616, Section 4
		{e, long + "example.com", long[60:] + "example.com"},
		{e, strings.Repeat("a", 254) + ".%{d}", "email.example.com"},
	} {
		m, err := parseDomainSpec(c.spec)
		if err != nil {
			t.Errorf("%s: %v", c.spec, err)
			continue
		}
		if got, err := c.e.expand(m, "email.example.com"); got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v, want %q", c.spec, got, err, c.want)
		}
	}
}

// TestLimits are those of RFC 7208, Section 4.6.4.
func TestLimits(t *testing.T) {
	t.Parallel()
	eleven := lookuptest.Map{"many.example TXT": {"v=spf1 mx -all"}, "loop.example TXT": {"v=spf1 include:loop.example"}}
	for _, host := range strings.Fields("a b c d e f g h i j k") {
		eleven["many.example MX"] = append(eleven["many.example MX"], "10 "+host+".example")
		eleven["x.example A"] = []string{"192.0.2.99"}
	}
	ten := strings.Repeat(" a:x.example", 10)
	eleven["ten.example TXT"] = []string{"v=spf1" + ten + " ip4:192.0.2.1"}
	eleven["eleven.example TXT"] = []string{"v=spf1" + ten + " a:x.example ip4:192.0.2.1"}
	eleven["late.example TXT"] = []string{"v=spf1" + ten + " redirect=x.example"}
	eleven["void.example TXT"] = []string{"v=spf1 a:no1.example a:no2.example ip4:192.0.2.1"}
	eleven["voids.example TXT"] = []string{"v=spf1 a:no1.example a:no2.example exists:no3.example ip4:192.0.2.1"}
	eleven["hosts.example TXT"] = []string{"v=spf1 mx ip4:192.0.2.1"}
	eleven["hosts.example MX"] = eleven["many.example MX"][:10]
	for domain, want := range map[string]Status{
		"many.example": PermError, "loop.example": PermError, "ten.example": Pass, "eleven.example": PermError,
		"late.example": PermError, "void.example": Pass, "voids.example": PermError, "hosts.example": Pass,
	} {
		r := &lookuptest.Recorder{Map: eleven}
		got := CheckMailFrom(t.Context(), r, client, "x", address.Address{Local: "a", Domain: domain})
		if got.Status != want {
			t.Errorf("%s: %+v, want %s", domain, got, want)
		}
		if n := len(r.Asked()); n > 12 {
			t.Errorf("%s: %d questions", domain, n)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, txt := range []string{"v=spf1 a:%{l1r-}.example/24//64 -all", "v=spf1 ip6:::1/0 redirect=%{d}", "v=spf1 exp=%{S}%_.a"} {
		f.Add(txt, "a-b")
	}
	f.Fuzz(func(t *testing.T, txt, local string) {
		if !isRecord(txt) {
			return
		}
		world := lookuptest.Map{"d.example TXT": {txt}, "d.example A": {"192.0.2.7"}}
		r := &lookuptest.Recorder{Map: world}
		got := CheckMailFrom(t.Context(), r, client, "h.example", address.Address{Local: local, Domain: "d.example"})
		if got.Status == None || len(r.Asked()) > 1+2*maxTerms+maxHosts+1 {
			t.Fatalf("%+v after %q", got, r.Asked())
		}
	})
}
