package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"postern/internal/account"
	"postern/internal/dns/authority"
	"postern/internal/dns/keyring"
	"postern/internal/dns/serve"
	"postern/internal/mail/queue"
	"postern/internal/mail/selector"
)

// Config is what the Desk works on.
type Config struct {
	Authority *authority.Authority
	Queue     *queue.Queue
	Accounts  *account.Keeper // nil: the database cannot be used
	Forgive   func(id int64)  // lets an account go on that a limit of the day has stopped
	// Settle waits until all that an account was handing over is in the queue;
	// false: that took too long. nil: there is nothing to wait for.
	Settle func(ctx context.Context, id int64) bool
	Keys   *keyring.Ring  // of the zones that are signed
	DKIM   *selector.Ring // the keys that sign mail

	Secondaries Secondaries
	Primaries   Primaries
	Catalogs    Catalogs
	Others      Others

	Facts   func() Status                                              // the parts of a status that only the roof knows
	Reload  func(ctx context.Context) (ReloadReport, error)            // see ReloadReport
	Explain func(q QueryArgs) (serve.Explanation, error)               // how a question would be answered
	Mail    func(context.Context, MailArgs) (MailExplanation, error)   // what would become of a message
	Route   func(context.Context, RouteArgs) (RouteExplanation, error) // where mail for an address goes
	Trail   Trail                                                      // of messages
	Now     func() time.Time                                           // default time.Now
	Log     *slog.Logger                                               // one line for each action that changes something
}

// Desk does what operators ask. It is safe for concurrent use.
type Desk struct {
	cfg   Config
	verbs map[string]verb
	page  int // octets of a ZonePage, about
}

// verb is one action: changes says that it is more than a look.
type verb struct {
	changes bool
	do      func(ctx context.Context, args json.RawMessage) (any, error)
}

// New returns a Desk.
func New(cfg Config) *Desk {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Desk{cfg: cfg, page: pageOctets}
	d.verbs = map[string]verb{
		VerbStatus:         {false, with(d.status)},
		VerbReload:         {true, with(d.reload)},
		VerbZoneList:       {false, with(d.zoneList)},
		VerbZoneExport:     {false, with(d.zoneExport)},
		VerbZoneNotify:     {true, with(d.zoneNotify)},
		VerbZoneRetransfer: {true, with(d.zoneRetransfer)},
		VerbZoneCompare:    {false, with(d.zoneCompare)},
		VerbZonePlan:       {false, with(d.zonePlan)},
		VerbZoneApply:      {true, with(d.zoneApply)},
		VerbZoneHistory:    {false, with(d.zoneHistory)},
		VerbZoneRollback:   {true, with(d.zoneRollback)},
		VerbZoneDrop:       {true, with(d.zoneDrop)},
		VerbZoneRemove:     {true, with(d.zoneRemove)},
		VerbDNSSECStatus:   {false, with(d.dnssecStatus)},
		VerbDNSSECDS:       {false, with(d.dnssecDS)},
		VerbDNSSECRoll:     {true, with(d.dnssecRoll)},
		VerbDNSSECImport:   {true, with(d.dnssecImport)},
		VerbDNSSECDisable:  {true, with(d.dnssecDisable)},
		VerbUserAdd:        {true, with(d.userAdd)},
		VerbUserPasswd:     {true, with(d.userPasswd)},
		VerbUserDisable:    {true, with(d.userDisable)},
		VerbUserEnable:     {true, with(d.userEnable)},
		VerbUserRemove:     {true, with(d.userRemove)},
		VerbUserUnlock:     {true, with(d.userUnlock)},
		VerbUserList:       {false, with(d.userList)},
		VerbUserShow:       {false, with(d.userShow)},
		VerbUserAppAdd:     {true, with(d.userAppAdd)},
		VerbUserAppRemove:  {true, with(d.userAppRemove)},
		VerbDKIMList:       {false, with(d.dkimList)},
		VerbDKIMRotate:     {true, with(d.dkimRotate)},
		VerbQueueList:      {false, with(d.queueList)},
		VerbQueueShow:      {false, with(d.queueShow)},
		VerbQueueRetry:     {true, with(d.queueDo(cfg.Queue.Retry))},
		VerbQueueHold:      {true, with(d.queueDo(cfg.Queue.Hold))},
		VerbQueueRelease:   {true, with(d.queueDo(cfg.Queue.Release))},
		VerbQueueDrop:      {true, with(d.queueDo(cfg.Queue.Drop))},
		VerbExplainQuery:   {false, with(d.explainQuery)},
		VerbTrace:          {false, with(d.trace)},
		VerbExplainMail:    {false, with(d.explainMail)},
		VerbExplainRoute:   {false, with(d.explainRoute)},
	}
	return d
}

