package inspect

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/lookup"
	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/address"
	"postern/internal/mail/dkim"
	"postern/internal/mail/dmarc"
	"postern/internal/mail/message"
	"postern/internal/mail/spf"
	"postern/internal/mail/spool"
	"postern/internal/mail/verdict"
)

var (
	client = netip.MustParseAddr("192.0.2.1")
	all    = verdict.Checks{SPF: true, DKIM: true, DMARC: true}
	sender = address.Address{Local: "a", Domain: "example.org"}
)

var world = lookuptest.Map{
	"1.2.0.192.in-addr.arpa PTR":   {"liar.example", "mail.example.org"},
	"liar.example A":               {"192.0.2.99"},
	"mail.example.org A":           {"192.0.2.1"},
	"mail.example.org TXT":         {"v=spf1 a -all"},
	"example.org TXT":              {"v=spf1 ip4:192.0.2.1 -all"},
	"_dmarc.example.org TXT":       {"v=DMARC1; p=reject"},
	"spam.example TXT":             {"v=spf1 -all"},
	"s._domainkey.example.org TXT": {"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
}

func draft(t *testing.T, msg string) (*spool.Draft, *message.Header) {
	t.Helper()
	s, err := spool.Open(spool.Config{Dir: t.TempDir(), MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Abort()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := io.WriteString(d, msg); err != nil {
		t.Fatal(err)
	}
	h, err := message.Parse(d.Header())
	if err != nil {
		t.Fatal(err)
	}
	return d, h
}

func inspector(t *testing.T, cfg Config) *Inspector {
	t.Helper()
	i := New(cfg)
	if err := i.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return i
}

const plain = "From: a@example.org\r\nList-Id: A list <Dev.lists.example>\r\n\r\nx\r\n"

func TestFacts(t *testing.T) {
	t.Parallel()
	i := inspector(t, Config{Resolver: world, Rules: Rules{Checks: all}})
	p := i.Begin(client)
	defer p.Close()
	p.Hello("mail.example.org")
	p.Mail(sender)
	d, h := draft(t, plain)
	f, err := p.Await(t.Context(), d, h)
	if err != nil {
		t.Fatal(err)
	}
	if f.Reverse != (verdict.Reverse{Status: verdict.ReversePass, Name: "mail.example.org"}) {
		t.Errorf("the name that leads back counts: %+v", f.Reverse)
	}
	if f.HELO.Status != spf.Pass || f.From.Status != spf.Pass || f.From.Identity != spf.MailFrom {
		t.Errorf("SPF %+v %+v", f.HELO, f.From)
	}
	if f.DMARC.Status != dmarc.Pass || !f.DMARC.SPF || f.Author != nil || !slices.Equal(f.Authors, []string{"example.org"}) {
		t.Errorf("DMARC %+v, author %v %v", f.DMARC, f.Authors, f.Author)
	}
	if !slices.Equal(f.Lists, []string{"dev.lists.example"}) {
		t.Errorf("lists %q", f.Lists)
	}
}

// TestTransactions runs several on one connection, each with its own sender.
func TestTransactions(t *testing.T) {
	t.Parallel()
	i := inspector(t, Config{Resolver: world, Rules: Rules{Checks: all}})
	p := i.Begin(client)
	defer p.Close()
	p.Hello("mail.example.org")
	d, h := draft(t, plain)
	for _, c := range []struct {
		from address.Address
		want spf.Result
	}{
		{sender, spf.Result{Identity: spf.MailFrom, Status: spf.Pass, Domain: "example.org", Explain: "matched ip4"}},
		{address.Address{}, spf.Result{Identity: spf.HELO, Status: spf.Pass, Domain: "mail.example.org", Explain: "matched a"}},
		{address.Address{Local: "x", Domain: "spam.example"}, spf.Result{Identity: spf.MailFrom, Status: spf.Fail, Domain: "spam.example", Explain: "matched all"}},
	} {
		p.Mail(c.from)
		f, err := p.Await(t.Context(), d, h)
		if err != nil || f.From != c.want {
			t.Errorf("%s: %+v %v, want %+v", c.from, f.From, err, c.want)
		}
		if f.Reverse.Status != verdict.ReversePass {
			t.Errorf("%s: reverse name is kept for the connection: %+v", c.from, f.Reverse)
		}
		p.Reset()
	}
}

// TestSendersThatNeverSendCostNoQuestions: a client that named a thousand senders
// and sent nothing had us ask a hundred thousand questions of whom it liked.
func TestSendersThatNeverSendCostNoQuestions(t *testing.T) {
	t.Parallel()
	d, h := draft(t, plain)
	synctest.Test(t, func(t *testing.T) {
		r := &lookuptest.Recorder{Map: world}
		i := New(Config{Resolver: r, Rules: Rules{Checks: all}})
		p := i.Begin(client)
		for range 500 {
			p.Hello("mail.example.org")
			p.Hello("mail2.example.org")
			p.Mail(sender)
			synctest.Wait()
			p.Reset()
			p.Mail(address.Address{Local: "x", Domain: "spam.example"})
			synctest.Wait()
			p.Reset()
		}
		if n := len(r.Asked()); n > 3+2*maxBegun {
			t.Errorf("asked %d questions about nothing", n)
		}
		if n := i.Counters.PutOff.Value(); n != 2000-maxBegun {
			t.Errorf("put off %d, want all but %d of 2000", n, maxBegun)
		}
		p.Hello("mail.example.org")
		p.Mail(sender)
		f, err := p.Await(t.Context(), d, h)
		if err != nil || f.From.Status != spf.Pass || f.HELO.Status != spf.Pass || f.HELO.Domain != "mail.example.org" {
			t.Errorf("a message that comes in the end: %+v %+v %v", f.From, f.HELO, err)
		}
		if slices.Contains(f.Marks, verdict.MarkHELOElsewhere) {
			t.Errorf("marks %v", f.Marks)
		}
		before := len(r.Asked())
		p.Reset()
		p.Mail(address.Address{Local: "x", Domain: "spam.example"})
		synctest.Wait()
		if len(r.Asked()) == before {
			t.Error("after a message nothing is looked into ahead")
		}
		p.Close()
		if err := i.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestNoAuthor(t *testing.T) {
	t.Parallel()
	i := inspector(t, Config{Resolver: world, Rules: Rules{Checks: all}})
	p := i.Begin(client)
	defer p.Close()
	d, h := draft(t, "From: a@example.org\r\nFrom: b@example.org\r\n\r\nx\r\n")
	f, err := p.Await(t.Context(), d, h)
	if err != nil || !errors.Is(f.Author, message.ErrManyFrom) || f.DMARC.Status != dmarc.None {
		t.Errorf("%+v %v", f, err)
	}
	if f.HELO.Status != spf.None {
		t.Errorf("no HELO, nothing to check: %+v", f.HELO)
	}
}

func TestNothingAsked(t *testing.T) {
	t.Parallel()
	r := &lookuptest.Recorder{Map: world}
	i := inspector(t, Config{Resolver: r})
	p := i.Begin(client)
	defer p.Close()
	p.Hello("mail.example.org")
	p.Mail(sender)
	d, h := draft(t, "DKIM-Signature: x\r\n"+plain)
	f, err := p.Await(t.Context(), d, h)
	if err != nil || f.Ran != (verdict.Checks{}) || len(r.Asked()) != 0 {
		t.Errorf("%+v %v after %v", f, err, r.Asked())
	}
}

// silent answers when the context ends.
type silent struct{ asked atomic.Int32 }

func (s *silent) Query(ctx context.Context, name string, t lookup.Type) (lookup.Answer, error) {
	s.asked.Add(1)
	<-ctx.Done()
	return lookup.Answer{}, &lookup.Error{Name: name, Type: t, Temporary: true, Cause: ctx.Err()}
}

func TestTimeOut(t *testing.T) {
	t.Parallel()
	d, h := draft(t, "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from; bh=; b=\r\n"+plain)
	synctest.Test(t, func(t *testing.T) {
		i := New(Config{Resolver: &silent{}, Rules: Rules{Checks: all}})
		p := i.Begin(client)
		p.Hello("mail.example.org")
		p.Mail(sender)
		began := time.Now()
		f, err := p.Await(t.Context(), d, h)
		if took := time.Since(began); err != nil || took > 20*time.Second {
			t.Errorf("%v after %s, want at most 20 s", err, took)
		}
		if f.HELO.Status != spf.TempError || f.From.Status != spf.TempError || f.DKIM[0].Status != dkim.TempError || f.DMARC.Status != dmarc.TempError {
			t.Errorf("%+v", f)
		}
		p.Close()
		if err := i.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestRoom has one evaluation at a time, and one that does not end before the
// transaction does.
func TestRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &silent{}
		i := New(Config{Resolver: r, Rules: Rules{Checks: verdict.Checks{SPF: true}}, LookUps: 1})
		first := i.Begin(client)
		synctest.Wait() // it has the room
		second := i.Begin(netip.MustParseAddr("198.51.100.1"))
		synctest.Wait()
		if r.asked.Load() != 1 || i.Counters.Waited.Value() != 1 {
			t.Errorf("asked %d, waited %d; want 1 and 1", r.asked.Load(), i.Counters.Waited.Value())
		}
		first.Close()
		synctest.Wait()
		if r.asked.Load() != 2 {
			t.Errorf("the next did not begin: asked %d", r.asked.Load())
		}
		second.Close()
		if err := i.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		after := i.Begin(client) // a connection that outlives us
		after.Hello("x.example")
		after.Mail(sender)
		if _, ok := after.mail.wait(t.Context()); ok {
			t.Error("a stopped inspector found something out")
		}
		after.Close()
	})
}

// TestTwoAddressesWithSlowDNSStarvedEverybody has one network, of either family,
// begin more than there is room for: others are looked at all the same, and what
// waits begins when a place of its own network is free.
func TestTwoAddressesWithSlowDNSStarvedEverybody(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ one, two, other string }{
		"IPv4": {"192.0.2.1", "192.0.2.254", "192.0.3.1"},
		"IPv6": {"2001:db8:1::1", "2001:db8:1:ffff::1", "2001:db8:2::1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &silent{}
			i := New(Config{Resolver: r, Rules: Rules{Checks: verdict.Checks{SPF: true}}, LookUps: 16})
			var pending []*Pending
			for range 10 {
				pending = append(pending, i.Begin(netip.MustParseAddr(c.one)), i.Begin(netip.MustParseAddr(c.two)))
			}
			synctest.Wait()
			if r.asked.Load() != 2 || i.Counters.WaitedNetwork.Value() != 18 || i.Counters.Waited.Value() != 0 {
				t.Errorf("%s: asked %d, waited %d and %d; want 2, 18 and 0", name, r.asked.Load(), i.Counters.WaitedNetwork.Value(), i.Counters.Waited.Value())
			}
			other := i.Begin(netip.MustParseAddr(c.other))
			synctest.Wait()
			if r.asked.Load() != 3 {
				t.Errorf("%s: another network was not looked at", name)
			}
			other.Close()
			time.Sleep(20 * time.Second) // virtual: all are over now, run or not
			synctest.Wait()
			if len(i.room.networks) != 0 || len(i.room.all) != 0 {
				t.Errorf("%s: %d networks remembered, %d places taken", name, len(i.room.networks), len(i.room.all))
			}
			for _, p := range pending {
				p.Close()
			}
			if err := i.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnreadableMessage(t *testing.T) {
	t.Parallel()
	i := inspector(t, Config{Resolver: world, Rules: Rules{Checks: all}})
	p := i.Begin(client)
	defer p.Close()
	d, h := draft(t, "DKIM-Signature: v=1; a=ed25519-sha256; d=example.org; s=s; h=from; bh=; b=\r\n"+plain)
	d.Abort()
	if _, err := p.Await(t.Context(), d, h); err == nil || i.Counters.Unread.Value() != 1 {
		t.Errorf("got %v, counted %d", err, i.Counters.Unread.Value())
	}
}

// slow answers from a map, but under some names only when the context ends, and
// nothing after that.
type slow struct {
	lookuptest.Map
	suffix string
}

func (s slow) Query(ctx context.Context, name string, t lookup.Type) (lookup.Answer, error) {
	if strings.HasSuffix(strings.TrimSuffix(name, "."), s.suffix) {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return lookup.Answer{}, &lookup.Error{Name: name, Type: t, Temporary: true, Cause: ctx.Err()}
	}
	return s.Map.Query(ctx, name, t)
}

// TestSlowDNSOfAForgerHidesNoPolicy has a forger's own DNS use up the time: his
// reverse name, his SPF record, his key. What the author's domain asks for must
// still be found.
func TestSlowDNSOfAForgerHidesNoPolicy(t *testing.T) {
	t.Parallel()
	for name, suffix := range map[string]string{
		"reverse name": "in-addr.arpa", "HELO": "helo.test", "envelope": "envelope.test", "key": "slow.test",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, h := draft(t, "DKIM-Signature: v=1; a=rsa-sha256; d=slow.test; s=s; h=from; bh=; b=\r\nFrom: ceo@example.org\r\n\r\nx\r\n")
			synctest.Test(t, func(t *testing.T) {
				i := New(Config{Resolver: slow{world, suffix}, Rules: Rules{Checks: all}})
				p := i.Begin(netip.MustParseAddr("192.0.2.66"))
				p.Hello("x.helo.test")
				p.Mail(address.Address{Local: "x", Domain: "envelope.test"})
				began := time.Now()
				f, err := p.Await(t.Context(), d, h)
				if took := time.Since(began); err != nil || took > 20*time.Second {
					t.Errorf("%v after %s, want at most 20 s", err, took)
				}
				if f.DMARC.Status != dmarc.Fail || f.DMARC.Applied != dmarc.Reject {
					t.Errorf("got %s %s %v, want fail and reject", f.DMARC.Status, f.DMARC.Applied, f.DMARC.Err)
				}
				p.Close()
				if err := i.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestSlowCheckLeavesTheOthersTheirTime has one check that does not end beside
// others that would pass.
func TestSlowCheckLeavesTheOthersTheirTime(t *testing.T) {
	t.Parallel()
	for name, suffix := range map[string]string{"reverse name": "in-addr.arpa", "HELO": "helo.test"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, h := draft(t, plain)
			synctest.Test(t, func(t *testing.T) {
				i := New(Config{Resolver: slow{world, suffix}, Rules: Rules{Checks: all}})
				p := i.Begin(client)
				p.Hello("x.helo.test")
				p.Mail(sender)
				f, err := p.Await(t.Context(), d, h)
				if err != nil || f.From.Status != spf.Pass || f.DMARC.Status != dmarc.Pass {
					t.Errorf("SPF %s, DMARC %s, %v; want both to pass", f.From.Status, f.DMARC.Status, err)
				}
				p.Close()
				if err := i.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestHangingKeyLeftNoTimeToHash has the key of one signature never come: the
// other one is verified all the same.
func TestHangingKeyLeftNoTimeToHash(t *testing.T) {
	t.Parallel()
	d, h := draft(t, "DKIM-Signature: v=1; a=rsa-sha256; d=slow.test; s=s; h=from; bh=; b=\r\n"+
		"DKIM-Signature: v=1; a=ed25519-sha256; d=example.org; s=s; h=from; bh=; b=\r\n"+plain)
	synctest.Test(t, func(t *testing.T) {
		i := New(Config{Resolver: slow{world, "slow.test"}, Rules: Rules{Checks: verdict.Checks{DKIM: true}}})
		p := i.Begin(client)
		f, err := p.Await(t.Context(), d, h)
		if err != nil || len(f.DKIM) != 2 || f.DKIM[0].Status != dkim.TempError || f.DKIM[1].Status != dkim.Fail {
			t.Errorf("%+v %v; want temperror and fail", f.DKIM, err)
		}
		p.Close()
		if err := i.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestHangingKeysDoNotHoldUpOtherSignatures has a forger's messages wait for
// keys that never come, more of them than may be hashed at once.
func TestHangingKeysDoNotHoldUpOtherSignatures(t *testing.T) {
	t.Parallel()
	hang, hangHeader := draft(t, "DKIM-Signature: v=1; a=rsa-sha256; d=slow.test; s=s; h=from; bh=; b=\r\n"+plain)
	good, goodHeader := draft(t, "DKIM-Signature: v=1; a=ed25519-sha256; d=example.org; s=s; h=from; bh=; b=\r\n"+plain)
	synctest.Test(t, func(t *testing.T) {
		i := New(Config{Resolver: slow{world, "slow.test"}, Rules: Rules{Checks: verdict.Checks{DKIM: true}}, Hashing: 1})
		forger := i.Begin(netip.MustParseAddr("192.0.2.66"))
		ended := make(chan error)
		go func() {
			_, err := forger.Await(t.Context(), hang, hangHeader)
			ended <- err
		}()
		synctest.Wait()
		began := time.Now()
		p := i.Begin(client)
		f, err := p.Await(t.Context(), good, goodHeader)
		if took := time.Since(began); err != nil || took > 0 || f.DKIM[0].Status == dkim.TempError {
			t.Errorf("waited %s for somebody else's key: %+v %v", took, f.DKIM, err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		forger.Close()
		p.Close()
		if err := i.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
