package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"postern/internal/account"
	"postern/internal/dns/authority"
	"postern/internal/dns/serve"
	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
	"postern/internal/mail/dsn"
	"postern/internal/mail/envelope"
	"postern/internal/mail/queue"
	"postern/internal/mail/route"
	"postern/internal/mail/spool"
	"postern/internal/store"
)

// office is a Desk over a real authority, queue and account database, in
// directories of its own. Nothing is delivered: outbound mail is held.
type office struct {
	t     *testing.T
	dir   string
	cfg   Config
	desk  *Desk
	spool *spool.Spool
	log   *logged
	peers *peers

	others *elsewhere
}

// logged is a log to read while others write.
type logged struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

const cityZone = "$TTL 300\n@ SOA ns hostmaster 7 2h 1h 14d 5m\n@ NS ns\nns A 192.0.2.1\n"

func open(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir(), log: &logged{}, peers: &peers{}, others: &elsewhere{}}
	log := slog.New(slog.NewTextHandler(o.log, nil))
	o.write("out/city.example.zone", cityZone)
	o.write("in/city.example.zone", "www 300 A 10.0.0.1\n")
	o.write("out/alone.example.zone", cityZone)

	zones, err := authority.New(authority.Config{
		Views: []authority.ViewConfig{
			{Name: "in", Dir: filepath.Join(o.dir, "in"), Overlay: "out"},
			{Name: "out", Dir: filepath.Join(o.dir, "out")},
		},
		StateDir: filepath.Join(o.dir, "state"), External: "out", Poll: -1, Log: log,
	})
	o.must(err)
	o.must(zones.Start(t.Context()))
	o.later(zones.Stop)

	o.spool, err = spool.Open(spool.Config{Dir: filepath.Join(o.dir, "spool"), MinFree: 1, Log: log})
	o.must(err)
	o.later(func(context.Context) error { return o.spool.Close() })
	held, err := queue.New(queue.Config{
		Spool: o.spool, Router: nowhere{}, Deliverer: nowhere{}, Hostname: "edge.city.example", Hold: true, Log: log,
		Bounce: func(context.Context, dsn.Message) error { return nil },
	})
	o.must(err)
	o.must(held.Start(t.Context()))
	o.later(held.Stop)

	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(o.dir, "db")})
	o.must(err)
	o.later(func(context.Context) error { return db.Close() })
	accounts, err := account.New(account.Config{Store: db, Log: log, Cost: account.Cost{Passes: 1, Memory: 64}})
	o.must(err)

	o.cfg = Config{
		Authority: zones, Queue: held, Accounts: accounts, Log: log, Secondaries: o.peers, Primaries: o.peers, Catalogs: o.peers, Others: o.others,
		Facts: func() Status { return Status{Hostname: "edge.city.example", Ready: true} },
		Reload: func(ctx context.Context) (ReloadReport, error) {
			r, err := zones.Reload(ctx)
			changes, kept := Report(r)
			return ReloadReport{Changes: changes, Kept: kept}, err
		},
		Explain: func(q QueryArgs) (serve.Explanation, error) {
			if q.From == "" {
				return serve.Explanation{}, errors.New("from whom?")
			}
			return serve.Explanation{View: "out"}, nil
		},
	}
	o.desk = New(o.cfg)
	return o
}

// nowhere is a world that mail is never sent to.
type nowhere struct{}

func (nowhere) Static(string) bool { return false }
func (nowhere) Route(context.Context, string) (route.Plan, error) {
	return route.Plan{}, errors.New("there is no way")
}
func (nowhere) Deliver(context.Context, deliver.Job) deliver.Report { return deliver.Report{} }

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) later(stop func(context.Context) error) {
	o.t.Cleanup(func() { o.must(stop(context.Background())) })
}

func (o *office) write(name, text string) {
	o.t.Helper()
	path := filepath.Join(o.dir, name)
	o.must(errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)))
}

// put queues a message and returns its id.
func (o *office) put(from string, to ...string) string {
	o.t.Helper()
	e := envelope.Envelope{Account: from}
	for i, s := range append([]string{from}, to...) {
		a, err := address.Parse(s)
		o.must(err)
		if i == 0 {
			e.From = a
			continue
		}
		e.To = append(e.To, a)
	}
	draft, err := o.spool.Create()
	o.must(err)
	_, err = fmt.Fprint(draft, "Subject: x\r\n\r\nbody\r\n")
	o.must(err)
	id, err := draft.Commit(o.t.Context(), e, draft.Header())
	o.must(err)
	o.cfg.Queue.Add(id, e)
	return string(id)
}

