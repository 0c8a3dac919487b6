package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab/load"
)

const (
	editRounds   = 12
	editPatience = time.Minute
	editPause    = 1200 * time.Millisecond // what comes within a second is told as one
)

// signedEdits is how long after a file's rename, or after the end of its
// writing, an edit of one record of a signed zone with ZONEMD is served, and a
// secondary has been told; whatever the secondary then asks for by IXFR must be
// no more than the edit touched. Postern has all cores.
func (b *bench) signedEdits() error {
	for _, hosts := range []int{b.hosts * 58 / 10_000, b.hosts / 10} {
		for _, denial := range []string{"nsec", "nsec3"} {
			if err := b.signedEditRows(hosts, denial); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) signedEditRows(hosts int, denial string) error {
	told, err := listenNotify()
	if err != nil {
		return err
	}
	defer told.close()
	dir, err := os.MkdirTemp(b.dir, "edited")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "zones", "example.test.zone")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, load.Zone("example.test", hosts, 1), 0o644); err != nil {
		return err
	}
	s, err := b.setup("postern", path, bare)
	if err != nil {
		return err
	}
	s.more = fmt.Sprintf("[dnssec.bench]\ndenial = %q\nzonemd = \"on\"\n[zone.\"example.test\"]\ndnssec = \"bench\"\nsecondaries = [\"second\"]\n"+
		"[peer.second]\nnotify = [%q]\ntransfer_from = [\"127.0.0.1/32\"]\nkeys = []\ninsecure_by_address = true\n", denial, told.conn.LocalAddr())
	s.cores = true
	p, err := b.start(s)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := signedSince(p.at, 1, time.Now().Add(5*editPatience)); err != nil {
		return fmt.Errorf("first signature: %w", err)
	}
	version := uint32(1)
	for _, how := range []struct {
		name string
		save func(string, []byte) (time.Time, error)
	}{{"renamed", rename}, {"written in place", overwrite}} {
		var served, heard []float64
		changed := 0
		for range editRounds {
			version++
			time.Sleep(editPause)
			e, err := b.oneEdit(p.at, told, path, load.Zone("example.test", hosts, version), version, how.save)
			if err != nil {
				return err
			}
			served, heard, changed = append(served, e.served), append(heard, e.heard), max(changed, e.records)
		}
		b.printf("%-44s served %.3f s (at most %.3f), told %.3f s (at most %.3f), IXFR of at most %d records; load average %s\n",
			fmt.Sprintf("%d records, %s, %s:", hosts*172/100+12, denial, how.name),
			middle(served), slices.Max(served), middle(heard), slices.Max(heard), changed, loadAverage())
	}
	return nil
}

// edited is what became of one edit: seconds from the file's end.
type edited struct {
	served, heard float64
	records       int
}

func (b *bench) oneEdit(at netip.AddrPort, told *notified, path string, text []byte, version uint32, save func(string, []byte) (time.Time, error)) (edited, error) {
	before, err := serialOf(at)
	if err != nil {
		return edited{}, err
	}
	done, err := save(path, text)
	if err != nil {
		return edited{}, err
	}
	if err := signedSince(at, version, done.Add(editPatience)); err != nil {
		return edited{}, err
	}
	e := edited{served: time.Since(done).Seconds()}
	after, err := serialOf(at)
	if err != nil {
		return edited{}, err
	}
	heard, err := told.wait(after, done.Add(editPatience))
	if err != nil {
		return edited{}, err
	}
	e.heard = max(heard.Sub(done).Seconds(), e.served)
	e.records, err = difference(at, before)
	return e, err
}

// rename puts a whole file in the place of the old one.
func rename(path string, text []byte) (time.Time, error) {
	beside := filepath.Join(filepath.Dir(path), ".new")
	if err := os.WriteFile(beside, text, 0o644); err != nil {
		return time.Time{}, err
	}
	return time.Now(), os.Rename(beside, path)
}

func overwrite(path string, text []byte) (time.Time, error) {
	err := os.WriteFile(path, text, 0o644)
	return time.Now(), err
}

// signedSince asks until the version is served with a signature.
func signedSince(at netip.AddrPort, version uint32, end time.Time) error {
	want := [4]byte{10, byte(version >> 16), byte(version >> 8), byte(version)}
	q := new(dns.Msg)
	q.SetQuestion("changing.example.test.", dns.TypeA).SetEdns0(1232, true)
	c := &dns.Client{Timeout: time.Second}
	for time.Now().Before(end) {
		if r, _, err := c.Exchange(q, at.String()); err == nil && len(r.Answer) == 2 {
			a, isA := r.Answer[0].(*dns.A)
			_, isSig := r.Answer[1].(*dns.RRSIG)
			if isA && isSig && a.A.Equal(want[:]) {
				return nil
			}
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("version %d was not served signed in time", version)
}

func serialOf(at netip.AddrPort) (uint32, error) {
	q := new(dns.Msg)
	q.SetQuestion("example.test.", dns.TypeSOA)
	r, err := dns.Exchange(q, at.String())
	if err != nil {
		return 0, err
	}
	for _, rr := range r.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial, nil
		}
	}
	return 0, errors.New("no SOA")
}

// difference counts the records of an IXFR since a serial.
func difference(at netip.AddrPort, since uint32) (int, error) {
	q := new(dns.Msg)
	q.SetIxfr("example.test.", since, "ns1.example.test.", "hostmaster.example.test.")
	all, err := new(dns.Transfer).In(q, at.String())
	if err != nil {
		return 0, err
	}
	n := 0
	for e := range all {
		if e.Error != nil {
			return 0, e.Error
		}
		n += len(e.RR)
	}
	return n, nil
}

// notified is a secondary that only listens for NOTIFY, and answers it.
type notified struct {
	conn   net.PacketConn
	serial atomic.Uint32
	news   chan uint32
}

func listenNotify() (*notified, error) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &notified{conn: conn, news: make(chan uint32, 64)}
	go n.listen()
	return n, nil
}

func (n *notified) close() { n.conn.Close() }

// listen ends when the socket is closed.
func (n *notified) listen() {
	buf := make([]byte, 4096)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		m := new(dns.Msg)
		if m.Unpack(buf[:size]) != nil {
			continue
		}
		r := new(dns.Msg).SetReply(m)
		if m.Opcode == dns.OpcodeQuery { // how far it is: as far as it was told
			r.Answer = []dns.RR{&dns.SOA{
				Hdr: dns.RR_Header{Name: "example.test.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 1},
				Ns:  "ns1.example.test.", Mbox: "hostmaster.example.test.", Serial: n.serial.Load(),
			}}
		}
		if out, err := r.Pack(); err == nil {
			_, _ = n.conn.WriteTo(out, from) // it asks again
		}
		for _, rr := range m.Answer {
			if soa, ok := rr.(*dns.SOA); ok && m.Opcode == dns.OpcodeNotify {
				n.serial.Store(soa.Serial)
				select {
				case n.news <- soa.Serial:
				default: // nobody waits
				}
			}
		}
	}
}

// wait returns when the serial was told.
func (n *notified) wait(serial uint32, end time.Time) (time.Time, error) {
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	for {
		select {
		case got := <-n.news:
			if got == serial {
				return time.Now(), nil
			}
		case <-timer.C:
			return time.Time{}, fmt.Errorf("no NOTIFY of %d in time", serial)
		}
	}
}
