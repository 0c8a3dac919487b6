package doq

import (
	"encoding/binary"
	"testing"

	"github.com/miekg/dns"
)

func query(tb testing.TB, options ...dns.EDNS0) []byte {
	tb.Helper()
	m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
	m.Id = 0
	if options != nil {
		m.SetEdns0(1232, true)
		m.Extra[0].(*dns.OPT).Option = options
	}
	b, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func framed(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

func TestUnframe(t *testing.T) {
	t.Parallel()
	alive := &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}
	padding := &dns.EDNS0_PADDING{Padding: make([]byte, 20)}
	withID := query(t)
	withID[1] = 1
	for _, c := range []struct {
		name  string
		frame []byte
		ok    bool
	}{
		{"nothing", nil, false},
		{"half a length", []byte{0}, false},
		{"an empty message", []byte{0, 0}, false},
		{"shorter than an ID", []byte{0, 1, 0}, false},
		{"cut short", framed(query(t))[:10], false},
		{"something behind it", append(framed(query(t)), 0), false},
		{"an ID", framed(withID), false},
		{"keepalive", framed(query(t, alive)), false},
		{"keepalive behind another option", framed(query(t, padding, alive)), false},
		{"another option", framed(query(t, padding)), true},
		{"a query", framed(query(t)), true},
		{"noise, which is the handler's affair", framed([]byte{0, 0, 1, 2, 255, 255, 255, 255}), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			msg, ok := unframe(c.frame)
			if ok != c.ok || ok && string(framed(msg)) != string(c.frame) {
				t.Errorf("%q, %v", msg, ok)
			}
		})
	}
}

// FuzzUnframe: no message gets past the library's reading with the option.
func FuzzUnframe(f *testing.F) {
	f.Add(framed(query(f)))
	f.Add(framed(query(f, &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE})))
	f.Fuzz(func(t *testing.T, frame []byte) {
		msg, ok := unframe(frame)
		m := new(dns.Msg)
		if !ok || m.Unpack(msg) != nil {
			return
		}
		if opt := m.IsEdns0(); opt != nil {
			for _, o := range opt.Option {
				if o.Option() == dns.EDNS0TCPKEEPALIVE {
					t.Error("keepalive went through")
				}
			}
		}
	})
}