// Do carries out one request. Every caller that gets here may do everything;
// what was done, and by whom, is logged.
func (d *Desk) Do(ctx context.Context, by Caller, name string, args json.RawMessage) (any, error) {
	v, ok := d.verbs[name]
	if !ok {
		return nil, &Error{Reason: ReasonUnknown, Text: fmt.Sprintf("the running server does not know %q", name), Hint: "is it older than this command?"}
	}
	result, err := v.do(context.WithValue(ctx, callerKey{}, by), args)
	err = diskFull(err)
	if v.changes {
		outcome := "done"
		if err != nil {
			outcome = err.Error()
		}
		d.cfg.Log.Info("operator", "verb", name, "args", told(args), "uid", by.UID, "pid", by.PID, "outcome", outcome)
	}
	return result, err
}

// diskFull gives an error of a full disk the hint that helps, whatever was tried.
func diskFull(err error) error {
	if err == nil || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) && !strings.Contains(err.Error(), "disk is full") { // the latter is the database's
		return err
	}
	var refused *Error
	if !errors.As(err, &refused) {
		refused = &Error{Reason: ReasonFailed, Text: err.Error()}
	}
	told := *refused
	told.Hint = "make room on the disk of server.state, then try again: what is served is served on"
	return &told
}

// maxTold is how much of a request's arguments the log keeps, in octets.
const maxTold = 1024

// told is the arguments as the log may have them: without passwords.
func told(args json.RawMessage) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(args, &fields) != nil || len(fields) == 0 {
		return ""
	}
	delete(fields, "password")
	delete(fields, "files") // with private keys
	b, err := json.Marshal(fields)
	if err != nil {
		return ""
	}
	if len(b) > maxTold {
		return strings.ToValidUTF8(string(b[:maxTold]), "") + "…"
	}
	return string(b)
}

// callerKey is where a verb finds who asked.
type callerKey struct{}

// who is the caller in the words of a history.
func who(ctx context.Context) string {
	by, _ := ctx.Value(callerKey{}).(Caller) // Do has put it there
	return fmt.Sprintf("uid %d", by.UID)
}

// with decodes the arguments strictly: what is not understood was not meant
// for this version.
func with[A, R any](do func(context.Context, A) (R, error)) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var args A
		if len(raw) > 0 {
			dec := json.NewDecoder(bytes.NewReader(raw))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&args); err != nil {
				return nil, &Error{Reason: ReasonUsage, Text: "malformed request: " + err.Error()}
			}
		}
		return do(ctx, args)
	}
}

// none is the argument of a verb without any.
type none struct{}

func (d *Desk) status(ctx context.Context, _ none) (Status, error) {
	s := d.cfg.Facts()
	var err error
	if s.Zones, err = d.zoneList(ctx, none{}); err != nil {
		return s, err
	}
	s.Secondaries = append([]Secondary{}, d.cfg.Secondaries.List()...)
	entries, err := d.cfg.Queue.List(queue.Filter{})
	if err != nil {
		return s, err
	}
	for _, e := range entries {
		switch e.Phase {
		case "active":
			s.Queue.Active++
		case "waiting":
			s.Queue.Waiting++
		default:
			s.Queue.Held++
		}
	}
	return s, nil
}

func (d *Desk) reload(ctx context.Context, _ none) (ReloadReport, error) { return d.cfg.Reload(ctx) }

func (d *Desk) explainQuery(_ context.Context, q QueryArgs) (serve.Explanation, error) {
	e, err := d.cfg.Explain(q)
	if err != nil {
		return e, &Error{Reason: ReasonUsage, Text: err.Error()}
	}
	return e, nil
}
