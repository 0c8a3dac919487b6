package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Stage is a point of an SMTP session, where a Sink can misbehave.
type Stage string

// The stages: what the client has just sent.
const (
	AtConnect  Stage = "connect" // nothing: the greeting is due
	AtEHLO     Stage = "EHLO"
	AtSTARTTLS Stage = "STARTTLS"
	AtMAIL     Stage = "MAIL"
	AtRCPT     Stage = "RCPT"
	AtDATA     Stage = "DATA"
	AtDot      Stage = "dot"
	AtQUIT     Stage = "QUIT"
)

// Fault is what a Sink does wrong: one of those named here, or else a reply,
// "451 4.7.1 come back later" say.
type Fault string

// The faults that are not replies.
const (
	Drop    Fault = "drop"    // close the connection
	Hang    Fault = "hang"    // say nothing more, keep the connection
	Garbage Fault = "garbage" // bytes that are no reply
	Slow    Fault = "slow"    // the right reply, but a byte every 20 ms
	Endless Fault = "endless" // a reply whose lines never end
)

// SinkConfig describes a mail server that takes everything, but for a fault.
type SinkConfig struct {
	// Name is its host name and names the peer.
	Name string
	// Address is where it listens on port 25.
	Address string
	// At and Do say where it misbehaves and how; without Do it is a good
	// server.
	At Stage
	Do Fault
	// Times is how many sessions have the fault; 0 means all.
	Times int
	// Offers are further EHLO keywords.
	Offers []string
}

// Sink is a mail server that records every byte. It runs in the test.
type Sink struct {
	Log *Log

	l    *Lab
	cfg  SinkConfig
	stop chan struct{} // closed to end sessions that hang

	mu       sync.Mutex // guards sessions and each of them
	sessions []*SinkSession
}

// SinkSession is one connection to a Sink.
type SinkSession struct {
	Client   string   // address and port
	Bytes    []byte   // all that the client sent
	Commands []string // its command lines
	Messages []string // what came between DATA and the dot, which counts even when refused
	Ended    bool
}

// Sink starts a mail server that records and misbehaves.
func (l *Lab) Sink(cfg SinkConfig) *Sink {
	l.t.Helper()
	l.place(cfg.Name)
	s := &Sink{Log: l.newLog(cfg.Name), l: l, cfg: cfg, stop: make(chan struct{})}
	listener, err := net.Listen("tcp", net.JoinHostPort(cfg.Address, "25"))
	if err != nil {
		l.t.Fatal(err)
	}
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n := s.begin(conn)
			sessions.Go(func() { s.session(n, conn) })
		}
	})
	l.t.Cleanup(func() {
		listener.Close()
		close(s.stop)
		sessions.Wait()
	})
	return s
}

// Sessions returns copies of all sessions so far.
func (s *Sink) Sessions() []SinkSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []SinkSession
	for _, session := range s.sessions {
		all = append(all, *session)
	}
	return all
}

// Wait waits until done says true of the sessions and returns them.
func (s *Sink) Wait(what string, done func([]SinkSession) bool) []SinkSession {
	s.l.t.Helper()
	var all []SinkSession
	s.l.Eventually(s.cfg.Name+" waits for "+what, func() error {
		if all = s.Sessions(); !done(all) {
			return fmt.Errorf("not among %d sessions", len(all))
		}
		return nil
	})
	return all
}

// Messages waits for at least n messages and returns all there are.
func (s *Sink) Messages(n int) []string {
	s.l.t.Helper()
	var messages []string
	s.Wait(fmt.Sprintf("%d messages", n), func(all []SinkSession) bool {
		messages = nil
		for _, session := range all {
			messages = append(messages, session.Messages...)
		}
		return len(messages) >= n
	})
	return messages
}

func (s *Sink) begin(conn net.Conn) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.sessions, &SinkSession{Client: conn.RemoteAddr().String()})
	return len(s.sessions)
}

// errOver ends a session.
var errOver = errors.New("session over")

// dialogue is one session in progress.
type dialogue struct {
	sink   *Sink
	n      int // counted from 1
	record *SinkSession
	conn   net.Conn
	lines  *bufio.Reader

	recipients int // taken in this transaction
}

func (s *Sink) session(n int, conn net.Conn) {
	s.mu.Lock()
	d := &dialogue{sink: s, n: n, record: s.sessions[n-1], conn: conn}
	s.mu.Unlock()
	ended := make(chan struct{})
	defer func() {
		close(ended)
		conn.Close()
		s.mu.Lock()
		d.record.Ended = true
		s.mu.Unlock()
	}()
	go func() {
		select {
		case <-s.stop:
			conn.Close()
		case <-ended:
		}
	}()
	d.lines = bufio.NewReader(io.TeeReader(conn, recorder{d}))
	if err := d.run(); !errors.Is(err, errOver) {
		s.Log.Printf("[%d] ended: %v", n, err)
	}
}

