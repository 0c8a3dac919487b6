package doh

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/name"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
	"postern/internal/metrics"
)

// responder answers from a small zone, as wire and answer do for every
// transport.
func responder(t testing.TB) func(msg []byte, client, local netip.AddrPort) []byte {
	t.Helper()
	origin, err := name.Parse("example.")
	if err != nil {
		t.Fatal(err)
	}
	b := zone.NewBuilder(origin)
	zp := dns.NewZoneParser(strings.NewReader(`
example. 60 SOA ns.example. h.example. 1 2 3 4 5
example. 60 NS ns.example.
ns.example. 60 A 192.0.2.1
alias.example. 60 CNAME ns.example.
*.wild.example. 60 TXT "w"
cut.example. 60 NS ns.cut.example.
ns.cut.example. 60 A 192.0.2.2
`), "", "")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if err := b.Add(rr); err != nil {
			t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	compiled := answer.Compile(z)
	return func(msg []byte, _, _ netip.AddrPort) []byte {
		var q wire.Query
		opts := &wire.Options{Block: 468}
		switch q.Parse(msg) {
		case wire.Drop:
			return nil
		case wire.OK:
			if !q.Name().IsBelow(origin) || q.Class != dns.ClassINET {
				return q.Error(nil, 0, wire.Refused, opts)
			}
			reply, res := compiled.Append(q.Start(nil), &q, q.Limit(false)-q.Reserve(opts), nil)
			return q.Finish(reply, 0, res.Rcode, res.Counts, opts)
		case wire.Other:
			return q.Error(nil, 0, wire.NotImp, nil)
		}
		return q.Malformed(nil)
	}
}

// counting tells how much of a body was read.
type counting struct {
	io.Reader
	read int
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.read += n
	return n, err
}

func (c *counting) Close() error { return nil }

// ask hands a request to the handler as net/http would.
func ask(s *Server, method string, u *url.URL, h http.Header, length int64, body []byte) (*http.Response, *counting) {
	b := &counting{Reader: bytes.NewReader(body)}
	ctx := context.WithValue(context.Background(), endsKey{}, ends{below: NewConn(nil)})
	r := (&http.Request{Method: method, URL: u, Header: h, Body: b, ContentLength: length, ProtoMajor: 2}).WithContext(ctx)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result(), b
}

func read(t *testing.T, r *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzDoH: whatever is asked, the handler answers what RFC 8484 lets it and
// nothing else. With inQuery set the body goes into ?dns= as a client would
// put it there.
func FuzzDoH(f *testing.F) {
	pack := func(qname string, t uint16, edit func(*dns.Msg)) []byte {
		m := new(dns.Msg).SetQuestion(qname, t)
		m.Id = 0 // RFC 8484, Section 4.1
		if edit != nil {
			edit(m)
		}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	for _, msg := range [][]byte{
		pack("ns.example.", dns.TypeA, nil), pack("Alias.example.", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, true) }),
		pack("x.wild.example.", dns.TypeTXT, nil), pack("a.cut.example.", dns.TypeA, nil), pack("no.example.", dns.TypeA, nil), pack("other.", dns.TypeNS, nil),
		pack("example.", dns.TypeSOA, func(m *dns.Msg) { m.Response = true }), pack("example.", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }),
		{0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0}, nil,
	} {
		f.Add("GET", path, "", "", "", int64(0), true, msg)
		f.Add("POST", path, "", media, "", int64(len(msg)), false, msg)
	}
	plain := pack("ns.example.", dns.TypeA, nil)
	f.Add("POST", path, "dns=AAAA", "Application/DNS-Message; x=y", "", int64(-1), false, plain)
	f.Add("POST", path, "", media, "gzip", int64(-1), false, plain)
	f.Add("POST", path, "", media, "", int64(1<<40), false, plain)
	f.Add("POST", path, "", "text/plain", "", int64(3), false, plain)
	f.Add("POST", path, "", media, "", int64(-1), false, make([]byte, maxMessage+1))
	f.Add("GET", path, "dns=AAABAAABAAAAAAAAAm5zB2V4YW1wbGUAAAEAAQ&dns=AAAA", "", "", int64(0), false, []byte{})
	f.Add("GET", path, "dns=AAABAAABAAAAAAAAAm5zB2V4YW1wbGUAAAEAAQ==", "", "", int64(0), false, []byte{})
	f.Add("GET", path, "dns=AAABAAABAAAAAAAAAm5z%0AB2V4YW1wbGUAAAEAAQ", "", "", int64(0), false, []byte{})
	f.Add("HEAD", path, "dns=AAAA", "", "", int64(0), false, []byte{})
	f.Add("PUT", "/", "%zz;", "", "", int64(0), false, []byte{})
	answers := responder(f)
	f.Fuzz(func(t *testing.T, method, at, query, kind, coding string, length int64, inQuery bool, body []byte) {
		if inQuery {
			query = "dns=" + base64.RawURLEncoding.EncodeToString(body)
		}
		c := &called{t: t, answers: answers}
		s := New(Config{Answer: c.answer, Messages: new(metrics.Counter), Refused: new(metrics.Counter), Streams: 1})
		h := http.Header{}
		for k, v := range map[string]string{"Content-Type": kind, "Content-Encoding": coding} {
			if v != "" {
				h.Set(k, v)
			}
		}
		got, b := ask(s, method, &url.URL{Path: at, RawQuery: query}, h, length, body)
		reply := read(t, got)
		checkRequest(t, c, method, at, query, h, got)
		checkResponse(t, c, got, reply)
		if b.read > maxMessage+1 || method != http.MethodPost && b.read > 0 || length > maxMessage && b.read > 0 {
			t.Errorf("%s: %d octets of the body were read, %d promised", method, b.read, length)
		}
		if n := s.config.Messages.Value() + s.config.Refused.Value(); n != 1 || (s.config.Messages.Value() == 1) != (c.times == 1) {
			t.Errorf("counted %d times, answered %d times", n, c.times)
		}
		if got.StatusCode == http.StatusOK && method == http.MethodPost {
			// RFC 8484, Section 4.1: both methods ask the same.
			u := &url.URL{Path: path, RawQuery: "dns=" + base64.RawURLEncoding.EncodeToString(body)}
			again, _ := ask(s, http.MethodGet, u, http.Header{}, 0, nil)
			if b := read(t, again); again.StatusCode != http.StatusOK || !bytes.Equal(b, reply) {
				t.Errorf("POST gave %x, GET %d and %x", reply, again.StatusCode, b)
			}
		}
	})
}

