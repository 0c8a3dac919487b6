package internal_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// viewsRow is one clause of the definitions of views, and the tests that fail
// where it does not hold: "ROOM TestName" or "ROOM TestName: case".
type viewsRow struct {
	says  string // as VIEWS.md has it
	tests []string
}

// viewsRows is every clause. What is not built yet has the test by which the
// configuration refuses it, and those of the part that is there.
func viewsRows() []viewsRow {
	return append(append(selectionRows(), overlayRows()...), roleRows()...)
}

func selectionRows() []viewsRow {
	return []viewsRow{
		{"Decided once per request, before RD is looked at", []string{"dns/serve TestTwoRoles: inside: no snooping (VIEWS, rule 2)", "app TestRefusedTellsNothing"}},
		{"a TSIG key named by a view", []string{"dns/serve TestKeyChoosesTheView", "config TestKeysChecked"}},
		{"else the listener's `views`", []string{"dns/serve TestListenersRestrict: external alone", "dns/view TestSelect: inside listener, stranger"}},
		{"else the source address; first match wins", []string{"dns/view TestSelect: first match wins"}},
		{"A bad key gets BADKEY, BADSIG or BADTIME and nothing else", []string{"dns/serve TestBadSignatureGetsItsErrorAndNothingElse", "dns/serve TestBadSignatureLeaksNoView"}},
		{"`config check` prints the view of each of our own prefixes", []string{"config TestOwnPrefixViews", "cli TestConfigCheckPrintsTheViewOfEachOwnPrefix"}},
		{"refuses a view that can never match", []string{"config TestBad: view that can never match", "config TestBad: no clients"}},
		{`recursion for "any"`, []string{"config TestBad: recursion for any", "config TestBad: recursion for any by halves"}},
		{"a public address without `views` while any view recurses", []string{"config TestBad: public address without views"}},
		{"Internal source addresses arriving on a listener", []string{
			"app TestForgedSourcesAreDropped", "dns/serve TestForgedSourcesGetNoErrorsEither", "dns/serve TestListenersRestrict: internal source outside is forged",
			"dns/view TestSelect: outside listener, internal source: forged",
		}},
	}
}

