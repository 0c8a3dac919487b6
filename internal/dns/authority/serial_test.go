package authority

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSerialNeverGoesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	at := func(serial, www string) string {
		return strings.NewReplacer("admin 10 ", "admin "+serial+" ", "192.0.2.80", www).Replace(external)
	}
	b.write("external/example.test.zone", external)
	b.start()
	for _, c := range []struct {
		why, serial, www string
		want             uint32
	}{
		{"forgotten", "10", "192.0.2.81", 11},
		{"ahead", "20", "192.0.2.82", 20},
		{"lowered", "5", "192.0.2.83", 21},
		{"lowered, same content", "4", "192.0.2.83", 21},
		{"only the serial, ahead", "30", "192.0.2.83", 30},
		{"more than half the space away", "3000000000", "192.0.2.84", 31},
	} {
		b.write("external/example.test.zone", at(c.serial, c.www))
		b.settle()
		if got := b.zone("external", "example.test").Serial(); got != c.want {
			t.Errorf("%s: serial %d, want %d", c.why, got, c.want)
		}
	}
	b.start()
	if got := b.zone("external", "example.test").Serial(); got != 31 {
		t.Errorf("after restart: %d", got)
	}
}

func TestSerialOutlivesTheSnapshot(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/example.test.zone", external+"x A 192.0.2.1\n")
	b.settle()
	b.stop()
	path := filepath.Join(b.root, "state/zones/example.test@external.snapshot")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2]++
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	if got := b.zone("external", "example.test").Serial(); got != 12 {
		t.Errorf("serial %d after the snapshot broke, want 12", got)
	}
	if !strings.Contains(b.log.String(), "checksum does not match") {
		t.Error("the broken snapshot was not told of")
	}
	if _, err := os.Stat(path + ".broken"); err != nil {
		t.Error(err)
	}
}

func TestSerialPolicies(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 23, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		policy     SerialPolicy
		file, last uint32
		known      bool
		want       uint32
	}{
		{Keep, 7, 0, false, 7},
		{"", 7, 0, false, 7},
		{Keep, 7, 7, true, 8},
		{Keep, 9, 7, true, 9},
		{Keep, 0, 0xffffffff, true, 0},
		{Counter, 7, 0, false, 7},
		{Counter, 900, 7, true, 8},
		{UnixTime, 7, 0, false, uint32(now.Unix())},
		{UnixTime, 7, uint32(now.Unix()), true, uint32(now.Unix()) + 1},
		{Date, 7, 0, false, 2026112101},
		{Date, 7, 2026112007, true, 2026112101},
		{Date, 7, 2026112101, true, 2026112102},
	} {
		if got := c.policy.next(c.file, c.last, c.known, now); got != c.want {
			t.Errorf("%s file %d last %d %v: %d, want %d", c.policy, c.file, c.last, c.known, got, c.want)
		}
	}
}
