package app

import (
	"slices"
	"testing"

	"postern/internal/mail/relay"
	"postern/internal/metrics"
)

func TestReloadTellsWhatCameWentAndChanged(t *testing.T) {
	t.Parallel()
	before := map[string]string{
		"listener dns udp 127.0.0.1:53": "open", "listener dns udp 127.0.0.2:53": "open",
		"zone a.test. view external": "serial 1, 4 records", "zone b.test. view external": "serial 1, 4 records",
		"zone c.test. view external": "serial 7, 4 records",
	}
	after := map[string]string{
		"listener dns udp 127.0.0.1:53": "open", "listener mx starttls 127.0.0.1:25": "open",
		"zone a.test. view external": "serial 2, 5 records", "zone b.test. view external": "serial 2, 5 records",
		"zone c.test. view external": "serial 7, 4 records",
	}
	told := []string{"zone b.test. view external: serial 2, 0 removed, 1 added"}
	want := []string{
		"listener dns udp 127.0.0.2:53: gone",
		"listener mx starttls 127.0.0.1:25: new, open",
		"zone a.test. view external: serial 2, 5 records, was serial 1, 4 records",
	}
	if got := differences(before, after, told); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := differences(after, after, nil); len(got) != 0 {
		t.Errorf("nothing changed, and got %q", got)
	}
}

func TestCountsOutliveTheRoomThatAReloadReplaces(t *testing.T) {
	t.Parallel()
	var retired, first, second relay.Counters
	first.OverRate.Add(3)
	first.Strangers.Inc()
	add(&retired, &first)
	second.OverRate.Inc()
	add(&retired, &second)
	if retired.OverRate.Value() != 4 || retired.Strangers.Value() != 1 || retired.BadSender.Value() != 0 {
		t.Errorf("%d %d %d", retired.OverRate.Value(), retired.Strangers.Value(), retired.BadSender.Value())
	}
	var other struct {
		N metrics.Counter
		X int
	}
	add(&other, &other) // a field that counts nothing is passed over
}

func TestWordsForAShellToCopy(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"postern": "postern", "./bin/postern": "./bin/postern", "/tmp/my dir/postern": "'/tmp/my dir/postern'", "it's": `'it'\''s'`,
	} {
		if got := quoted(word); got != want {
			t.Errorf("%s: %s", word, got)
		}
	}
}