// do asks the desk as the socket would, and decodes the result.
func do[T any](o *office, verb string, args any) (T, *Error) {
	o.t.Helper()
	var result T
	raw, err := json.Marshal(args)
	o.must(err)
	got, err := o.desk.Do(o.t.Context(), Caller{UID: 1000, PID: 7}, verb, raw)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Text: err.Error()} // no reason: the socket says "failed"
		}
		return result, e
	}
	raw, err = json.Marshal(got)
	o.must(err)
	o.must(json.Unmarshal(raw, &result))
	return result, nil
}

// refused checks an error's reason, what it names, and that it has a hint.
func (o *office) refused(e *Error, reason, names string) {
	o.t.Helper()
	if e == nil || e.Reason != reason || !strings.Contains(e.Text, names) {
		o.t.Errorf("got %+v, want reason %q with %q", e, reason, names)
	} else if e.Hint == "" || !strings.HasSuffix(e.Error(), "(hint: "+e.Hint+")") {
		o.t.Errorf("no hint in %q", e.Error())
	}
}

func TestRequestsThatNobodyMeant(t *testing.T) {
	t.Parallel()
	o := open(t)
	_, e := do[any](o, "zone burn", nil)
	o.refused(e, ReasonUnknown, "zone burn")
	for _, raw := range []string{`{"logon":"a@b.example"}`, `{"login":7}`, `[]`, `{`} {
		_, err := o.desk.Do(t.Context(), Caller{}, VerbUserAdd, json.RawMessage(raw))
		var got *Error
		if !errors.As(err, &got) || got.Reason != ReasonUsage {
			t.Errorf("%s: %v", raw, err)
		}
	}
	_, e = do[any](o, VerbExplainQuery, QueryArgs{})
	if e == nil || e.Reason != ReasonUsage {
		t.Errorf("%v", e)
	}
}

