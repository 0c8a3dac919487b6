package app

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"

	"postern/internal/dns/listen"
	"postern/internal/manage"
)

// keyHouse has an inner view that only a key chooses.
const keyHouse = `[key."Inner-2026."]
secret = "file:inner.key"
[[view]]
name      = "inner"
clients   = []
keys      = ["inner-2026."]
overlay   = "external"
zones     = "inner"
[[view]]`

func withKeys(config string) string { return strings.Replace(config, "[[view]]", keyHouse, 1) }

func keyFile(secret string) string { return base64.StdEncoding.EncodeToString([]byte(secret)) + "\n" }

const oldSecret, newSecret = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"

// askSigned returns what comes back over a transport; the library holds a signed
// reply against the request.
func (h *house) askSigned(transport listen.Transport, key, secret string) string {
	h.t.Helper()
	q := new(dns.Msg).SetQuestion("www.city.example.", dns.TypeA)
	q.Id = 0 // as QUIC wants it
	q.SetTsig(key, dns.HmacSHA256, 300, time.Now().Unix())
	text := base64.StdEncoding.EncodeToString([]byte(secret))
	b, mac, err := dns.TsigGenerate(q, text, "", false)
	if err != nil {
		h.t.Fatal(err)
	}
	reply, err := h.octets(transport, b)
	if err != nil {
		h.t.Fatalf("%s: %v", transport, err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		h.t.Fatalf("%s: %v in %x", transport, err, reply)
	}
	said := dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		said += " " + rr.(*dns.A).A.String()
	}
	switch err := dns.TsigVerify(bytes.Clone(reply), text, mac, false); {
	case err == nil:
		return said + " signed"
	case errors.Is(err, dns.ErrAuth) && m.IsTsig() != nil && m.IsTsig().MACSize == 0:
		return said + " " + map[uint16]string{dns.RcodeBadSig: "BADSIG", dns.RcodeBadKey: "BADKEY"}[m.IsTsig().Error]
	default:
		return said + " " + err.Error()
	}
}

