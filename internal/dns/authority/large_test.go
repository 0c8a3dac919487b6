package authority

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A zone large enough that its small changes are kept as edits: versions, a
// rollback and a start without the zone file go as with any other, and without
// what the edits are of, the file decides.
func TestLargeZoneIsKeptAsEdits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var large strings.Builder
	large.WriteString(external)
	for i := range 5000 {
		fmt.Fprintf(&large, "h%d A 10.0.%d.%d\n", i, i/250, i%250)
	}
	path := filepath.Join(b.root, "state/zones/example.test@external.snapshot")
	edit := func() int64 {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	edits := func(whole int64) {
		t.Helper()
		for i := range 3 {
			b.write("external/example.test.zone", large.String()+fmt.Sprintf("new A 192.0.2.%d\n", i))
			b.settle()
			if size := edit(); size > 4096 || whole < 100_000 {
				t.Fatalf("after edit %d it takes %d octets, whole %d", i, size, whole)
			}
		}
	}
	b.write("external/example.test.zone", large.String())
	b.start()
	edits(edit())
	serial := b.zone("external", "example.test").Serial()
	b.stop()
	if err := os.RemoveAll(filepath.Join(b.root, "state/zones/history")); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.want("external", "new.example.test", "192.0.2.2")
	if got := b.zone("external", "example.test").Serial(); got <= serial || !strings.Contains(b.log.String(), "is missing; it is set aside") {
		t.Errorf("serial %d after %d", got, serial)
	}
	edits(edit())
	if _, err := b.a.Rollback(t.Context(), Rollback{Zone: "example.test", Version: 3, Who: "uid 7", Why: "typo"}); err != nil {
		t.Fatal(err)
	}
	b.want("external", "new.example.test", "192.0.2.1")
	b.stop()
	b.remove("external/example.test.zone")
	b.start()
	b.want("external", "new.example.test", "192.0.2.1")
	b.want("external", "h4999.example.test", "10.0.19.249")
}