func overlayRows() []viewsRow {
	return []viewsRow{
		{"merged with the internal file into one real zone per (zone, view)", []string{"dns/view TestMaterialise", "dns/view TestMaterialiseAgreesWithTheTable"}},
		{"then linted, signed, compiled and answered like any zone", []string{"dns/authority TestOverlayCollisionKeepsTheView", "dns/view TestViewsRow"}},
		{"Never a fall-back at query time", []string{"dns/authority TestNoGoodStateIsServfailNeverInherited", "dns/view TestViewsRow: grain"}},
		{"An external change rebuilds both", []string{"dns/authority TestOverlayFollowsBothFiles", "dns/authority TestChainOfViews"}},
		{"| grain |", []string{"dns/view TestViewsRow: grain", "dns/view TestMaterialise: grain: names below are other names"}},
		{"| apex |", []string{"dns/view TestViewsRow: apex", "dns/view TestMaterialiseSOAAndNSInside", "dns/view TestMaterialise: apex: A, AAAA, HTTPS and SVCB are one group"}},
		{"| removing a public name inside |", []string{"dns/view TestViewsRow: removing a public name inside", "dns/authority TestHideWithoutAFile"}},
		{"an emptied non-terminal goes", []string{"dns/view TestViewsRow: removing a public name inside"}},
		{"hiding nothing is a WARN", []string{"dns/view TestViewsRow: hiding nothing is a WARN", "dns/authority TestHiddenNamesOfNoZone"}},
		{"| wildcards |", []string{"dns/view TestViewsRow: wildcards", "dns/view TestMaterialiseNamesTheWildcardLoss"}},
		{"an internal wildcard never covers inherited names", []string{"dns/view TestViewsRow: an internal wildcard"}},
		{"| CNAME, DNAME |", []string{"dns/view TestViewsRow: CNAME, DNAME"}},
		{"data below an inherited DNAME is an ERROR", []string{"dns/view TestViewsRow: data below an inherited DNAME"}},
		{"targets resolve in the client's view", []string{"dns/view TestViewsRow: CNAME, DNAME", "dns/view TestViewsRow: chasing and additional data stay in the view"}},
		{"| inherited delegation |", []string{"dns/view TestViewsRow: inherited delegation"}},
		{"internal data at or below it is an ERROR", []string{"dns/view TestViewsRow: internal data at an inherited delegation", "dns/view TestViewsRow: internal data below an inherited delegation"}},
		{"unless the internal file restates the NS or hides the cut", []string{"dns/view TestViewsRow: a restated delegation", "dns/view TestMaterialise: delegation: hidden, its glue does not become data"}},
		{"An internal NS or DNAME hides the external subtree", []string{"dns/view TestViewsRow: an internal NS hides the external subtree", "dns/view TestViewsRow: an internal DNAME hides the external subtree"}},
		{"| delegation that exists only inside |", []string{"dns/view TestViewsRow: delegation that exists only inside"}},
		{"the resolver follows it (private addresses allowed for it)", []string{"dns/resolver TestInsideDelegation", "dns/serve TestTwoRoles: inside: delegation followed"}},
		{"without, a referral", []string{"dns/serve TestTwoRoles: inside: delegation without RD"}},
		// Forwards and stubs are not built.
		{"A forward or stub below one of our zones inserts the cut", []string{"config TestBad: lists of tables", "config TestBad: rpz and stubs"}},
		// Signing is not built; zones that are signed elsewhere are served.
		{"keys and rollover are per zone, shared by its views", []string{"config TestBad: tables", "config TestBad: zone", "dns/view TestSameKeys"}},
		{"serial, journal, denial chain and ZONEMD are per (zone, view)", []string{"dns/authority TestSerialIsPerView", "dns/view TestDenialChainHasNoInternalName", "dns/view TestSignedBelow"}},
		{"a key step is published in both views in one commit", []string{"config TestBad: zone", "dns/authority TestApplyTogether"}},
		{"Unsigned or other keys inside, under a DS, is an ERROR", []string{"dns/view TestSignedBelow", "dns/view TestSameKeys", "dns/authority TestFullCopyOfASignedZone"}},
		// Without signing, each child of ours is the second kind.
		{"its DS is derived into that view's parent; else provably insecure", []string{"config TestBad: zone", "dns/view TestViewsRow: DS of internal children"}},
		{"DS questions are answered from the parent side", []string{"dns/view TestZone: RFC 4035 3.1.4.1: DS of a child goes to the parent", "dns/view TestViewsRow: DS of internal children"}},
		{"the DS of our own apex goes to the resolver in a recursive view", []string{"dns/view TestZone: DS of our own apex goes to the resolver", "dns/serve TestLocal"}},
		{"| zone in one view only |", []string{"dns/view TestViewsRow: zone in one view only", "dns/authority TestZoneInOneViewOnly", "dns/authority TestInternalZoneBelowAnExternalOne"}},
		{"the answer equals any name that does not exist, byte for byte", []string{"app TestLeakMatrix", "dns/serve TestNothingInternalLeaks"}},
		{"| reverse zones |", []string{"dns/view TestViewsRow: reverse zones"}},
		{"own zone, then forward or stub, then the RFC 6303 empty zones, then recursion", []string{"app TestLeakMatrix: 1.0.0.10.in-addr.arpa. PTR", "dns/resolver TestOwnZones", "dns/resolver TestSpecialUseNames"}},
		{"RFC 2317 targets are answered locally", []string{"dns/view TestViewsRow: reverse zones"}},
		{"RPZ never rewrites own zones", []string{"config TestBad: rpz and stubs"}}, // RPZ is not built
		{"`overlay` may chain; a cycle is an error; depth 4", []string{"dns/view TestOrder", "config TestBad: overlays in a circle", "config TestBad: overlays too deep"}},
		{"the nearest wins; `hide` is inherited", []string{"dns/authority TestChainOfViews", "dns/view TestMaterialiseChain", "dns/authority TestDriftInAChain"}},
		// Forwards, RPZ and negative anchors are not built, so there is one
		// cache; what stands below a cut of one view is apart in it.
		{"One resolver cache per distinct set of forwards, RPZ and negative anchors", []string{"config TestBad: validation", "config TestBad: rpz and stubs", "config TestBad: lists of tables", "dns/resolver TestInsideDelegation"}},
		// Not built: neither peers nor transfers, NOTIFY or UPDATE.
		{"| transfers, NOTIFY, UPDATE |", []string{"config TestBad: zone", "config TestBad: tables", "dns/serve TestKeyChoosesTheView: no transfer yet", "app TestOddMessagesTellNothing"}},
		{"ACME TXT external only", []string{"config TestBad: tables"}}, // ACME is not built
		{"DKIM, TLSA and the rest external and inherited", []string{"dns/authority TestDerivedStaysOutOfInternalZones", "dns/authority TestDerivedRecords"}},
		{"at or below an admin's cut or CNAME publication fails with a reason word", []string{"dns/authority TestDerivedRecords"}},
		{"| mail look-ups |", []string{"app TestMailSeesTheWorldOutside", "dns/resolver TestLookup"}},
		{"Only `next_hop` and scanner names resolve in the internal view", []string{"mail/route TestOnlyConfiguredHopsAreLookedUpInside", "app TestMailSeesTheWorldOutside", "config TestBad: lists of tables"}},
		{"| failure |", []string{"dns/authority TestNoGoodStateIsServfailNeverInherited", "dns/resolver TestOwnZoneWithoutState", "dns/serve TestTwoRoles: inside: failed zone is not looked up elsewhere"}},
	}
}

