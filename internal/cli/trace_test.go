package cli

import (
	"strings"
	"testing"
)

func TestTraceInALog(t *testing.T) {
	t.Parallel()
	log := write(t, "log", `{"time":"2026-08-01T12:00:00Z","level":"INFO","msg":"message accepted","queue_id":"Q1","from":"a@b.example","to":"c@d.example","message_id":"<x@b.example>"}
not json
{"time":"2026-08-01T12:00:01Z","level":"WARN","msg":"failed","queue_id":"Q1","to":"c@d.example","reply":"550 no such user"}
`)
	for query, code := range map[string]int{"Q1": exitFine, "C@D.example": exitFine, "<x@b.example>": exitFine, "Q2": exitWrong, "nobody@b.example": exitWrong} {
		got, out, errs := command(t, "", "trace", query, "--log", log)
		if got != code || (code == exitFine) != strings.Contains(out, `Q1 failed level=WARN reply="550 no such user" to=c@d.example`) {
			t.Errorf("%s: exit %d\n%s%s", query, got, out, errs)
		}
	}
	if code, out, _ := command(t, "", "trace", "Q1", "--log", log, "--json"); code != exitFine || !strings.Contains(out, `"queue_id": "Q1"`) || !strings.Contains(out, `"queue": []`) {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, _, errs := command(t, "", "trace"); code != exitUsage || !strings.Contains(errs, "a queue id, an address or a Message-ID") {
		t.Errorf("exit %d, %s", code, errs)
	}
	if code, _, errs := command(t, "", "trace", "x", "--log", "/nowhere"); code != exitWrong || !strings.Contains(errs, "/nowhere") {
		t.Errorf("exit %d, %s", code, errs)
	}
}
