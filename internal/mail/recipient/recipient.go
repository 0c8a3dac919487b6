// Package recipient knows who exists behind a route, so that mail for nobody is
// refused at RCPT and never becomes a bounce: a file says so, or the next hop is
// asked, as one asks on the telephone whether somebody lives there: MAIL FROM:<>,
// RCPT TO:, and no message (RFC 5321, Section 3.3, allows it; RFC 3834 is why).
//
// Answers of the next hop are remembered, both ways and within bounds. It is
// never asked without bound: questions for one address are one question, a few
// conversations at most are open, so many questions a second are asked in them,
// and a server that does not answer is left alone for a while. Meanwhile who is
// known to exist is taken, and of others nothing is said (450). A server that
// takes a name made up by chance has nothing to tell: it is found when Postern
// starts and every hour after, and is not asked then.
//
// The Keeper owns its goroutines: one that looks after files and makes up names,
// and those that hold conversations. It makes no sockets itself: its Config's
// Call does.
package recipient

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/lifecycle"
	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
	"postern/internal/mail/smtpline"
	"postern/internal/metrics"
)

// Mode is how a domain's recipients are known. The zero value takes all.
type Mode uint8

// The modes.
const (
	Any       Mode = iota // every recipient is taken, and the next hop decides
	File                  // a file lists them
	Verify                // the next hop is asked
	Directory             // a directory is asked, by LDAP
)

// String is the mode as postern.toml has it.
func (m Mode) String() string { return [...]string{"any", "file", "verify", "ldap"}[m&3] }

// asks reports a mode in which somebody is asked.
func (m Mode) asks() bool { return m == Verify || m == Directory }

// whom is who is asked, for the log.
func (m Mode) whom() string {
	if m == Directory {
		return "the directory"
	}
	return "the next hop"
}

// Domain is what the configuration says about one of our domains.
type Domain struct {
	Name string // as in address.Address.Domain
	Mode Mode
	File string // of mode File
	// Hops says where modes Verify and Directory ask. What was learnt there is
	// forgotten when this is another.
	Hops string
}

// Call is a conversation with a next hop; *deliver.Call is one. One with a
// directory gives its answers as a next hop would.
type Call interface {
	Ask(to address.Address) (deliver.Answer, error)
	Close()
}

// Config is what a Keeper works with.
type Config struct {
	// Call begins a conversation with the next hop of a domain, or its directory,
	// which ends with the context.
	Call func(ctx context.Context, domain string) (Call, error)
	File string           // where known recipients outlive a restart; "": nowhere
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nil: nothing is logged
}

// Counters are what a Keeper counts.
type Counters struct {
	Questions   metrics.Counter // asked of next hops
	Calls       metrics.Counter // conversations begun
	CallFaults  metrics.Counter // that could not be begun, or broke
	Remembered  metrics.Counter // answered from memory
	Unknown     metrics.Counter // recipients refused: nobody of that name
	Unsure      metrics.Counter // recipients put off: nothing is known, and nobody answers
	TakenUnsure metrics.Counter // recipients taken because they existed before, while nobody answers
	Busy        metrics.Counter // questions not asked: too many at once
	Forgotten   metrics.Counter // answers dropped to make room
	FileFaults  metrics.Counter // changed files that could not be used
}

// Keeper knows. It is safe for concurrent use.
type Keeper struct {
	Counters Counters

	cfg     Config
	jobs    lifecycle.Workers
	changed chan struct{} // Follow has something new

	recalled map[string]remembered // by domain; not changed once read
	saved    uint64                // learnt by the last save; of tend, and of Stop after it

	mu      sync.RWMutex // guards domains
	domains map[string]*domain
}

// domain is one of ours. Its fields are set when it is made.
type domain struct {
	Domain
	list  *listed   // of mode File
	asked *verifier // of modes Verify and Directory
}