func roleRows() []viewsRow {
	return []viewsRow{
		{"1. Outside: RA=0 and no path to cache or resolver", []string{"app TestRefusedTellsNothing", "app TestLeakMatrix"}},
		{"What is not ours: REFUSED, the same size and time whether cached or not", []string{"app TestRefusedTellsNothing", "dns/serve TestRefusedIsTheSameWhateverIsCached"}},
		{"CNAME chasing, additional and glue only from zones of this view", []string{"dns/view TestViewsRow: chasing and additional data stay in the view", "app TestLeakMatrix"}},
		{"AD=0. No upward referral", []string{"app TestRefusedTellsNothing", "dns/serve TestTwoRoles: outside: no recursion (VIEWS, rule 1)"}},
		{"2. Inside: own zones AA=1, AD=0; the rest RA=1", []string{"dns/serve TestTwoRoles: inside: own name (VIEWS, rule 2)", "dns/serve TestTwoRoles: inside: recursion"}},
		{"RD=0 for others' names: REFUSED", []string{"dns/serve TestTwoRoles: inside: no snooping (VIEWS, rule 2)", "app TestRefusedTellsNothing", "dns/serve TestKeyChoosesTheView: no snooping inside either"}},
		{"3. The resolver never dials our own addresses", []string{"dns/resolver TestOwnAddresses"}},
		{"Parent-side NS and addresses never outrank an own zone", []string{"dns/resolver TestOwnZones"}},
		{"Authoritative data never enters the cache", []string{"app TestOwnDataIsNotCached"}},
		{"4. Unsigned NOTIFY only from listed primaries", []string{"config TestBad: zone", "dns/serve TestOddQueries", "app TestOddMessagesTellNothing"}}, // nobody is listed yet: all are refused
		{"5. Rate limits for the outside; work limits for recursion", []string{"dns/serve TestRateLimit", "dns/resolver TestWorkIsBounded", "dns/serve TestSlowAnswersDoNotBlockOthers"}},
		{"separate quotas of TCP connections, memory and workers", []string{"dns/listen TestStrangersCannotStarveInsiders", "dns/serve TestInsidersAreClientsOfARecursiveView", "dns/resolver/cache TestBound"}},
		{"6. version.bind, NSID, EDE text, metrics and error text carry no internal name", []string{"app TestOddMessagesTellNothing", "app TestLeakMatrix", "app TestReadinessTellsNoName", "app TestDenialChainFromOutside"}},
	}
}

// TestViewsRows: each clause names tests that exist, so that the table cannot
// rot; and where VIEWS.md is at hand, each of its rows, points and sentences
// has one.
func TestViewsRows(t *testing.T) {
	t.Parallel()
	for _, r := range viewsRows() {
		if len(r.tests) == 0 {
			t.Errorf("no test for %q", r.says)
		}
		for _, test := range r.tests {
			if why := missing(test); why != "" {
				t.Errorf("%q: %s: %s", r.says, test, why)
			}
		}
	}
	text, err := os.ReadFile("../../shared/VIEWS.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("VIEWS.md is not at hand: the tests exist, that none is missing is not shown")
	} else if err != nil {
		t.Fatal(err)
	}
	for _, clause := range clauses(string(text)) {
		said := false
		for _, r := range viewsRows() {
			said = said || strings.Contains(clause, r.says)
		}
		if !said {
			t.Errorf("no row for: %s", clause)
		}
	}
	for _, r := range viewsRows() {
		if !strings.Contains(string(text), r.says) {
			t.Errorf("VIEWS.md does not say %q", r.says)
		}
	}
}

// missing says why a test is not there, or "".
func missing(test string) string {
	where, what, _ := strings.Cut(test, " ")
	name, one, _ := strings.Cut(what, ": ")
	dir := where
	if where == "config" {
		dir = "../config"
	}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		return "no tests in " + dir
	}
	declared := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(name) + `\(t \*testing\.T\)`)
	found, hasCase := false, one == ""
	cases, _ := filepath.Glob(filepath.Join(dir, "testdata", "*", "*.txt")) // the pattern is good
	for _, file := range append(files, cases...) {
		text, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		found = found || declared.Match(text)
		for _, written := range []string{`"` + one + `"`, "=== " + one + "\n"} {
			hasCase = hasCase || strings.Contains(string(text), written)
		}
	}
	switch {
	case !found:
		return "no such test"
	case !hasCase:
		return "no such case"
	}
	return ""
}

// clauses cuts VIEWS.md into what is defined: the sentences of its first
// paragraphs, the rows of its table, and its numbered points.
func clauses(text string) []string {
	var all []string
	head := regexp.MustCompile(`^(\| question \||\|---|#|$)`)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case head.MatchString(line):
		case strings.HasPrefix(line, "|"), regexp.MustCompile(`^\d\. `).MatchString(line):
			all = append(all, line)
		default:
			all = append(all, strings.Split(strings.TrimSuffix(line, "."), ". ")...)
		}
	}
	return all
}
