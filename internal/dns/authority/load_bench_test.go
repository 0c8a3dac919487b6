package authority

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The zone of the comparison with other servers: hosts with one address or
// two, every tenth with an MX, every twentieth number a delegation with glue,
// every fiftieth an alias; 100,000 hosts are 172,000 records. BENCH_HOSTS
// asks for another size.
func benchHosts(b *testing.B) int {
	if text := os.Getenv("BENCH_HOSTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	return 100_000
}

func writeLargeZone(b *testing.B, path string, hosts int, first string) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	put := func(format string, args ...any) { fmt.Fprintf(w, format, args...) }
	put("$ORIGIN example.test.\n$TTL 3600\n@ IN SOA ns1 hostmaster 2026112101 7200 3600 1209600 300\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.1\n")
	put("ns1 AAAA 2001:db8::1\nns2 A 192.0.2.2\n@ MX 10 mail\nmail A 192.0.2.3\n@ TXT \"v=spf1 mx -all\"\n*.w TXT \"wild\"\n*.w A 192.0.2.9\nfirst A %s\n", first)
	for i := range hosts {
		put("h%d A 10.%d.%d.%d\n", i, i>>16&255, i>>8&255, i&255)
		if i%2 == 0 {
			put("h%d AAAA 2001:db8::%x:%x\n", i, i>>16, i&65535)
		}
		if i%10 == 0 {
			put("h%d MX 10 mail\n", i)
		}
		if i%20 == 0 {
			put("d%d NS ns1.d%d\nns1.d%d A 10.200.%d.%d\n", i, i, i, i>>8&255, i&255)
		}
		if i%50 == 0 {
			put("c%d CNAME h%d\n", i, i)
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

// benchAuthority starts one view over root/zones.
func benchAuthority(b *testing.B, root string) *Authority {
	b.Helper()
	a, err := New(Config{
		Views:    []ViewConfig{{Name: "external", Dir: filepath.Join(root, "zones"), Clients: anyClient}},
		StateDir: filepath.Join(root, "state"), Poll: -1, Settle: time.Millisecond,
	})
	if err != nil {
		b.Fatal(err)
	}
	a.clock = func() time.Time { return time.Now().Add(time.Minute) } // every file has come to rest
	if err := a.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	return a
}

func stopBench(b *testing.B, a *Authority, records int) {
	b.Helper()
	b.StopTimer()
	defer b.StartTimer()
	if got := a.Zones(); len(got) != 1 || got[0].State != OK || got[0].Records < records {
		b.Fatalf("zones: %+v", got)
	}
	if err := a.Stop(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func largeRoot(b *testing.B) (root, file string, hosts int) {
	b.Helper()
	root, hosts = b.TempDir(), benchHosts(b)
	if err := os.Mkdir(filepath.Join(root, "zones"), 0o700); err != nil {
		b.Fatal(err)
	}
	file = filepath.Join(root, "zones", "example.test.zone")
	writeLargeZone(b, file, hosts, "192.0.2.10")
	return root, file, hosts
}

// BenchmarkFirstLoad reads, judges, keeps and compiles a large zone.
func BenchmarkFirstLoad(b *testing.B) {
	root, _, hosts := largeRoot(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		if err := os.RemoveAll(filepath.Join(root, "state")); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		stopBench(b, benchAuthority(b, root), hosts)
	}
}

// BenchmarkRestart takes it from the journal; the file has not changed.
func BenchmarkRestart(b *testing.B) {
	root, _, hosts := largeRoot(b)
	stopBench(b, benchAuthority(b, root), hosts)
	b.ReportAllocs()
	for b.Loop() {
		a := benchAuthority(b, root)
		for _, s := range a.owner.sources {
			if !s.folded && a.build != "" {
				b.Fatal("the file was read again")
			}
		}
		stopBench(b, a, hosts)
	}
}

// BenchmarkReloadOneRecord changes one record of it.
func BenchmarkReloadOneRecord(b *testing.B) {
	root, file, hosts := largeRoot(b)
	a := benchAuthority(b, root)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		writeLargeZone(b, file, hosts, fmt.Sprintf("192.0.2.%d", n%200+1))
		b.StartTimer()
		report, err := a.Reload(b.Context())
		if err != nil || len(report.Changes) != 1 || report.Changes[0].Added != 1 {
			b.Fatalf("report %+v, %v", report, err)
		}
	}
	z, err := a.Export("example.test", "")
	if err != nil {
		b.Fatal(err)
	}
	want := fmt.Sprintf("192.0.2.%d", n%200+1)
	if got := z.Node("\x05first\x07example\x04test\x00").Set(dns.TypeA).RRs[0].String(); !strings.HasSuffix(got, want) {
		b.Fatalf("served %s, want %s", got, want)
	}
	stopBench(b, a, hosts)
}

// BenchmarkEditOneRecord is what serving an edit of it takes; judging all of
// the zone, which BenchmarkReloadOneRecord waits for, comes later.
func BenchmarkEditOneRecord(b *testing.B) {
	root, file, hosts := largeRoot(b)
	a := benchAuthority(b, root)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		writeLargeZone(b, file, hosts, fmt.Sprintf("192.0.2.%d", n%200+1))
		b.StartTimer()
		var settled error
		err := a.do(b.Context(), func() {
			a.owner.scan(true)
			settled = a.owner.settleDown(b.Context())
		})
		if err = errors.Join(err, settled); err != nil {
			b.Fatal(err)
		}
	}
	if amended := a.Counters.Amended.Value(); amended < uint64(n)-1 {
		b.Fatalf("%d of %d edits were amended", amended, n)
	}
	stopBench(b, a, hosts)
}
