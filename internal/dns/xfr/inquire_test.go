package xfr

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/contrast"
	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/zone"
)

// witness is another server with a zone: it does what answer says with each
// question, over either transport; nil is silence.
type witness struct {
	answer func(q *dns.Msg, udp bool) []*dns.Msg
	runs   sync.WaitGroup

	mu  sync.Mutex // guards udp and tcp
	udp int        // questions
	tcp int
}

func (w *witness) heard(udp bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if udp {
		w.udp++
	} else {
		w.tcp++
	}
}

func (w *witness) replies(request []byte, udp bool) [][]byte {
	w.heard(udp)
	q := new(dns.Msg)
	if q.Unpack(request) != nil {
		return nil
	}
	var all [][]byte
	for _, m := range w.answer(q, udp) {
		if b, err := m.Pack(); err == nil {
			all = append(all, b)
		}
	}
	return all
}

func (w *witness) exchange(ctx context.Context, _ netip.Addr, _ netip.AddrPort, request []byte) ([]byte, error) {
	if all := w.replies(request, true); len(all) > 0 {
		return all[0], nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (w *witness) dial(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
	ours, theirs := net.Pipe()
	w.runs.Go(func() {
		defer theirs.Close()
		var size [2]byte
		if _, err := io.ReadFull(theirs, size[:]); err != nil {
			return
		}
		request := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(theirs, request); err != nil {
			return
		}
		all := w.replies(request, false)
		var out []byte
		for _, msg := range all {
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(msg))), msg...)
		}
		_, _ = theirs.Write(out)
		if len(all) == 0 {
			_, _ = theirs.Read(size[:]) // silent until we are left
		}
	})
	return ours, nil
}

// holds answers as a plain name server does that has these records.
func holds(t testing.TB, text string, transfer bool) func(*dns.Msg, bool) []*dns.Msg {
	all := parse(t, text)
	return func(q *dns.Msg, _ bool) []*dns.Msg {
		r := new(dns.Msg).SetReply(q)
		r.Authoritative = true
		of := q.Question[0]
		switch {
		case of.Qtype == dns.TypeAXFR && transfer:
			r.Answer = append(append([]dns.RR{}, all...), all[0])
			return []*dns.Msg{r}
		case of.Qtype == dns.TypeAXFR:
			r.Rcode = dns.RcodeRefused
			return []*dns.Msg{r}
		}
		r.Rcode = dns.RcodeNameError
		for _, rr := range all {
			if dns.IsSubDomain(of.Name, rr.Header().Name) {
				r.Rcode = dns.RcodeSuccess
			}
			if rr.Header().Name == of.Name && rr.Header().Rrtype == of.Qtype {
				r.Answer = append(r.Answer, rr)
			}
		}
		return []*dns.Msg{r}
	}
}

func (w *witness) see(t testing.TB, z *zone.Zone, key name.Name, ask bool) (*contrast.Seen, error) {
	t.Helper()
	i := NewInquirer(InquirerConfig{Keys: func() *tsig.Keys { return ring(t) }, Exchange: w.exchange, Dial: w.dial})
	seen, err := i.See(t.Context(), z, &Primary{Name: "it", Addr: []netip.AddrPort{one}, Key: key}, ask)
	w.runs.Wait()
	if len(i.busy) != 0 {
		t.Error("the inquiry has not ended")
	}
	return seen, err
}

// told is the difference between a zone and what was seen, in few words.
func toldApart(t testing.TB, z *zone.Zone, seen *contrast.Seen) string {
	t.Helper()
	c, err := contrast.Of(z, seen, false)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, rr := range c.Here {
		all = append(all, "-"+title(rr))
	}
	for _, rr := range c.There {
		all = append(all, "+"+title(rr))
	}
	return strings.Join(all, " ")
}

func TestSeesByTransferOrByQuestions(t *testing.T) {
	t.Parallel()
	here := zoneOf(t, 7, "www A 192.0.2.8\nold TXT a\nsub NS ns.sub\nns.sub A 192.0.2.9\n")
	there := head(9) + "www A 192.0.2.8\nnew TXT b\nwww MX 1 ns1\n"
	cut := func(q *dns.Msg, udp bool) []*dns.Msg {
		r := holds(t, there, false)(q, udp)
		r[0].Truncated = udp
		if udp {
			r[0].Answer = nil
		}
		return r
	}
	oldest := func(q *dns.Msg, udp bool) []*dns.Msg {
		if q.IsEdns0() != nil {
			return []*dns.Msg{new(dns.Msg).SetRcode(q, dns.RcodeFormatError)}
		}
		return holds(t, there, false)(q, udp)
	}
	for what, c := range map[string]struct {
		answer func(*dns.Msg, bool) []*dns.Msg
		want   string
		open   int
	}{
		"a transfer":           {holds(t, there, true), "-old.example. TXT -sub.example. NS -ns.sub.example. A +new.example. TXT +www.example. MX", 0},
		"no transfer":          {holds(t, there, false), "-old.example. TXT -sub.example. NS -ns.sub.example. A +www.example. MX", 0},
		"nothing whole by UDP": {cut, "-old.example. TXT -sub.example. NS -ns.sub.example. A +www.example. MX", 0},
		"before EDNS":          {oldest, "-old.example. TXT -sub.example. NS -ns.sub.example. A +www.example. MX", 0},
		"one name fails": {func(q *dns.Msg, udp bool) []*dns.Msg {
			if q.Question[0].Name == "old.example." {
				return []*dns.Msg{new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)}
			}
			return holds(t, there, false)(q, udp)
		}, "-sub.example. NS -ns.sub.example. A +www.example. MX", 5},
		"one answer is another's": {func(q *dns.Msg, udp bool) []*dns.Msg {
			r := holds(t, there, false)(q, udp)
			if q.Question[0].Name == "old.example." {
				r[0].Question[0].Name = "new.example."
			}
			return r
		}, "-sub.example. NS -ns.sub.example. A +www.example. MX", 5},
	} {
		w := &witness{answer: c.answer}
		seen, err := w.see(t, here, "", true)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := toldApart(t, here, seen); got != c.want || len(seen.Open) != c.open || seen.SOA.Serial != 9 {
			t.Errorf("%s: got %q, want %q; open %v", what, got, c.want, seen.Open)
		}
		if (seen.Refused == nil) != (what == "a transfer") || (seen.Asked == 0) != (what == "a transfer") {
			t.Errorf("%s: refused %v, asked %d", what, seen.Refused, seen.Asked)
		}
	}
}

