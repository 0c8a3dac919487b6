package app

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// mute is a DNS that stops to answer while told to.
type mute struct {
	tree
	silent atomic.Bool
}

func (m *mute) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if !m.silent.Load() {
		m.tree.ServeDNS(w, q)
	}
}

// TestTheDNSIsGone: nobody answers our questions. What needs an answer is put off,
// clearly and with nothing kept; when it answers again, the same message is taken,
// once.
func TestTheDNSIsGone(t *testing.T) {
	t.Parallel()
	world := &mute{tree: newPen(t).world()}
	world.silent.Store(true)
	h := buildWith(t, verdictConfig, map[string]string{
		"root.hints": ". 3600 NS ns.root.\nns.root. 3600 A 192.0.2.1\n",
		"map":        "192.0.2.1 " + serveDNS(t, world) + "\n",
	})
	const msg = "From: a@reject.example\r\nSubject: hello\r\n\r\nhello"
	d := h.connect("127.0.0.2", "sub.reject.example")
	for range 2 {
		if r := d.send("x@reject.example", msg); !strings.HasPrefix(r, "451 4.") || !strings.Contains(r, "does not answer") {
			t.Errorf("without DNS: %s", r)
		}
	}
	if ids, err := h.app.spool.IDs(); err != nil || len(ids) > 0 {
		t.Errorf("%d messages kept, %v", len(ids), err)
	}
	world.silent.Store(false)
	// What did not answer is not asked again at once.
	h.app.resolver.Flush(name.Root, true)
	d = h.connect("127.0.0.2", "sub.reject.example")
	if r := d.send("x@reject.example", msg); !strings.HasPrefix(r, "250 ") {
		t.Errorf("with DNS again: %s", r)
	}
	if ids, err := h.app.spool.IDs(); err != nil || len(ids) != 1 {
		t.Errorf("%d messages kept, %v", len(ids), err)
	}
}
