package manage

import "time"

// The verbs of the Desk. Arguments and results are the types named beside.
const (
	VerbStatus         = "status"          // nothing -> Status
	VerbReload         = "reload"          // nothing -> ReloadReport
	VerbZoneList       = "zone list"       // nothing -> []Zone
	VerbZoneNotify     = "zone notify"     // NotifyArgs -> []Notified
	VerbZoneRetransfer = "zone retransfer" // RetransferArgs -> []Retransferred
	VerbZoneExport     = "zone export"     // ExportArgs -> ZonePage
	VerbZonePlan       = "zone plan"       // PlanArgs -> ZonePlans
	VerbZoneApply      = "zone apply"      // ApplyArgs -> ZonePlans
	VerbZoneHistory    = "zone history"    // ZoneRef -> []ZoneVersion
	VerbZoneRollback   = "zone rollback"   // RollbackArgs -> ZonePlans
	VerbZoneCompare    = "zone compare"    // CompareArgs -> Comparison
	VerbZoneRemove     = "zone remove"     // PlanArgs -> RemovedZone
	VerbZoneDrop       = "zone drop"       // DropArgs -> Dropped
	VerbDNSSECStatus   = "dnssec status"   // DNSSECArgs -> []SignedZone
	VerbDNSSECDS       = "dnssec ds"       // ZoneRef -> Delegation
	VerbDNSSECRoll     = "dnssec roll"     // RollArgs -> []SignedZone
	VerbDNSSECImport   = "dnssec import"   // ImportArgs -> Imported
	VerbDNSSECDisable  = "dnssec disable"  // DisableArgs -> []SignedZone
	VerbUserAdd        = "user add"        // UserArgs -> User
	VerbUserPasswd     = "user passwd"     // UserArgs -> User
	VerbUserDisable    = "user disable"    // UserArgs -> User
	VerbUserEnable     = "user enable"     // UserArgs -> User
	VerbUserRemove     = "user remove"     // UserArgs -> User
	VerbUserUnlock     = "user unlock"     // UserArgs -> User
	VerbUserList       = "user list"       // nothing -> []User
	VerbUserShow       = "user show"       // UserArgs -> UserDetail
	VerbUserAppAdd     = "user app add"    // AppArgs -> AppPassword
	VerbUserAppRemove  = "user app remove" // AppArgs -> UserDetail
	VerbDKIMList       = "dkim list"       // nothing -> []DKIMKey
	VerbDKIMRotate     = "dkim rotate"     // DKIMArgs -> []DKIMKey
	VerbQueueList      = "queue list"      // QueueArgs -> []Message
	VerbQueueShow      = "queue show"      // QueueArgs -> Message
	VerbQueueRetry     = "queue retry"     // QueueArgs -> Done
	VerbQueueHold      = "queue hold"      // QueueArgs -> Done
	VerbQueueRelease   = "queue release"   // QueueArgs -> Done
	VerbQueueDrop      = "queue drop"      // QueueArgs -> Done
	VerbExplainQuery   = "explain query"   // QueryArgs -> serve.Explanation
	VerbTrace          = "trace"           // TraceArgs -> Trace
	VerbExplainMail    = "explain mail"    // MailArgs -> MailExplanation
	VerbExplainRoute   = "explain route"   // RouteArgs -> RouteExplanation
)

// Status is one screen about the running server.
type Status struct {
	Version      string        `json:"version"`
	Hostname     string        `json:"hostname"`
	Config       string        `json:"config"` // path, or "demo"
	Test         bool          `json:"test,omitempty"`
	Started      time.Time     `json:"started"`
	Ready        bool          `json:"ready"`
	NotReady     string        `json:"not_ready,omitempty"`
	Listeners    []Listener    `json:"listeners"`
	Zones        []Zone        `json:"zones"`
	Secondaries  []Secondary   `json:"secondaries"`      // by zone, view, peer and address
	Faults       []string      `json:"faults,omitempty"` // of views, in the form of a zone's problems
	Queue        Queue         `json:"queue"`
	Recipients   []Recipients  `json:"recipients"` // of our domains, by name
	Certificates []Certificate `json:"certificates"`
	Failures     []Failure     `json:"failures"` // newest last
}

// Recipients is how it is known who exists in one of our domains.
type Recipients struct {
	Domain string `json:"domain"`
	Mode   string `json:"mode"`  // any, file, verify
	State  string `json:"state"` // ok, or what is wrong
	Known  int    `json:"known"` // entries of the file, or names that the next hop is known to have
}

// The states of Recipients that somebody should look after.
const (
	RecipientsAnything = "accepts-anything"
	RecipientsSilent   = "silent"
	RecipientsStale    = "stale-file"
	RecipientsEvasive  = "evasive"
)

// Listener is one open socket.
type Listener struct {
	Serve     string `json:"serve"`
	Transport string `json:"transport"`
	Address   string `json:"address"`
}

