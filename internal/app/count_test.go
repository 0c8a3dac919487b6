package app

import (
	"net/http/httptest"
	"strings"
	"testing"

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
