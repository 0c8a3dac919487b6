package spool

import (
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkCommit measures durable messages of 4 KiB from many sessions at
// once, and how many directory syncs they share.
func BenchmarkCommit(b *testing.B) {
	s, err := Open(Config{Dir: filepath.Join(b.TempDir(), "spool"), MinFree: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	message := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 64)
	before := s.Counters.DirSyncs.Value()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := tryCommit(s, message); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(s.Counters.DirSyncs.Value()-before)/float64(b.N), "dirsyncs/op")
}