// called notes what the handler asked for.
type called struct {
	t       *testing.T
	answers func(msg []byte, client, local netip.AddrPort) []byte
	times   int
	msg     []byte
}

func (c *called) answer(msg []byte, client, local netip.AddrPort) []byte {
	c.times++
	c.msg = bytes.Clone(msg)
	if len(msg) < minMessage || len(msg) > maxMessage {
		c.t.Errorf("asked for a message of %d octets", len(msg))
	}
	return c.answers(msg, client, local)
}

// checkRequest judges by the request what its status may be.
func checkRequest(t *testing.T, c *called, method, at, query string, h http.Header, got *http.Response) {
	t.Helper()
	status := got.StatusCode
	want := []int{http.StatusOK, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable}
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	values, err := url.ParseQuery(query)
	switch {
	case at != "/dns-query":
		want = []int{http.StatusNotFound}
	case method == "GET" && (err != nil || len(values["dns"]) != 1 || strings.ContainsAny(values.Get("dns"), "=+/\r\n")):
		want = []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}
	case method == "GET":
	case method != "POST":
		want = []int{http.StatusMethodNotAllowed}
	case !strings.EqualFold(strings.Trim(kind, " \t"), "application/dns-message") || h.Get("Content-Encoding") != "":
		want = []int{http.StatusUnsupportedMediaType}
	}
	if !slices.Contains(want, status) {
		t.Errorf("%s %q?%q %v: %d, want one of %v", method, at, query, h, status, want)
	}
	if (status == http.StatusOK || status == http.StatusServiceUnavailable) != (c.times == 1) {
		t.Errorf("status %d, answered %d times", status, c.times)
	}
	if (got.Header.Get("Allow") != "") != (status == http.StatusMethodNotAllowed) {
		t.Errorf("%d with Allow %q", status, got.Header.Get("Allow"))
	}
}

// checkResponse judges headers and body.
func checkResponse(t *testing.T, c *called, got *http.Response, reply []byte) {
	t.Helper()
	for k := range got.Header {
		if !slices.Contains([]string{"Allow", "Cache-Control", "Content-Length", "Content-Type", "Date"}, k) {
			t.Errorf("header %s", k)
		}
	}
	if got.StatusCode != http.StatusOK {
		if len(reply) > 0 || got.Header.Get("Content-Type") != "" {
			t.Errorf("%d with a body: %x", got.StatusCode, reply)
		}
		return
	}
	age, fresh := strings.CutPrefix(got.Header.Get("Cache-Control"), "private, max-age=")
	n, err := strconv.ParseUint(age, 10, 31)
	switch {
	case got.Header.Get("Content-Type") != "application/dns-message", got.Header.Get("Content-Length") != strconv.Itoa(len(reply)):
		t.Errorf("headers %v of %d octets", got.Header, len(reply))
	case !fresh && got.Header.Get("Cache-Control") != "no-store", fresh && err != nil:
		t.Errorf("kept %q", got.Header.Get("Cache-Control"))
	case len(reply) < minMessage || len(reply) > maxMessage:
		t.Fatalf("reply of %d octets", len(reply))
	}
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		t.Fatalf("%x: %v", reply, err)
	}
	if !m.Response || !bytes.Equal(reply[:2], c.msg[:2]) || reply[2]&0x78 != c.msg[2]&0x78 || len(m.Question) > 1 {
		t.Errorf("%v for %x", m, c.msg)
	}
	if len(m.Question) == 1 {
		// The client's own octets, letter case and all.
		asked := new(dns.Msg)
		if asked.Unpack(c.msg) == nil && asked.Question[0] != m.Question[0] {
			t.Errorf("question %v for %v", m.Question[0], asked.Question[0])
		}
	}
	for _, rr := range m.Answer {
		if fresh && uint64(rr.Header().Ttl) < n {
			t.Errorf("kept for %d: %v", n, rr)
		}
	}
}
