package app

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"postern/internal/manual"
	"postern/internal/metrics"
)

func TestCountersOfARoomAreShown(t *testing.T) {
	t.Parallel()
	room := struct {
		RefusedPerAddr, TLSFailed, AuthOK metrics.Counter
		Other                             int
	}{}
	room.TLSFailed.Inc()
	reg := metrics.NewRegistry()
	if err := count(reg, "mail_smtpd", one(&room), metrics.Labels{"door": "mx"}); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	reg.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`postern_mail_smtpd_refused_per_addr_total{door="mx"} 0`,
		`postern_mail_smtpd_tls_failed_total{door="mx"} 1`,
		`postern_mail_smtpd_auth_ok_total{door="mx"} 0`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body.String())
		}
	}
}

// TestManualMetrics: each metric that the manual names is there.
func TestManualMetrics(t *testing.T) {
	t.Parallel()
	h := build(t)
	w := httptest.NewRecorder()
	h.app.registry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	have := map[string]bool{}
	for line := range strings.Lines(w.Body.String()) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "#" && f[1] == "TYPE" {
			have[f[2]] = true
		}
	}
	named := 0
	for _, topic := range manual.Topics() {
		text, _ := manual.Page(topic)
		for _, word := range regexp.MustCompile(`\bpostern_[a-z0-9_]+[a-z0-9]\b`).FindAllString(text, -1) {
			named++
			if !have[word] {
				t.Errorf("page %s: there is no %s", topic, word)
			}
		}
	}
	if named < 30 {
		t.Errorf("%d metrics are named", named)
	}
}