func TestZones(t *testing.T) {
	t.Parallel()
	o := open(t)
	_, e := do[Text](o, VerbZoneExport, ZoneRef{Zone: "a..b"})
	o.refused(e, ReasonUsage, "a..b")
	_, e = do[Text](o, VerbZoneExport, ZoneRef{Zone: "city.example"})
	o.refused(e, ReasonUsage, "in, out")
	_, e = do[Text](o, VerbZoneExport, ZoneRef{Zone: "city.example", View: "attic"})
	o.refused(e, ReasonUnknown, "attic")
	_, e = do[Text](o, VerbZoneExport, ZoneRef{Zone: "other.example"})
	o.refused(e, ReasonUnknown, "other.example")

	text, e := do[Text](o, VerbZoneExport, ZoneRef{Zone: "CITY.example.", View: "in"})
	if e != nil || !strings.Contains(text.Text, "www.city.example.\t300\tIN\tA\t10.0.0.1") || !strings.Contains(text.Text, "SOA") {
		t.Errorf("%v\n%s", e, text.Text)
	}

	_, e = do[ZonePage](o, VerbZoneExport, ExportArgs{Zone: "city.example", View: "in", From: "a..b"})
	o.refused(e, ReasonUsage, "a..b")
	o.desk.page = 40
	var pages []string
	for a := (ExportArgs{Zone: "city.example", View: "in"}); ; {
		p, e := do[ZonePage](o, VerbZoneExport, a)
		if e != nil || p.Serial == 0 {
			t.Fatalf("%v, %+v", e, p)
		}
		pages = append(pages, p.Text)
		if a.From = p.Next; p.Next == "" {
			break
		}
	}
	if len(pages) < 2 || strings.Join(pages, "") != text.Text {
		t.Errorf("in pages it is %q, whole\n%s", pages, text.Text)
	}

	o.write("out/city.example.zone", strings.Replace(cityZone, "192.0.2.1", "192.0.2.300", 1))
	report, e := do[ReloadReport](o, VerbReload, nil)
	if e != nil || len(report.Kept) == 0 || !strings.Contains(report.Kept[0], "city.example.zone:4:") {
		t.Errorf("%v, %+v", e, report)
	}
	zones, e := do[[]Zone](o, VerbZoneList, nil)
	if e != nil || len(zones) != 3 {
		t.Fatalf("%v, %+v", e, zones)
	}
	for _, z := range zones {
		bad := z.Zone == "city.example." && z.View == "out"
		if bad != (z.State == "last-good" && len(z.Problems) == 1 && z.Serial == 7) {
			t.Errorf("%+v", z)
		}
	}
	o.write("out/city.example.zone", strings.Replace(cityZone, "192.0.2.1", "192.0.2.3", 1))
	if report, e = do[ReloadReport](o, VerbReload, nil); e != nil || len(report.Kept) != 0 || !strings.Contains(strings.Join(report.Changes, "\n"), "+ ns.city.example. 300 IN A 192.0.2.3") {
		t.Errorf("%v, %+v", e, report)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	o := open(t)
	const login, password = "anna@city.example", "correct horse battery"
	for _, c := range []struct {
		verb   string
		args   UserArgs
		reason string
	}{
		{VerbUserAdd, UserArgs{Login: "anna", Password: password}, ReasonUsage},
		{VerbUserAdd, UserArgs{Login: login, Password: password, Senders: []string{"nobody"}}, ReasonUsage},
		{VerbUserAdd, UserArgs{Login: login, Password: "short"}, ReasonFailed},
		{VerbUserPasswd, UserArgs{Login: login, Password: password}, ReasonUnknown},
		{VerbUserDisable, UserArgs{Login: login}, ReasonUnknown},
		{VerbUserRemove, UserArgs{Login: login}, ReasonUnknown},
	} {
		_, e := do[User](o, c.verb, c.args)
		o.refused(e, c.reason, c.args.Login)
	}
	u, e := do[User](o, VerbUserAdd, UserArgs{Login: login, Password: password, Senders: []string{"@city.example"}})
	if e != nil || u.Login != login || len(u.Senders) != 2 || u.Disabled {
		t.Fatalf("%v, %+v", e, u)
	}
	_, e = do[User](o, VerbUserAdd, UserArgs{Login: login, Password: password})
	o.refused(e, ReasonFailed, login)
	if u, e = do[User](o, VerbUserDisable, UserArgs{Login: login}); e != nil || !u.Disabled {
		t.Errorf("%v, %+v", e, u)
	}
	if u, e = do[User](o, VerbUserEnable, UserArgs{Login: login}); e != nil || u.Disabled {
		t.Errorf("%v, %+v", e, u)
	}
	if users, e := do[[]User](o, VerbUserList, nil); e != nil || len(users) != 1 {
		t.Errorf("%v, %+v", e, users)
	}
	if _, e = do[User](o, VerbUserRemove, UserArgs{Login: login}); e != nil {
		t.Error(e)
	}
	if users, e := do[[]User](o, VerbUserList, nil); e != nil || users == nil || len(users) != 0 {
		t.Errorf("%v, %+v", e, users)
	}
	said := o.log.String()
	if strings.Contains(said, password) || strings.Contains(said, "short\"") {
		t.Errorf("a password is in the log:\n%s", said)
	}
	for _, want := range []string{
		`verb="user add" args="{\"login\":\"anna@city.example\",\"senders\":[\"@city.example\"]}" uid=1000 pid=7 outcome=done`,
		`verb="user remove" args="{\"login\":\"anna@city.example\"}"`,
	} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in the log:\n%s", want, said)
		}
	}
	if strings.Contains(said, `verb="user list"`) {
		t.Errorf("a look is in the log:\n%s", said)
	}
}

