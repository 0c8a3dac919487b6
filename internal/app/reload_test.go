package app

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"postern/internal/account"
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

// The rules of accounts follow a reload, and so does the list of refused passwords
// where only the file has changed. A list that cannot be used changes nothing.
func TestReloadOfAccounts(t *testing.T) {
	t.Parallel()
	h := buildWith(t, submitConfig+"[accounts]\nblocklist = \"refused.txt\"\n", map[string]string{"refused.txt": "Correct Horse Staple\n"})
	add := func(login, password string) error {
		_, err := h.app.accounts.Create(t.Context(), login, password, nil)
		return err
	}
	if err := add("a@city.example", "correct horse staple"); !errors.Is(err, account.ErrListed) {
		t.Errorf("%v", err)
	}
	h.write("refused.txt", "another one of them\nand still another one\n")
	h.reload("accounts: min_length 12, lockout 10/10m0s, reuse 3, max_age 0s, 2 refused passwords, was min_length 12, lockout 10/10m0s, reuse 3, max_age 0s, 1 refused passwords")
	if err := errors.Join(add("a@city.example", "correct horse staple")); err != nil {
		t.Errorf("%v", err)
	}
	h.write("postern.toml", submitConfig+"[accounts]\nblocklist = \"refused.txt\"\nmin_length = 15\nlockout = \"3/1h\"\nreuse = 0\nmax_age = \"30d\"\n")
	for _, bad := range []string{"", "short\n", "\x00binary"} {
		h.write("refused.txt", bad)
		if _, err := h.app.reload(t.Context()); err == nil || !strings.Contains(err.Error(), "refused.txt") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := add("b@city.example", "another one of them"); !errors.Is(err, account.ErrListed) {
		t.Errorf("the list that was good: %v", err)
	}
	if r := h.app.accounts.Rules(); r.MinLength != 12 {
		t.Errorf("%+v", r)
	}
	h.write("refused.txt", "another one of them\n")
	h.reload("accounts: min_length 15, lockout 3/1h0m0s, reuse 0, max_age 720h0m0s, 1 refused passwords, was min_length 12, lockout 10/10m0s, reuse 3, max_age 0s, 2 refused passwords")
	if err := add("b@city.example", "fourteen chars"); !errors.Is(err, account.ErrShort) {
		t.Errorf("%v", err)
	}
	here := netip.MustParseAddr("203.0.113.9")
	for i := range 4 {
		_, err := h.app.accounts.Verify(t.Context(), "a@city.example", "a wrong guess", here)
		if want := []error{account.ErrDenied, account.ErrLocked}[i/3]; !errors.Is(err, want) {
			t.Errorf("guess %d: %v", i, err)
		}
	}
}