// Zone is one zone in one view.
type Zone struct {
	Zone       string    `json:"zone"`
	View       string    `json:"view"`
	File       string    `json:"file"`
	FileSerial uint32    `json:"file_serial"` // of a secondary zone its primary's
	Serial     uint32    `json:"serial"`      // as served
	Records    int       `json:"records"`
	State      string    `json:"state"`
	Reason     string    `json:"reason,omitempty"`
	Problems   []string  `json:"problems,omitempty"` // FILE:LINE:COL: SEVERITY CODE message (hint)
	Since      time.Time `json:"since"`

	Upstream *Upstream `json:"upstream,omitempty"` // of a secondary zone
	Catalog  string    `json:"catalog,omitempty"`  // the catalog that it comes with
	Lists    *Catalog  `json:"lists,omitempty"`    // of a catalog

	Dynamic int `json:"dynamic,omitempty"` // RRsets that updates made others than the file has

	Policy      string    `json:"policy,omitempty"`      // by which Postern signs it
	SignedUntil time.Time `json:"signed_until,omitzero"` // when the first signature expires
	Parent      string    `json:"parent,omitempty"`      // whether the parent has a DS for it, see ParentDS
}

// Queue is the queue in numbers.
type Queue struct {
	Mode    string `json:"mode"` // deliver, hold
	Active  int    `json:"active"`
	Waiting int    `json:"waiting"`
	Held    int    `json:"held"` // by an operator, or by mode hold
}

// Certificate is one that a door shows.
type Certificate struct {
	Names  []string  `json:"names"`
	Issuer string    `json:"issuer"`
	Until  time.Time `json:"until"`
}

// Failure is a warning or an error of the program log.
type Failure struct {
	At    time.Time `json:"at"`
	Level string    `json:"level"`
	Text  string    `json:"text"`
}

// ReloadReport says what a reload changed. When it failed, nothing did.
type ReloadReport struct {
	Changes []string `json:"changes"`
	Kept    []string `json:"kept"` // zones whose last good version serves on, and why
}

// ZoneRef names a zone in a view.
type ZoneRef struct {
	Zone string `json:"zone"`
	View string `json:"view,omitempty"` // may be left out where one view has the zone
}

// Text is a result for reading.
type Text struct {
	Text string `json:"text"`
}

// UserArgs names an account, and what it is to become.
type UserArgs struct {
	Login    string   `json:"login"`
	Password string   `json:"password,omitempty"`
	Senders  []string `json:"senders,omitempty"` // besides the login itself

	DropQueue bool `json:"drop_queue,omitempty"` // of user disable: throw away what it has in the queue
}

// User is an account without its secrets.
type User struct {
	Login    string    `json:"login"`
	Senders  []string  `json:"senders"`
	Disabled bool      `json:"disabled"`
	Created  time.Time `json:"created"`
	Dropped  int       `json:"dropped,omitempty"` // messages of the queue
}

// UserDetail is all that is known of an account, without its secrets.
type UserDetail struct {
	User
	Password time.Time `json:"password"` // since when it has its own
	Apps     []App     `json:"app_passwords"`

	LastLogin  time.Time `json:"last_login,omitzero"`
	LoginFrom  string    `json:"login_from,omitempty"`
	Failures   int64     `json:"failed_logins"` // in all
	LastFailed time.Time `json:"last_failed_login,omitzero"`
	FailedFrom string    `json:"failed_from,omitempty"`
	Networks   []string  `json:"known_networks"` // where it is never locked out, newest first
}

// App is an app password without its secrets.
type App struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used,omitzero"` // to the hour
}

// AppArgs names an app password. The name may be left out where one is made.
type AppArgs struct {
	Login string `json:"login"`
	Name  string `json:"name,omitempty"`
}

// AppPassword is a new app password, the one time that it is shown.
type AppPassword struct {
	Login    string `json:"login"`
	Name     string `json:"name"`
	Password string `json:"password"`
}

// QueueArgs selects messages: by id, or by every field that is not empty.
type QueueArgs struct {
	IDs     []string `json:"ids,omitempty"`
	All     bool     `json:"all,omitempty"` // without any selector: every message
	Account string   `json:"account,omitempty"`
	Domain  string   `json:"domain,omitempty"` // of a recipient
	From    string   `json:"from,omitempty"`
	Reason  string   `json:"reason,omitempty"` // why it is held

	Quarantine bool `json:"quarantine,omitempty"` // only what is held for a reason of Postern's own
}

// Message is one message of the queue.
type Message struct {
	ID         string      `json:"id"`
	From       string      `json:"from"` // "" for a bounce
	Account    string      `json:"account,omitempty"`
	Received   time.Time   `json:"received"`
	Size       int64       `json:"size"`
	State      string      `json:"state"`            // waiting, active, held; parked while outbound mail is held
	Reason     string      `json:"reason,omitempty"` // why it is held; "": an operator said so
	Next       time.Time   `json:"next,omitzero"`
	Recipients []Recipient `json:"recipients"`
}

// Recipient is where a message stands for one recipient.
type Recipient struct {
	Address string `json:"address"`
	State   string `json:"state"`
	Tries   int    `json:"tries"`
	Last    string `json:"last,omitempty"` // the last reply or error
}

// Done says what an action touched.
type Done struct {
	IDs []string `json:"ids"`
}

// QueryArgs is a question as if a client at From asked it.
type QueryArgs struct {
	Name string `json:"name"`
	Type string `json:"type"`
	From string `json:"from"`
	Via  string `json:"via,omitempty"` // a listener's address, where it matters
	Key  string `json:"key,omitempty"` // the TSIG key it signs with
}
