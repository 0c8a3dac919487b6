package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestNamesAreChecked(t *testing.T) {
	t.Parallel()
	r, c := NewRegistry(), new(Counter)
	for _, name := range []string{"", "x", "queries_total", "postern_queries", "postern_dns_Queries_total", "postern_total"} {
		if r.Counter(name, "help", c, nil) == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if err := r.Counter("postern_dns_queries_total", "help", c, Labels{"transport": "udp"}); err != nil {
		t.Fatal(err)
	}
	if r.Counter("postern_dns_queries_total", "help", c, Labels{"transport": "udp"}) == nil {
		t.Error("the same metric was taken twice")
	}
}

func TestHandlerShowsTheCountOfTheMoment(t *testing.T) {
	t.Parallel()
	r, c := NewRegistry(), new(Counter)
	if err := r.Counter("postern_mail_accepted_total", "help", c, nil); err != nil {
		t.Fatal(err)
	}
	c.Add(41)
	c.Inc()
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(rec.Body.String(), "postern_mail_accepted_total 42\n") {
		t.Error(rec.Body.String())
	}
}