// recorder keeps what the client sends.
type recorder struct{ d *dialogue }

func (r recorder) Write(p []byte) (int, error) {
	r.d.sink.mu.Lock()
	defer r.d.sink.mu.Unlock()
	r.d.record.Bytes = append(r.d.record.Bytes, p...)
	return len(p), nil
}

// run ends with an error, errOver if nothing is wrong.
func (d *dialogue) run() error {
	if err := d.say(AtConnect, "220 "+d.sink.cfg.Name+" ESMTP"); err != nil {
		return err
	}
	for {
		line, err := d.lines.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		d.sink.Log.Printf("[%d] > %s", d.n, line)
		d.sink.mu.Lock()
		d.record.Commands = append(d.record.Commands, line)
		d.sink.mu.Unlock()
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		if err := d.command(verb); err != nil {
			return err
		}
	}
}

func (d *dialogue) command(verb string) error {
	switch verb {
	case "EHLO", "HELO":
		lines := append([]string{d.sink.cfg.Name, "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"}, d.sink.cfg.Offers...)
		var reply []string
		for i, line := range lines {
			mark := "-"
			if i == len(lines)-1 {
				mark = " "
			}
			reply = append(reply, "250"+mark+line)
		}
		return d.say(AtEHLO, strings.Join(reply, "\r\n"))
	case "STARTTLS":
		return d.say(AtSTARTTLS, "454 4.7.0 TLS not available")
	case "MAIL":
		d.recipients = 0
		return d.say(AtMAIL, "250 2.1.0 ok")
	case "RCPT":
		if fault, due := d.fault(AtRCPT); !due || fault == Slow {
			d.recipients++
		}
		return d.say(AtRCPT, "250 2.1.5 ok")
	case "DATA":
		return d.data()
	case "QUIT":
		if err := d.say(AtQUIT, "221 2.0.0 bye"); err != nil {
			return err
		}
		return errOver
	case "RSET", "NOOP":
		return d.say("", "250 2.0.0 ok")
	}
	return d.say("", "500 5.5.2 what?")
}

// data reads a message after a 354; any other reply to DATA ends the command.
func (d *dialogue) data() error {
	if fault, ok := d.fault(AtDATA); ok && fault != Slow {
		return d.wrong(fault)
	}
	if d.recipients == 0 {
		// RFC 2920, Section 3.1: a client that pipelines relies on this.
		return d.say("", "554 5.5.1 no valid recipients")
	}
	if err := d.say(AtDATA, "354 go on"); err != nil {
		return err
	}
	var message strings.Builder
	for {
		line, err := d.lines.ReadString('\n')
		if err != nil {
			return err
		}
		if line == ".\r\n" {
			break
		}
		message.WriteString(strings.TrimPrefix(line, "."))
	}
	d.sink.mu.Lock()
	d.record.Messages = append(d.record.Messages, message.String())
	d.sink.mu.Unlock()
	return d.say(AtDot, "250 2.0.0 taken")
}

// fault is the one due at this stage.
func (d *dialogue) fault(at Stage) (Fault, bool) {
	cfg := d.sink.cfg
	due := cfg.Do != "" && cfg.At == at && at != "" && (cfg.Times == 0 || d.n <= cfg.Times)
	return cfg.Do, due
}

// say sends the reply of a stage, or does what is wrong with it.
func (d *dialogue) say(at Stage, reply string) error {
	fault, due := d.fault(at)
	switch {
	case due && fault == Slow:
		return d.trickle(reply)
	case due:
		return d.wrong(fault)
	}
	return d.send(reply)
}

func (d *dialogue) send(reply string) error {
	d.sink.Log.Printf("[%d] < %s", d.n, reply)
	_, err := io.WriteString(d.conn, reply+"\r\n")
	return err
}

func (d *dialogue) wrong(fault Fault) error {
	d.sink.Log.Printf("[%d] fault: %s", d.n, fault)
	switch fault {
	case Drop:
		return errOver
	case Hang:
		// Reads on, so that what the client sends meanwhile is recorded.
		_, err := io.Copy(io.Discard, d.lines)
		return err
	case Garbage:
		_, err := d.conn.Write([]byte("\x00\xff\xfe2\r5\n0 \x80garbage\r\n\x01\r\n"))
		return err
	case Endless:
		for {
			if _, err := io.WriteString(d.conn, "250-and more\r\n"); err != nil {
				return err
			}
		}
	}
	return d.send(string(fault))
}

// trickle sends a reply byte by byte.
func (d *dialogue) trickle(reply string) error {
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for _, b := range []byte(reply + "\r\n") {
		select {
		case <-pace.C:
		case <-d.sink.stop:
			return errOver
		}
		if _, err := d.conn.Write([]byte{b}); err != nil {
			return err
		}
	}
	return nil
}