// New returns a Keeper that takes every recipient until Follow.
func New(cfg Config) (*Keeper, error) {
	if cfg.Call == nil {
		return nil, errors.New("recipient: a way to call is needed")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{cfg: cfg, changed: make(chan struct{}, 1), domains: map[string]*domain{}}
	k.recall()
	return k, nil
}

// Plan is what a configuration asks for, prepared.
type Plan struct{ domains map[string]*domain }

// Prepare reads what the domains need. Nothing changes until Follow.
func (k *Keeper) Prepare(domains []Domain) (*Plan, error) {
	p := &Plan{domains: make(map[string]*domain, len(domains))}
	ours := make([]string, 0, len(domains))
	for _, d := range domains {
		ours = append(ours, d.Name)
	}
	var errs []error
	for _, d := range domains {
		next := &domain{Domain: d}
		switch d.Mode {
		case File:
			var err error
			if next.list, err = openList(d, ours); err != nil {
				errs = append(errs, err)
			}
		case Verify, Directory:
			next.asked = k.verifierOf(d)
		}
		p.domains[d.Name] = next
	}
	return p, errors.Join(errs...)
}

// verifierOf goes on with what is known of the same next hop.
func (k *Keeper) verifierOf(d Domain) *verifier {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if old := k.domains[d.Name]; old != nil && old.Mode == d.Mode && old.Hops == d.Hops {
		return old.asked
	}
	v := newVerifier(k, d.Name, d.Mode)
	if r, ok := k.recalled[d.Name]; ok && r.Hops == d.Hops {
		v.take(r)
	}
	return v
}

// Follow takes a plan of Prepare's.
func (k *Keeper) Follow(p *Plan) {
	k.mu.Lock()
	k.domains = p.domains
	k.mu.Unlock()
	for _, d := range p.domains {
		if d.asked != nil {
			d.asked.wake()
		}
	}
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Find says where mail for an address of ours goes, or refuses it. It may wait
// for the next hop, not longer than patience.
func (k *Keeper) Find(ctx context.Context, to address.Address) ([]address.Address, *smtpline.Reply) {
	targets, reply := k.find(ctx, k.domain(to.Domain), to)
	k.count(reply)
	return targets, reply
}

func (k *Keeper) domain(name string) *domain {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.domains[name]
}

func (k *Keeper) find(ctx context.Context, d *domain, to address.Address) ([]address.Address, *smtpline.Reply) {
	if d == nil || d.Mode == Any {
		return []address.Address{to}, nil
	}
	targets, reply := []address.Address{to}, (*smtpline.Reply)(nil)
	if d.Mode == File {
		targets = k.across(d.list.find(to), d.Name, map[string]bool{keyOf(to): true}, 1)
		if len(targets) == 0 {
			targets, reply = []address.Address{to}, unknown
		}
	} else if !always(to) {
		reply = d.asked.find(ctx, to)
	}
	if reply != nil && !always(to) {
		return nil, reply
	}
	return targets, nil
}

// across follows targets that lie in other domains with a file: an alias there is
// no mailbox of the next hop, and nobody is nobody. One that was met before means
// the mailbox of its name.
func (k *Keeper) across(targets []address.Address, home string, seen map[string]bool, depth int) []address.Address {
	var all []address.Address
	for _, t := range targets {
		d := k.domain(t.Domain)
		if t.Domain == home || d == nil || d.Mode != File || seen[keyOf(t)] || depth > maxDepth {
			all = append(all, t)
			continue
		}
		seen[keyOf(t)] = true
		next := d.list.find(t)
		if len(next) == 0 && always(t) {
			next = []address.Address{t}
		}
		all = append(all, k.across(next, d.Name, seen, depth+1)...)
	}
	return all[:min(len(all), maxTargets)]
}

func (k *Keeper) count(reply *smtpline.Reply) {
	switch {
	case reply.Permanent():
		k.Counters.Unknown.Inc()
	case reply.Temporary():
		k.Counters.Unsure.Inc()
	}
}

// FindForOurs is Find for mail of our own users and hosts. They are not put off
// where nothing is certain: the queue waits in their place. Nor are they outside.
func (k *Keeper) FindForOurs(ctx context.Context, to address.Address) ([]address.Address, *smtpline.Reply) {
	targets, reply := k.Find(ctx, to)
	if reply != nil && (reply.Code < 500 || reply.Reason == closed.Reason) {
		return []address.Address{to}, nil
	}
	return targets, reply
}

// always reports the names that every domain has (RFC 5321, Section 4.5.1; RFC
// 2142, Section 4).
func always(to address.Address) bool {
	return strings.EqualFold(to.Local, "postmaster") || strings.EqualFold(to.Local, "abuse")
}

var (
	unknown = smtpline.Refuse(550, "5.1.1", "user-unknown", "no such user here")
	closed  = smtpline.Refuse(550, "5.7.1", "user-closed", "this address takes no mail from outside")
	full    = smtpline.Refuse(452, "4.2.2", "user-full", "the mailbox is full, try again later")
	unsure  = smtpline.Refuse(450, "4.4.3", "user-unsure", "the address cannot be verified now, try again later")
)

// Start begins to look after files and to make up names.
func (k *Keeper) Start(context.Context) error {
	k.jobs.Go("recipients", k.tend)
	return nil
}

// Stop ends all conversations and writes down who is known. Find goes on with
// that.
func (k *Keeper) Stop(ctx context.Context) error {
	if err := k.jobs.Stop(ctx); err != nil {
		return err
	}
	return k.save()
}

// fileLook is how soon an edited file is noticed.
const fileLook = 2 * time.Second

// tend is the Keeper's own goroutine.
func (k *Keeper) tend(ctx context.Context) {
	look := time.NewTicker(fileLook)
	defer look.Stop()
	write := time.NewTicker(memoryEvery)
	defer write.Stop()
	for {
		for _, d := range k.all() {
			switch d.Mode {
			case File:
				k.reread(d)
			case Verify, Directory:
				d.asked.probeIfDue()
			}
		}
		select {
		case <-look.C:
		case <-k.changed:
		case <-write.C:
			if err := k.save(); err != nil {
				k.cfg.Log.Warn("known recipients not written down", "reason", "recipients-memory", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// reread takes a changed file. One that cannot be used changes nothing.
func (k *Keeper) reread(d *domain) {
	changed, err := d.list.refresh()
	switch {
	case err != nil:
		k.Counters.FileFaults.Inc()
		k.cfg.Log.Error("recipients not read again; the last good ones serve on", "domain", d.Name, "reason", "recipients-file", "err", err)
	case changed:
		k.cfg.Log.Info("recipients read", "domain", d.Name, "file", d.File, "entries", d.list.entries())
	}
}

// all returns the domains by name.
func (k *Keeper) all() []*domain {
	k.mu.RLock()
	defer k.mu.RUnlock()
	all := make([]*domain, 0, len(k.domains))
	for _, d := range k.domains {
		all = append(all, d)
	}
	slices.SortFunc(all, func(x, y *domain) int { return cmp.Compare(x.Name, y.Name) })
	return all
}