// TestWithoutADatabase the rest still works.
func TestWithoutADatabase(t *testing.T) {
	t.Parallel()
	o := open(t)
	o.cfg.Accounts = nil
	o.desk = New(o.cfg)
	for _, verb := range []string{VerbUserAdd, VerbUserPasswd, VerbUserDisable, VerbUserEnable, VerbUserRemove, VerbUserList} {
		_, err := o.desk.Do(t.Context(), Caller{}, verb, nil)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", verb, err)
			continue
		}
		o.refused(e, ReasonNotThere, "database")
	}
	if s, e := do[Status](o, VerbStatus, nil); e != nil || len(s.Zones) != 3 {
		t.Errorf("%v, %+v", e, s)
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	o := open(t)
	_, e := do[Message](o, VerbQueueShow, QueueArgs{IDs: []string{"a", "b"}})
	if e == nil || e.Reason != ReasonUsage {
		t.Errorf("%v", e)
	}
	_, e = do[Message](o, VerbQueueShow, QueueArgs{IDs: []string{"nope"}})
	o.refused(e, ReasonUnknown, "nope")
	if _, e = do[Done](o, VerbQueueDrop, QueueArgs{}); e == nil || e.Reason != ReasonUsage {
		t.Errorf("drop of nothing in particular: %v", e)
	}

	one := o.put("anna@city.example", "x@far.example", "y@near.example")
	two := o.put("bert@city.example", "z@far.example")
	list := func(a QueueArgs) string {
		t.Helper()
		messages, e := do[[]Message](o, VerbQueueList, a)
		if e != nil {
			t.Fatal(e)
		}
		var ids []string
		for _, m := range messages {
			ids = append(ids, m.ID)
		}
		return strings.Join(ids, " ")
	}
	for want, args := range map[string]QueueArgs{
		one + " " + two: {Domain: "far.example"}, one: {Domain: "near.example"}, two: {From: "bert@city.example"}, "": {Account: "carl@city.example"},
	} {
		if got := list(args); got != want {
			t.Errorf("%+v: %q, want %q", args, got, want)
		}
	}
	if m, e := do[Message](o, VerbQueueShow, QueueArgs{IDs: []string{one}}); e != nil || m.From != "anna@city.example" || len(m.Recipients) != 2 || m.Size == 0 {
		t.Errorf("%v, %+v", e, m)
	}
	if s, e := do[Status](o, VerbStatus, nil); e != nil || s.Queue.Active+s.Queue.Waiting+s.Queue.Held != 2 || s.Hostname != "edge.city.example" {
		t.Errorf("%v, %+v", e, s.Queue)
	}

	// One unknown id, and nothing is done to the others.
	for _, both := range []QueueArgs{{IDs: []string{one}, All: true}, {IDs: []string{one}, From: "nobody@city.example"}, {IDs: []string{one}, Reason: "x", Quarantine: true}} {
		_, e = do[Done](o, VerbQueueDrop, both)
		o.refused(e, ReasonUsage, "not both")
	}
	_, e = do[Done](o, VerbQueueDrop, QueueArgs{IDs: []string{one, "nope"}})
	o.refused(e, ReasonUnknown, "nope")
	if strings.Count(e.Text, "nope") != 1 {
		t.Errorf("said twice: %s", e.Text)
	}
	if got := list(QueueArgs{}); got != one+" "+two {
		t.Errorf("left: %q", got)
	}
	if done, e := do[Done](o, VerbQueueHold, QueueArgs{Account: "carl@city.example"}); e != nil || done.IDs == nil || len(done.IDs) != 0 {
		t.Errorf("%v, %+v", e, done)
	}
	if done, e := do[Done](o, VerbQueueHold, QueueArgs{All: true}); e != nil || len(done.IDs) != 2 {
		t.Errorf("%v, %+v", e, done)
	}
	if done, e := do[Done](o, VerbQueueDrop, QueueArgs{From: "bert@city.example"}); e != nil || strings.Join(done.IDs, " ") != two {
		t.Errorf("%v, %+v", e, done)
	}
	if got := list(QueueArgs{}); got != one {
		t.Errorf("left: %q", got)
	}
}

// TestFullDiskIsSaid: whatever was tried, the hint is about the disk.
func TestFullDiskIsSaid(t *testing.T) {
	t.Parallel()
	full := fmt.Errorf("write x: %w", syscall.ENOSPC)
	for _, err := range []error{full, &Error{Reason: "journal-write", Text: full.Error(), Hint: "another"}, errors.New("create account: database or disk is full (13)")} {
		var got *Error
		if !errors.As(diskFull(err), &got) || !strings.Contains(got.Hint, "make room") || !strings.Contains(err.Error(), got.Text) || got.Reason == "" {
			t.Errorf("%v: %+v", err, got)
		}
	}
	other := errors.New("anything else")
	if diskFull(nil) != nil || diskFull(other) != other {
		t.Error("other errors are changed")
	}
}
