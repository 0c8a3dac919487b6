package inspect

import (
	"testing"

	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/verdict"
)

// TestReverseName: the results of RFC 8601, Section 2.7.3.
func TestReverseName(t *testing.T) {
	t.Parallel()
	const at = "1.2.0.192.in-addr.arpa PTR"
	for name, c := range map[string]struct {
		world lookuptest.Map
		want  verdict.Reverse
	}{
		"there and back":          {lookuptest.Map{at: {"other.example", "mail.example"}, "mail.example A": {"192.0.2.1"}}, verdict.Reverse{Status: verdict.ReversePass, Name: "mail.example"}},
		"leads elsewhere":         {lookuptest.Map{at: {"mail.example"}, "mail.example A": {"192.0.2.9"}}, verdict.Reverse{Status: verdict.ReverseFail}},
		"leads nowhere":           {lookuptest.Map{at: {"mail.example"}}, verdict.Reverse{Status: verdict.ReverseFail}},
		"no reverse name":         {lookuptest.Map{}, verdict.Reverse{Status: verdict.ReversePermError}},
		"no answer":               {lookuptest.Map{at: {"SERVFAIL"}}, verdict.Reverse{Status: verdict.ReverseTempError}},
		"no answer for the names": {lookuptest.Map{at: {"mail.example"}, "mail.example A": {"SERVFAIL"}}, verdict.Reverse{Status: verdict.ReverseTempError}},
	} {
		if got := reverseName(t.Context(), c.world, client); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
