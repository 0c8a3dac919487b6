package listen

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// TestReadAfterLingering: what came meanwhile is there after a stay, all of it,
// and one that was due and found nothing waits as ever.
func TestReadAfterLingering(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local(t, "127.0.0.1")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	counters := new(Counters)
	lingered := &counters.UDPLingered
	p, err := newPackets(conn, conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), false, counters)
	if err != nil {
		t.Fatal(err)
	}
	b := p.(*batch)
	client := dial(t, "udp", conn.LocalAddr().(*net.UDPAddr).AddrPort())
	say := func(n int) {
		for i := range n {
			if _, err := fmt.Fprint(client, i); err != nil {
				t.Error(err)
			}
		}
	}
	say(3)
	b.stay = true
	if n, err := b.read(); n != 3 || err != nil || b.stay || lingered.Value() != 1 {
		t.Errorf("%d, %v, after %d stays", n, err, lingered.Value())
	}
	b.stay, b.linger.row = true, lingerRow
	later := time.AfterFunc(20*time.Millisecond, func() { say(1) })
	defer later.Stop()
	if n, err := b.read(); n != 1 || err != nil || lingered.Value() != 2 || b.linger.row != 0 {
		t.Errorf("%d, %v, after %d stays, %d in a row", n, err, lingered.Value(), b.linger.row)
	}
	now := time.Now()
	b.got, b.linger = 1, linger{last: now, busy: lingerAfter}
	if b.flush(now.Add(lingerEach / 2)); !b.stay {
		t.Error("a busy reader does not stay away")
	}
}