// TestSeesNothing: what cannot be compared is an error with its reason, never a
// zone that looks empty.
func TestSeesNothing(t *testing.T) {
	t.Parallel()
	here := zoneOf(t, 7, "www A 192.0.2.8\n")
	refuses := func(q *dns.Msg, _ bool) []*dns.Msg { return []*dns.Msg{new(dns.Msg).SetRcode(q, dns.RcodeRefused)} }
	cached := func(q *dns.Msg, udp bool) []*dns.Msg {
		r := holds(t, head(9), false)(q, udp)
		r[0].Authoritative = false
		return r
	}
	for what, c := range map[string]struct {
		answer func(*dns.Msg, bool) []*dns.Msg
		key    string
		ask    bool
		reason Reason
	}{
		"all is refused":              {refuses, "", true, Refused},
		"a resolver":                  {cached, "", true, NotAuthority},
		"another zone":                {holds(t, "a SOA ns1 h 1 1 1 1 1\n", false), "", true, NotAuthority},
		"no transfer, and none asked": {holds(t, head(9), false), "", false, Refused},
		"answers without our key":     {holds(t, head(9), true), "k.", true, Unsigned},
		"a key that we have not":      {holds(t, head(9), true), "nobody.", true, KeyRefused},
	} {
		key := name.Name("")
		if c.key != "" {
			key = mustName(t, c.key)
		}
		w := &witness{answer: c.answer}
		seen, err := w.see(t, here, key, c.ask)
		if seen != nil || reasonOf(err) != c.reason {
			t.Errorf("%s: %v; want %s", what, err, c.reason)
		}
	}
}

// TestSilenceIsGivenUp: a server that stops answering is not waited for at every
// question, and what it said before is no comparison.
func TestSilenceIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		for i := range 200 {
			fmt.Fprintf(&text, "h%d A 192.0.2.8\n", i)
		}
		here := zoneOf(t, 7, text.String())
		begun := time.Now()
		w := &witness{answer: func(q *dns.Msg, udp bool) []*dns.Msg {
			if q.Question[0].Qtype == dns.TypeSOA || q.Question[0].Qtype == dns.TypeAXFR {
				return holds(t, head(9), false)(q, udp)
			}
			return nil
		}}
		seen, err := w.see(t, here, "", true)
		if seen != nil || reasonOf(err) != Silent || time.Since(begun) > time.Minute {
			t.Errorf("%v, %v after %s", seen, err, time.Since(begun))
		}
	})
}

// TestWithoutUDP: after some questions it is asked by TCP alone.
func TestWithoutUDP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		for i := range 100 {
			fmt.Fprintf(&text, "h%d A 192.0.2.8\n", i)
		}
		here := zoneOf(t, 7, text.String())
		answer := holds(t, head(7)+text.String(), false)
		w := &witness{answer: func(q *dns.Msg, udp bool) []*dns.Msg {
			if udp {
				return nil
			}
			return answer(q, udp)
		}}
		seen, err := w.see(t, here, "", true)
		if err != nil || len(seen.Open) > 0 || toldApart(t, here, seen) != "" {
			t.Fatalf("%v, %+v", err, seen)
		}
		if w.udp > inquiryDeaf+inquiryAtOnce || w.tcp < 500 {
			t.Errorf("%d questions by UDP, %d by TCP", w.udp, w.tcp)
		}
	})
}

func TestTooManyToAskFor(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range inquiryQuestions/5 + 1 {
		fmt.Fprintf(&text, "h%d A 192.0.2.8\n", i)
	}
	w := &witness{answer: holds(t, head(9), false)}
	seen, err := w.see(t, zoneOf(t, 7, text.String()), "", true)
	if seen != nil || err == nil || !strings.Contains(err.Error(), "more than 20000") || !strings.Contains(err.Error(), "REFUSED") {
		t.Errorf("%v", err)
	}
	if w.udp > 0 {
		t.Errorf("%d questions", w.udp)
	}
}

func TestOneInquiryAtATime(t *testing.T) {
	t.Parallel()
	i := NewInquirer(InquirerConfig{})
	i.busy <- struct{}{}
	if _, err := i.See(t.Context(), zoneOf(t, 7, ""), &Primary{Addr: []netip.AddrPort{one}}, true); !errors.Is(err, ErrBusy) || i.Counters.Refused.Value() != 1 {
		t.Errorf("%v", err)
	}
}