// octets sends one message and returns the reply.
func (h *house) octets(transport listen.Transport, b []byte) ([]byte, error) {
	h.t.Helper()
	at := h.at(transport).String()
	var c net.Conn
	var err error
	switch transport {
	case listen.UDP:
		c, err = net.Dial("udp", at)
	case listen.TCP:
		c, err = net.Dial("tcp", at)
	case listen.TLS:
		c, err = tls.Dial("tcp", at, h.trust("dot"))
	case listen.HTTPS:
		return postOctets("https://"+at+"/dns-query", b, h.trust("h2"))
	case listen.QUIC:
		return h.streamOctets(at, b)
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	conn := &dns.Conn{Conn: c, UDPSize: dns.MaxMsgSize}
	if _, err := conn.Write(b); err != nil {
		return nil, err
	}
	return conn.ReadMsgHeader(nil)
}

func postOctets(url string, b []byte, trust *tls.Config) ([]byte, error) {
	tr := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Post(url, "application/dns-message", bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

func (h *house) streamOctets(at string, b []byte) ([]byte, error) {
	c, err := quic.DialAddr(h.t.Context(), at, h.trust("doq"), nil)
	if err != nil {
		return nil, err
	}
	defer c.CloseWithError(0, "")
	st, err := c.OpenStreamSync(h.t.Context())
	if err != nil {
		return nil, err
	}
	if _, err := st.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
		return nil, err
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	reply, err := io.ReadAll(st)
	if err != nil || len(reply) < 2 {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	return reply[2:], nil
}

// TestKeysChooseTheViewOverEveryTransport, and a bad one gets nothing over any.
func TestKeysChooseTheViewOverEveryTransport(t *testing.T) {
	t.Parallel()
	config := withKeys(strings.Replace(houseConfig, "[[view]]", secureListeners, 1))
	h := buildWith(t, config, map[string]string{"inner.key": keyFile(oldSecret), "inner/city.example.zone": "www 300 A 10.0.0.1\n"})
	for _, tr := range []listen.Transport{listen.UDP, listen.TCP, listen.TLS, listen.HTTPS, listen.QUIC} {
		for _, c := range []struct{ key, secret, want string }{
			{"inner-2026.", oldSecret, "NOERROR 10.0.0.1 signed"},
			{"inner-2026.", newSecret, "NOTAUTH BADSIG"},
			{"other.", oldSecret, "NOTAUTH BADKEY"},
		} {
			if got := h.askSigned(tr, c.key, c.secret); got != c.want {
				t.Errorf("%s over %s: %s, want %s", c.key, tr, got, c.want)
			}
		}
	}
	w := httptest.NewRecorder()
	h.app.registry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		"postern_dns_serve_tsig_good_total 5", "postern_dns_serve_tsig_bad_key_total 5", "postern_dns_serve_tsig_bad_sig_total 5",
		"postern_dns_serve_tsig_bad_time_total 0", "postern_dns_serve_tsig_bad_trunc_total 0",
	} {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("no %s in the metrics", line)
		}
	}
}

// TestReloadChangesKeys: secrets, keys and their views.
func TestReloadChangesKeys(t *testing.T) {
	t.Parallel()
	h := buildWith(t, houseConfig, map[string]string{"inner/city.example.zone": "www 300 A 10.0.0.1\n"})
	want := func(secret, want string) {
		t.Helper()
		// UDP, on the port that a reload keeps.
		if got := h.askSigned(listen.UDP, "inner-2026.", secret); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	want(oldSecret, "NOTAUTH BADKEY")
	if got := h.explainKey("inner-2026."); got != "NOTAUTH: there is no key inner-2026." {
		t.Error(got)
	}

	h.write("inner.key", keyFile(oldSecret))
	h.write("postern.toml", withKeys(houseConfig))
	h.reload("key inner-2026: new, hmac-sha256", "view inner: new, clients [], keys [inner-2026]")
	want(oldSecret, "NOERROR 10.0.0.1 signed")
	if got := h.explainKey("INNER-2026"); got != "NOERROR: the key inner-2026. chooses view inner" {
		t.Error(got)
	}

	h.write("inner.key", keyFile(newSecret))
	h.reload("key inner-2026: another secret")
	want(oldSecret, "NOTAUTH BADSIG")
	want(newSecret, "NOERROR 10.0.0.1 signed")

	// A secret that cannot be used changes nothing.
	h.write("inner.key", "no/base*64")
	if _, err := h.app.reload(t.Context()); err == nil || strings.Contains(err.Error(), newSecret) {
		t.Errorf("reload: %v", err)
	}
	want(newSecret, "NOERROR 10.0.0.1 signed")

	h.write("inner.key", keyFile(newSecret))
	h.write("postern.toml", strings.Replace(withKeys(houseConfig), "clients   = []\nkeys      = [\"inner-2026.\"]", "clients = [\"10.0.0.0/8\"]", 1))
	h.reload("view inner: clients [10.0.0.0/8], keys []")
	want(newSecret, "NOERROR 192.0.2.2 signed")
	if got := h.explainKey("inner-2026."); got != "NOERROR: 127.0.0.1 is a client of view external; no view names the key inner-2026." {
		t.Error(got)
	}

	h.write("postern.toml", houseConfig)
	h.reload("key inner-2026: gone")
	want(newSecret, "NOTAUTH BADKEY")
}

// explainKey says how a question signed with that key would be answered.
func (h *house) explainKey(key string) string {
	h.t.Helper()
	e, err := h.app.explain(manage.QueryArgs{Name: "www.city.example", Type: "A", From: "127.0.0.1", Key: key})
	if err != nil {
		h.t.Fatal(err)
	}
	return e.Rcode + ": " + e.Why
}

// TestNothingShowsASecret that the configuration holds: not the status, not the
// report of a reload, not the metrics, not the log.
func TestNothingShowsASecret(t *testing.T) {
	t.Parallel()
	h := buildWith(t, withKeys(houseConfig), map[string]string{"inner.key": keyFile(oldSecret), "inner/city.example.zone": ""})
	h.askSigned(listen.UDP, "inner-2026.", newSecret)
	h.write("inner.key", keyFile(newSecret))
	report, err := h.app.reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.app.registry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	log := h.app.opts.Stderr.(*bytes.Buffer)
	if err := h.app.stop(t.Context()); err != nil { // then nobody writes to the log
		t.Error(err)
	}
	h.app = nil
	for what, text := range map[string]string{
		"report": strings.Join(report.Changes, "\n"), "metrics": w.Body.String(), "log": log.String(),
	} {
		for _, secret := range []string{oldSecret, newSecret, strings.TrimSpace(keyFile(oldSecret)), strings.TrimSpace(keyFile(newSecret))} {
			if strings.Contains(text, secret) {
				t.Errorf("the %s shows it: %s", what, text)
			}
		}
	}
}
