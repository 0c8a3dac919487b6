package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// lattice is the order of the rooms: one line a layer, lowest first. A package
// imports any layer below its own, and of its own layer only what is listed
// with an arrow beneath. dns/* and mail/* never import each other; only the
// roof imports postern/config.
const lattice = `
0 floor:   argon atomicfile handshake lifecycle lookup lookup/lookuptest metrics ratelimit secret
1 words:   dns/name dns/wire mail/address mail/message mail/envelope
2 rules:   dns/zone dns/zonefile dns/zonelint dns/answer dns/view dns/gate
2 rules:   dns/attest dns/tsig dns/resolver/iterate
2 rules:   dns/dnssec dns/signer dns/catalog dns/update dns/contrast
2 rules:   dns/resolver/validate dns/dsync dns/rollover
2 rules:   mail/smtpline mail/sasl mail/spf mail/dkim mail/dmarc mail/verdict mail/seal mail/dsn mail/srs mail/ldap
3 keepers: store account certs dns/journal dns/authority dns/xfr
3 keepers: dns/keyring dns/roster
3 keepers: dns/resolver dns/resolver/cache dns/resolver/outbound
3 keepers: mail/inspect mail/spool mail/route mail/deliver mail/queue mail/accept mail/selector mail/trail
3 keepers: mail/recipient mail/scan mail/directory
4 doors:   dns/listen dns/listen/doh dns/listen/doq dns/serve mail/smtpd mail/mx mail/submission mail/relay
5 desk:    manage control admin manual
6 roof:    app cli lab lab/load lab/bench
`

// arrows are the imports allowed inside one layer: importer -> imported.
const arrows = `
argon             -> lifecycle metrics
handshake         -> metrics
lookup/lookuptest -> lookup
dns/wire          -> dns/name
mail/message      -> mail/address
mail/envelope     -> mail/address
dns/zonefile      -> dns/zone
dns/zonelint      -> dns/zone dns/zonefile
dns/answer        -> dns/zone
dns/attest        -> dns/zone dns/zonefile
dns/catalog       -> dns/zone
dns/dnssec        -> dns/zone
dns/signer        -> dns/zone dns/dnssec
dns/contrast      -> dns/zone dns/signer
dns/resolver/validate -> dns/zone dns/dnssec
dns/rollover      -> dns/zone dns/zonefile dns/dnssec dns/signer dns/attest dns/resolver/validate
dns/update        -> dns/zone dns/zonefile
dns/view          -> dns/zone dns/zonefile dns/zonelint dns/answer
mail/verdict      -> mail/smtpline mail/spf mail/dkim mail/dmarc
account           -> store
dns/authority     -> dns/journal dns/keyring
dns/resolver      -> dns/resolver/cache dns/resolver/outbound
mail/inspect      -> mail/spool
mail/deliver      -> mail/spool mail/route
mail/queue        -> mail/spool mail/route mail/deliver
mail/recipient    -> mail/deliver
mail/accept       -> mail/spool mail/inspect mail/selector mail/scan
dns/listen        -> dns/listen/doh dns/listen/doq
dns/serve         -> dns/listen
mail/mx           -> mail/smtpd
mail/submission   -> mail/smtpd
mail/relay        -> mail/smtpd
control           -> manage
admin             -> manage
lab               -> lab/load
lab/bench         -> lab/load
cli               -> app
`

const roof = 6

func TestLayers(t *testing.T) {
	t.Parallel()
	level, side := readLattice(t)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		if room := filepath.ToSlash(filepath.Dir(path)); room != "." {
			checkFile(t, path, room, level, side)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkFile(t *testing.T, path, room string, level map[string]int, side map[string]bool) {
	t.Helper()
	own, ok := level[room]
	if !ok {
		t.Errorf("%s: room %s is not in the lattice", path, room)
		return
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	inTest := strings.HasSuffix(path, "_test.go")
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Error(err)
			continue
		}
		if why := forbidden(room, own, imported, level, side, inTest); why != "" {
			t.Errorf("%s imports %s: %s", path, imported, why)
		}
	}
}

// forbidden returns why room may not import the package, or "". Tests may use
// the fakes of the floor and anything of a lower layer, as other code does.
func forbidden(room string, own int, imported string, level map[string]int, side map[string]bool, inTest bool) string {
	if imported == "postern/config" || imported == "postern/zones" {
		if own < roof {
			return "only the roof reads the configuration and the embedded zones"
		}
		return ""
	}
	to, ok := strings.CutPrefix(imported, "postern/internal/")
	if !ok {
		return ""
	}
	theirs, known := level[to]
	switch {
	case !known:
		return "not in the lattice"
	case wing(room) != "" && wing(to) != "" && wing(room) != wing(to):
		return "the wings meet only in lookup and app"
	case to == "lookup/lookuptest" && !inTest:
		return "a fake, for tests"
	case (to == "lab" || to == "lab/load") && room != "lab" && room != "lab/bench" && !inTest:
		return "the lab is for tests"
	case theirs > own:
		return "points up"
	case theirs == own && to != room && !side[room+" "+to]:
		return "not among the arrows of its layer"
	}
	return ""
}

func wing(room string) string {
	first, _, ok := strings.Cut(room, "/")
	if ok && (first == "dns" || first == "mail") {
		return first
	}
	return ""
}

func readLattice(t *testing.T) (level map[string]int, side map[string]bool) {
	t.Helper()
	level, side = map[string]int{}, map[string]bool{}
	for line := range strings.Lines(strings.TrimSpace(lattice)) {
		head, rooms, _ := strings.Cut(line, ":")
		n, err := strconv.Atoi(head[:1])
		if err != nil {
			t.Fatalf("lattice line %q: %v", line, err)
		}
		for _, room := range strings.Fields(rooms) {
			if _, twice := level[room]; twice {
				t.Fatalf("room %s stands twice in the lattice", room)
			}
			level[room] = n
		}
	}
	for line := range strings.Lines(strings.TrimSpace(arrows)) {
		from, to, _ := strings.Cut(line, "->")
		for _, room := range strings.Fields(to) {
			from := strings.TrimSpace(from)
			if level[from] != level[room] {
				t.Fatalf("arrow %s -> %s leaves its layer", from, room)
			}
			side[from+" "+room] = true
		}
	}
	return level, side
}

// TestWingFoldersHoldNoFiles keeps the name dns free for the DNS library.
func TestWingFoldersHoldNoFiles(t *testing.T) {
	t.Parallel()
	for _, wing := range []string{"dns", "mail"} {
		files, err := filepath.Glob(filepath.Join(wing, "*.go"))
		if err != nil || len(files) > 0 {
			t.Errorf("%s holds %v (%v)", wing, files, err)
		}
	}
}
