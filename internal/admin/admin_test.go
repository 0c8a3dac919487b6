package admin

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func server(ready error, clients ...netip.Prefix) *Server {
	return NewServer(Config{
		Addrs:   []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5080"), netip.MustParseAddrPort("[::1]:5080")},
		Names:   []string{"edge.example.net"},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") }),
		Ready:   func() error { return ready },
		Clients: clients,
		Log:     slog.New(slog.DiscardHandler),
	})
}

func ask(s *Server, method, host, path string) (int, string) {
	r := httptest.NewRequest(method, path, nil)
	r.Host, r.RemoteAddr = host, "127.0.0.1:999"
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestOnlyTheThreePagesUnderOurNames(t *testing.T) {
	t.Parallel()
	s := server(nil)
	for _, c := range []struct {
		method, host, path string
		code               int
	}{
		{"GET", "evil.example", "/metrics", 421},
		{"GET", "", "/metrics", 421},
		{"GET", "192.0.2.7:5080", "/healthz", 421},
		{"GET", "127.0.0.1:5080", "/", 404},
		{"GET", "127.0.0.1:5080", "/debug/pprof/", 404},
		{"POST", "127.0.0.1:5080", "/healthz", 405},
		{"GET", "127.0.0.1:5080", "/healthz", 200},
		{"GET", "[::1]:5080", "/readyz", 200},
		{"GET", "localhost:5080", "/metrics", 200},
		{"GET", "Edge.Example.net", "/metrics", 200},
	} {
		if code, body := ask(s, c.method, c.host, c.path); code != c.code {
			t.Errorf("%s %s%s: %d %q, want %d", c.method, c.host, c.path, code, body, c.code)
		}
	}
	if s.Counters.Refused.Value() != 3 {
		t.Errorf("refused %d", s.Counters.Refused.Value())
	}
}

func TestReadyzSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	code, body := ask(server(errors.New("zone example.test: no good state")), "GET", "127.0.0.1", "/readyz")
	if code != 503 || !strings.Contains(body, "no good state") {
		t.Errorf("%d %q", code, body)
	}
}

func TestClientsOutsideTheListAreRefused(t *testing.T) {
	t.Parallel()
	if code, _ := ask(server(nil, netip.MustParsePrefix("10.0.0.0/8")), "GET", "127.0.0.1", "/healthz"); code != 421 {
		t.Error(code)
	}
}
