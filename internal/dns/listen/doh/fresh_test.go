package doh

import (
	"encoding/base64"
	"net"
	"net/http"
	"testing"

	"github.com/miekg/dns"
)

func header(name string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

func address(ttl uint32) dns.RR {
	return &dns.A{Hdr: header("www.example.", dns.TypeA, ttl), A: net.IPv4(192, 0, 2, 1)}
}

func soa(ttl, minimum uint32) dns.RR {
	return &dns.SOA{Hdr: header("example.", dns.TypeSOA, ttl), Ns: "ns.example.", Mbox: "host.example.", Minttl: minimum}
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		rcode             int
		answer, ns, extra []dns.RR
		want              string
	}{
		{name: "nothing to keep", want: "no-store"},
		{name: "server failure", rcode: dns.RcodeServerFailure, answer: []dns.RR{address(60)}, want: "no-store"},
		{name: "refused", rcode: dns.RcodeRefused, ns: []dns.RR{soa(60, 60)}, want: "no-store"},
		{name: "smallest of the answer", answer: []dns.RR{address(300), address(60), address(3600)}, want: "private, max-age=60"},
		{name: "zero", answer: []dns.RR{address(300), address(0)}, want: "private, max-age=0"},
		{name: "beyond 31 bits is zero", answer: []dns.RR{address(1 << 31)}, want: "private, max-age=0"},
		{name: "authority and glue do not count", answer: []dns.RR{address(300)}, ns: []dns.RR{&dns.NS{Hdr: header("example.", dns.TypeNS, 5), Ns: "ns.example."}}, extra: []dns.RR{address(1)}, want: "private, max-age=300"},
		{name: "denial by TTL", rcode: dns.RcodeNameError, ns: []dns.RR{soa(60, 900)}, want: "private, max-age=60"},
		{name: "denial by MINIMUM", ns: []dns.RR{soa(900, 30)}, want: "private, max-age=30"},
		{name: "alias to a denial", rcode: dns.RcodeNameError, answer: []dns.RR{address(300)}, ns: []dns.RR{soa(900, 30)}, want: "private, max-age=30"},
		{name: "referral", ns: []dns.RR{&dns.NS{Hdr: header("example.", dns.TypeNS, 5), Ns: "ns.example."}}, want: "no-store"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
			m.Rcode, m.Answer, m.Ns, m.Extra, m.Compress = c.rcode, c.answer, c.ns, c.extra, true
			m.SetEdns0(1232, false)
			b, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if got := freshness(b); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// FuzzFreshness: never longer than the library's reading of the answer.
func FuzzFreshness(f *testing.F) {
	m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
	m.Answer, m.Ns, m.Compress = []dns.RR{address(300)}, []dns.RR{soa(60, 30)}, true
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		age, ok := maxAge(b)
		m := new(dns.Msg)
		if m.Unpack(b) != nil || !ok {
			return
		}
		for _, rr := range m.Answer {
			if ttl := rr.Header().Ttl; rr.Header().Rrtype != dns.TypeOPT && ttl < age {
				t.Errorf("kept for %d, TTL %d", age, ttl)
			}
		}
	})
}

func FuzzParameter(f *testing.F) {
	for _, s := range []string{"", "dns=", "dns=AAAA", "dns=AAAA=", "dns=AAAA&dns=", "%", "dns=%41%41%41%41", "x;y", "dns=AB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		msg, status := parameter(query)
		if (status == http.StatusOK) != (msg != nil) || len(msg) > maxMessage {
			t.Fatalf("%d octets, status %d", len(msg), status)
		}
		if status != http.StatusOK {
			return
		}
		// One spelling a message, or caches would hold it twice.
		if again, status := parameter("dns=" + base64.RawURLEncoding.EncodeToString(msg)); status != http.StatusOK || string(again) != string(msg) {
			t.Errorf("%q read back as %q", msg, again)
		}
	})
}
