// Package listen owns the inbound DNS sockets: UDP in batches, TCP pipelined
// and bounded, TLS as TCP; HTTPS by doh and QUIC by doq. It frames, counts and times out; what a message means is the
// handler's affair, and no message is looked into here.
//
// A Set holds the listeners of the process and changes them as one: what is
// new is bound first, then everything is swapped, and sockets that stay are
// not touched. Each UDP socket has one reader goroutine that calls its handler
// inline; each TCP listener one acceptor, each connection one reader, each
// query over HTTPS or QUIC a goroutine of its stream. An
// answer that takes longer is kept (Request.Keep) and sent by another
// goroutine, in whatever order it comes; over TCP and TLS it may have many
// messages (Pending.Send). Stop ends them all.
//
// It never parses DNS, never limits rates (that is the gate) and never starts
// a goroutine for a datagram. RFC 1035, Section 4.2; RFC 7766 (TCP); RFC 7858
// (TLS); RFC 8484 (HTTPS); RFC 9250 (QUIC); RFC 9715 (no fragments); RFC 3542 and IP_PKTINFO (replies come from the address that
// was asked).
package listen

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"postern/internal/metrics"
)

// Transport is how a message came.
type Transport uint8

// Transports.
const (
	UDP Transport = iota
	TCP
	TLS
	HTTPS
	QUIC
)

// String returns the word used in the configuration, the log and the metrics.
func (t Transport) String() string {
	switch t {
	case TCP:
		return "tcp"
	case TLS:
		return "tls"
	case HTTPS:
		return "https"
	case QUIC:
		return "quic"
	}
	return "udp"
}

// datagrams tells UDP sockets from TCP ones.
func (t Transport) datagrams() bool { return t == UDP || t == QUIC }

// secure tells whether there is a handshake before the first message.
func (t Transport) secure() bool { return t == TLS || t == HTTPS || t == QUIC }

// Request is one message from a client. It is lent to the handler for the
// length of one call.
type Request struct {
	Msg       []byte
	Client    netip.AddrPort
	Local     netip.AddrPort // the address that was asked
	Transport Transport
	At        time.Time // when it was read, of UDP: one look at the clock a burst; else zero
	// TLS is what was agreed on, and what the client has shown, of TLS alone; the
	// same pointer for all messages of a connection. Nothing was compared with
	// anything: what a certificate is worth is the handler's affair.
	TLS *tls.ConnectionState

	// Seen is, of a message that Ahead has looked at, its number there + 1; else 0.
	Seen int

	from keeper
	slot int
}

// Handler answers requests. One handler is used by one goroutine at a time.
type Handler interface {
	// Serve appends the reply to dst, which is empty, and returns it; nothing
	// is sent where the result is empty. It must not wait for anything: what
	// takes longer is kept.
	Serve(r *Request, dst []byte) []byte
}

// Bare is a Handler whose guard against its own panics the caller can take
// over, for many messages at once.
type Bare interface {
	// ServeBare is Serve without the guard.
	ServeBare(r *Request, dst []byte) []byte
	// Failed is told of a panic of ServeBare.
	Failed(cause any)
}

// Ahead is a Bare that may look at all messages of a burst before it answers the
// first of them.
type Ahead interface {
	Bare
	// Ahead is told that a burst of so many messages, at most MaxBurst, is at
	// hand, and where to read them: they are lent until the last is served. It
	// reports whether it has looked, at each of them.
	Ahead(count int, message func(i int) []byte) bool
}

// guarded is a Handler as a Bare.
type guarded struct{ Handler }

func (g guarded) ServeBare(r *Request, dst []byte) []byte { return g.Serve(r, dst) }

// Failed implements Bare. A Handler that keeps its own guard does not come
// here by mistake.
func (guarded) Failed(cause any) { panic(cause) }

// bare returns h for use in bursts.
func bare(h Handler) Bare {
	if b, ok := h.(Bare); ok {
		return b
	}
	return guarded{h}
}

// Insiders is a Handler that knows its own clients from strangers. They have a
// bound of TCP connections to themselves, so that neither role of an address
// starves the other.
type Insiders interface {
	Insider(client netip.Addr) bool
}

// keeper makes a request outlive its handler's call.
type keeper interface {
	keep(r *Request) *Pending
}

// Keep returns a copy of the request that outlives the call, to be answered
// later from any goroutine; the handler then returns nothing. Whoever keeps a
// request must call Reply once: Stop waits for it.
func (r *Request) Keep() *Pending { return r.from.keep(r) }

// Pending is a request that is answered later.
type Pending struct {
	Request // Msg is a copy
	send    func(msg []byte)
	stream  *tcpConn // nil: one message is all that can be sent
	frame   []byte   // of Send
}

// ErrOneMessage says that the transport takes no reply of many messages.
var ErrOneMessage = errors.New("one reply has one message here")

// Send sends one of the messages of a reply that has many, and waits for the
// client to take it. An error, or the end of ctx, breaks the connection. Reply
// ends the request, with one more message or an empty one. Only for TCP and
// TLS, and for one goroutine at a time.
func (p *Pending) Send(ctx context.Context, msg []byte) error {
	if p.stream == nil || len(msg) == 0 || len(msg) > 0xFFFF {
		return ErrOneMessage
	}
	p.frame = binary.BigEndian.AppendUint16(p.frame[:0], uint16(len(msg)))
	p.frame = append(p.frame, msg...)
	return p.stream.part(ctx, p.frame)
}

// Reply sends msg to where the request came from; an empty one only says that
// there will be none. It does not wait for the client.
func (p *Pending) Reply(msg []byte) { p.send(msg) }

// Break ends the connection of a reply of many messages that will not be whole:
// what came next would be taken for the rest of it. The request is still to be
// ended with Reply.
func (p *Pending) Break() {
	if p.stream != nil {
		_ = p.stream.raw.Close()
	}
}

// Counters counts what the sockets saw.
type Counters struct {
	UDPReceived   metrics.Counter // datagrams
	UDPSent       metrics.Counter // datagrams
	UDPSendErrors metrics.Counter // replies the system did not take
	UDPTooLong    metrics.Counter // datagrams longer than any query
	UDPLingered   metrics.Counter // times a busy reader let questions gather
	UDPBundled    metrics.Counter // replies that left together with others

	TCPAccepted      metrics.Counter // connections
	TCPRefusedTotal  metrics.Counter // connections over the common bound
	TCPRefusedClient metrics.Counter // connections over one client's bound
	TCPIdleClosed    metrics.Counter // connections, also of TLS, that asked nothing, or never finished a message
	TCPSlowClosed    metrics.Counter // connections, also of TLS, that did not take their replies
	TCPMessages      metrics.Counter // messages read

	// TLS, HTTPS and QUIC together.
	SecureAccepted      metrics.Counter // connections
	SecureRefusedTotal  metrics.Counter // connections over the common bound
	SecureRefusedClient metrics.Counter // connections over one client's bound

	TLSHandshakesFailed metrics.Counter // of TLS and HTTPS: wrong, or too slow
	TLSMessages         metrics.Counter // messages read
	HTTPSMessages       metrics.Counter // messages read
	HTTPSRefused        metrics.Counter // connections and requests that were no questions
	QUICMessages        metrics.Counter // messages read
	QUICRefused         metrics.Counter // connections closed for breaking the protocol
}
