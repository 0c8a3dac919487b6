package account

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestBadBlocklist(t *testing.T) {
	t.Parallel()
	huge := filepath.Join(t.TempDir(), "huge")
	if err := errors.Join(os.WriteFile(huge, nil, 0o600), os.Truncate(huge, maxBlocklistFile+1)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(t.TempDir(), "none"): "no such file",
		t.TempDir():                        "is a directory",
		huge:                               "larger than 256 MiB (hint: ",
	} {
		if _, err := ReadBlocklist(path, 12); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":              {"", errListEmpty.Error()},
		"only blank lines":     {"\n\r\n\n", errListEmpty.Error()},
		"only short ones":      {"123456\npassword\n", errListEmpty.Error()},
		"packed":               {"\x1f\x8b\x08\x00\x00\x00\n", errListNotText.Error()},
		"a NUL far behind":     {strings.Repeat("short\n", 30_000) + "a\x00b", errListNotText.Error()},
		"more than it may":     {"correct horse 1\ncorrect horse 2\ncorrect horse 3\ncorrect horse 4\n", "more than 3 lines of 12 characters"},
		"no UTF-8":             {"correct horse \xe9t\xe9\n", errListEmpty.Error()},
		"longer than can be":   {strings.Repeat("long ", 300) + "\n", errListEmpty.Error()},
		"longer than a buffer": {strings.Repeat("long ", 30_000) + "\n", errListEmpty.Error()},
	} {
		if _, err := readBlocklist(strings.NewReader(c.text), 12, 3); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	broken := errors.New("disk")
	if _, err := readBlocklist(iotest.ErrReader(broken), 12, 3); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestBlocklist(t *testing.T) {
	t.Parallel()
	text := "Correct Horse Battery\r\n" + "# no comment: a password\n" + strings.Repeat("too long for a buffer ", 10_000) + "\n" +
		" blanks at its ends \n" + "correct horse battery\n" + "Größe ist nicht alles\n" + "123456\n" + "the last has no end"
	b, err := readBlocklist(strings.NewReader(text), 12, 6)
	if err != nil {
		t.Fatal(err)
	}
	if b.Len() != 5 { // one stands there twice
		t.Errorf("%d are refused", b.Len())
	}
	for password, want := range map[string]bool{
		"correct horse battery": true, "CORRECT horse BATTERY": true, "# no comment: a password": true, " blanks at its ends ": true,
		"GRÖSSE ist nicht alles": false, "GRÖßE ist nicht alles": true, "the last has no end": true,
		"correct horse battery ": false, "correct horse battery2": false, "blanks at its ends": false, "123456": false, "": false,
		"too long for a buffer too long for a buffer ": false,
	} {
		if b.Has(password) != want {
			t.Errorf("%q: %t", password, !want)
		}
	}
	var none *Blocklist
	if none.Has("correct horse battery") || none.Len() != 0 {
		t.Error("no list refuses something")
	}
}

// A listed password cannot be set, and who has it already is let in: at the next
// change there must be another.
func TestListedPassword(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	create(t, k, "a@b.test")
	list, err := readBlocklist(strings.NewReader(strings.ToUpper(good)+"\nthe second of the list\n"), 12, 10)
	if err != nil {
		t.Fatal(err)
	}
	k.Follow(Rules{Blocklist: list})
	if _, err := k.Create(t.Context(), "c@b.test", good, nil); !errors.Is(err, ErrListed) {
		t.Errorf("new account: %v", err)
	}
	if err := k.Passwd(t.Context(), "a@b.test", "The Second of the List"); !errors.Is(err, ErrListed) {
		t.Errorf("new password: %v", err)
	}
	if _, err := k.Verify(t.Context(), "a@b.test", good, home); err != nil {
		t.Errorf("the old one: %v", err)
	}
	k.Follow(Rules{})
	if err := k.Passwd(t.Context(), "a@b.test", "The Second of the List"); err != nil {
		t.Errorf("without a list: %v", err)
	}
}

// Other rules hold at once, for what comes and for what was counted.
func TestFollow(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, nil)
	create(t, k, "a@b.test")
	guess := func(n int) (err error) {
		for i := range n {
			_, err = k.Verify(t.Context(), "a@b.test", fmt.Sprintf("guess %d", i), home)
		}
		return err
	}
	if err := guess(4); !errors.Is(err, ErrDenied) {
		t.Fatal(err)
	}
	k.Follow(Rules{LockoutFailures: 4})
	if err := guess(1); !errors.Is(err, ErrLocked) {
		t.Errorf("a smaller limit: %v", err)
	}
	k.Follow(Rules{LockoutFailures: 6, MinLength: 30})
	if err := guess(2); !errors.Is(err, ErrDenied) {
		t.Errorf("a larger limit: %v", err)
	}
	if err := guess(1); !errors.Is(err, ErrLocked) {
		t.Errorf("beyond the larger limit: %v", err)
	}
	if err := k.Passwd(t.Context(), "a@b.test", "a new long phrase 1"); !errors.Is(err, ErrShort) {
		t.Errorf("a longer least length: %v", err)
	}
	cl.at = cl.at.Add(20 * 24 * time.Hour)
	if _, err := k.Verify(t.Context(), "a@b.test", good, home); err != nil {
		t.Errorf("without an age: %v", err)
	}
	k.Follow(Rules{MaxAge: 10 * 24 * time.Hour})
	if _, err := k.Verify(t.Context(), "a@b.test", good, home); !errors.Is(err, ErrExpired) {
		t.Errorf("with an age: %v", err)
	}
	if all, err := k.Warnings(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if r := k.Rules(); r.MinLength != 12 || r.LockoutFailures != 10 {
		t.Errorf("defaults: %+v", r)
	}
}
