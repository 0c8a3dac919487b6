package submission

import (
	"context"
	"errors"
	"sync"
	"time"

	"postern/internal/account"
	"postern/internal/mail/smtpd"
)

// live is the sessions that are logged in, by account. It holds as many as there
// are connections, which the listeners bound.
type live struct {
	mu       sync.Mutex // guards what follows
	sessions map[int64]map[*session]*stay
}

// stay is one session's.
type stay struct {
	conn *smtpd.Conn
	acc  account.Account
	busy chan struct{} // closed when the message that it is handing over is; nil: it is handing over none
}

func newLive() *live { return &live{sessions: map[int64]map[*session]*stay{}} }

func (l *live) enter(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions[s.acc.ID] == nil {
		l.sessions[s.acc.ID] = map[*session]*stay{}
	}
	l.sessions[s.acc.ID][s] = &stay{conn: s.conn, acc: s.acc}
}

func (l *live) leave(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if delete(l.sessions[s.acc.ID], s); len(l.sessions[s.acc.ID]) == 0 {
		delete(l.sessions, s.acc.ID)
	}
}

// begin notes that s hands over a message; what it returns, that it is done.
func (l *live) begin(s *session) (done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	its := l.sessions[s.acc.ID][s]
	if its == nil {
		return func() {}
	}
	busy := make(chan struct{})
	its.busy = busy
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		its.busy = nil
		close(busy)
	}
}

// of returns an account's sessions as they are now.
func (l *live) of(id int64) []stay {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]stay, 0, len(l.sessions[id]))
	for _, its := range l.sessions[id] {
		out = append(out, *its)
	}
	return out
}

// SignOut ends the sessions of an account whose login does not hold any more: one
// that waits for its client at once, one in a command or a message after that,
// which is then refused. It is for whoever has changed the account.
func (d *Door) SignOut(ctx context.Context, id int64) {
	if d.c.Accounts == nil {
		return
	}
	for _, its := range d.live.of(id) {
		err := d.c.Accounts.Active(ctx, its.acc)
		switch {
		case err == nil:
		case errors.Is(err, account.ErrSignedOut):
			d.Counters.SignedOut.Inc()
			its.conn.End(&signedOut)
		default: // it is asked again at its next MAIL
			d.c.Log.Error("a session may outlive its account", "account", its.acc.Login, "err", err)
		}
	}
}

// settleFor is how long Settle waits; a scanner may take its time.
const settleFor = 10 * time.Second

// Settle waits until no message of an account is between the last look at its
// login and the queue, so that whoever empties the queue then finds them all. It
// reports false when that took too long.
func (d *Door) Settle(ctx context.Context, id int64) bool {
	ctx, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	for _, its := range d.live.of(id) {
		if its.busy == nil {
			continue
		}
		select {
		case <-its.busy:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
