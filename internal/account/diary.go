package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Logins is what has happened at the door of one account.
type Logins struct {
	Last       time.Time // zero: never
	From       string
	Failures   int64 // in all
	LastFailed time.Time
	FailedFrom string
	Networks   []Network // from which it has logged in, newest first
}

// Network is a known one.
type Network struct {
	Prefix netip.Prefix
	Seen   time.Time // to the day
}

// diary holds back what would else be written too often: a flood of guesses, or
// a program that logs in for each message, costs one write a minute and account.
// What a crash loses of it is a minute of one account. It has an entry at most
// for each account.
type diary struct {
	mu    sync.Mutex // guards pages
	pages map[int64]*page
}

// page is what is known of one account beside the database.
type page struct {
	login, failed         time.Time
	loginFrom, failedFrom netip.Addr
	failures              int64
	written               time.Time
	day                   int64 // that today is of, in days since 1970
	today                 int   // failures; written down nowhere
}

const (
	noteEvery   = time.Minute
	maxNetworks = 32 // of an account; the oldest goes
)

// noteLogin writes down a login that worked.
func (k *Keeper) noteLogin(ctx context.Context, acc Account, from netip.Addr, now time.Time) error {
	var err error
	if k.locks.worked(acc.Login, from, now) {
		err = k.noteNetwork(ctx, acc.ID, network(from), now)
	}
	return errors.Join(err, k.note(ctx, acc.ID, now, func(p *page) { p.login, p.loginFrom = now, from }))
}

// noteFailure writes down one that did not, and returns the how manyth of the day
// it is.
func (k *Keeper) noteFailure(ctx context.Context, id int64, from netip.Addr, now time.Time) (today int, err error) {
	err = k.note(ctx, id, now, func(p *page) {
		p.failures++
		p.failed, p.failedFrom = now, from
		if day := now.Unix() / 86400; day != p.day {
			p.day, p.today = day, 0
		}
		p.today++
		today = p.today
	})
	return today, err
}

func (k *Keeper) note(ctx context.Context, id int64, now time.Time, edit func(*page)) error {
	k.diary.mu.Lock()
	if k.diary.pages == nil {
		k.diary.pages = map[int64]*page{}
	}
	p := k.diary.pages[id]
	if p == nil {
		p = &page{}
		k.diary.pages[id] = p
	}
	edit(p)
	if now.Sub(p.written) < noteEvery {
		k.diary.mu.Unlock()
		return nil
	}
	whole := p.takeLocked(now)
	k.diary.mu.Unlock()
	return k.write(ctx, id, whole)
}

// takeLocked returns what is to be written and empties the page.
func (p *page) takeLocked(now time.Time) page {
	whole := *p
	*p = page{written: now, day: p.day, today: p.today}
	return whole
}

func (k *Keeper) write(ctx context.Context, id int64, p page) error {
	if p.login.IsZero() && p.failures == 0 {
		return nil
	}
	_, err := k.db.ExecContext(ctx, `UPDATE accounts SET
		login_at = CASE WHEN ?1 > 0 THEN ?1 ELSE login_at END, login_from = CASE WHEN ?1 > 0 THEN ?2 ELSE login_from END,
		failures = failures + ?3,
		failed_at = CASE WHEN ?3 > 0 THEN ?4 ELSE failed_at END, failed_from = CASE WHEN ?3 > 0 THEN ?5 ELSE failed_from END
		WHERE id = ?6`, seconds(p.login), p.loginFrom.String(), p.failures, seconds(p.failed), p.failedFrom.String(), id)
	if err != nil {
		return fmt.Errorf("write down logins: %w", err)
	}
	return nil
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// Flush writes down all that was held back.
func (k *Keeper) Flush(ctx context.Context) error {
	k.diary.mu.Lock()
	whole := map[int64]page{}
	now := k.c.Now()
	for id, p := range k.diary.pages {
		whole[id] = p.takeLocked(now)
		if now.Sub(whole[id].written) >= noteEvery && p.day != now.Unix()/86400 {
			delete(k.diary.pages, id)
		}
	}
	k.diary.mu.Unlock()
	var errs []error
	for id, p := range whole {
		errs = append(errs, k.write(ctx, id, p))
	}
	return errors.Join(errs...)
}

// Logins returns what has happened at the door of an account.
func (k *Keeper) Logins(ctx context.Context, acc Account) (Logins, error) {
	if err := k.Flush(ctx); err != nil {
		return Logins{}, err
	}
	var l Logins
	var last, failed int64
	err := k.db.QueryRowContext(ctx, "SELECT login_at, login_from, failures, failed_at, failed_from FROM accounts WHERE id = ?", acc.ID).
		Scan(&last, &l.From, &l.Failures, &failed, &l.FailedFrom)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Logins{}, fmt.Errorf("load logins of %s: %w", acc.Login, err)
	}
	l.Last, l.LastFailed = moment(last), moment(failed)
	err = k.eachNetwork(ctx, "WHERE account = ? ORDER BY seen DESC, network", func(_ string, n Network) { l.Networks = append(l.Networks, n) }, acc.ID)
	return l, err
}

// moment is the zero time for 0.
func moment(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}

// openNetworks takes over which networks were known before the start.
func (k *Keeper) openNetworks(ctx context.Context) error {
	return k.eachNetwork(ctx, "WHERE seen > ?", func(login string, n Network) { k.locks.know(login, n.Prefix, n.Seen) },
		k.c.Now().Add(-knownFor).Unix())
}

func (k *Keeper) eachNetwork(ctx context.Context, where string, do func(login string, n Network), args ...any) error {
	rows, err := k.db.QueryContext(ctx, "SELECT login, network, seen FROM account_networks JOIN accounts ON accounts.id = account "+where, args...)
	if err != nil {
		return fmt.Errorf("load known networks: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var login, text string
		var seen int64
		if err := rows.Scan(&login, &text, &seen); err != nil {
			return fmt.Errorf("load known networks: %w", err)
		}
		if p, err := netip.ParsePrefix(text); err == nil { // a damaged one is not known
			do(login, Network{p, moment(seen)})
		}
	}
	return rows.Err()
}

func (k *Keeper) noteNetwork(ctx context.Context, id int64, n netip.Prefix, now time.Time) error {
	if !n.IsValid() {
		return nil
	}
	return k.change(ctx, "write down a known network", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO account_networks (account, network, seen) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET seen = excluded.seen`, id, n.String(), now.Unix()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM account_networks WHERE account = ?1 AND network NOT IN
			(SELECT network FROM account_networks WHERE account = ?1 ORDER BY seen DESC LIMIT ?2)`, id, maxNetworks)
		return err
	})
}
