package zonefile

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// small are bounds that texts of some lines meet.
var small = Options{
	MaxSize: 4000, MaxRecords: 120, MaxProblems: 6, MaxGenerated: 40,
	Include: func(path string) ([]byte, string, error) { return []byte("i 1 A 192.0.2.1\n"), path, nil },
}

// whole holds a text against one that was read from beginning to end.
func whole(t testing.TB, got *Text, src string, opts Options) {
	t.Helper()
	records, problems := ParseText(src, got.file, got.origin, opts)
	if !reflect.DeepEqual(got.problems, problems) {
		t.Fatalf("%q\nproblems %q\nwant     %q", src, texts(got.problems), texts(problems))
	}
	if len(got.records) != len(records) {
		t.Fatalf("%q\n%d records, want %d", src, len(got.records), len(records))
	}
	for i := range records {
		if g, w := got.records[i], records[i]; !reflect.DeepEqual(g, w) || g.RR.String() != w.RR.String() {
			t.Fatalf("%q\nrecord %d: %v\nwant       %v", src, i, g, w)
		}
	}
	if len(got.marks) > 0 && got.kept(0, src, got.marks[0].pos) != len(got.marks) {
		t.Fatalf("the text of %q is not known again", src)
	}
}

// marked holds the marks of a text against one that has them everywhere: each
// is a place where a reading from the beginning comes by, in that state.
func marked(t testing.TB, got *Text, src string, opts Options) {
	t.Helper()
	places := map[int]mark{}
	for _, m := range read(src, got.file, got.origin, opts, 1).marks {
		places[m.pos] = m
	}
	for _, m := range got.marks {
		if m.behind != src[m.pos:min(len(src), m.pos+alike)] {
			t.Fatalf("%q\nbehind mark %+v stands %q", src, m, src[m.pos:])
		}
		want := places[m.pos]
		if want.behind, want.octets, want.hash = m.behind, m.octets, m.hash; want != m { // the octets are another text's, see whole
			t.Fatalf("%q\nmark %+v\nwant %+v", src, m, want)
		}
	}
}

// again reads now after was, and back, and holds what comes out against the
// whole way. It reports whether the short way was taken.
func again(t testing.TB, was, now string, each int, opts Options) bool {
	t.Helper()
	first := read(was, "z", parsed(t, "example."), opts, each)
	whole(t, first, was, opts)
	second, ok := first.Again(now)
	if !ok {
		return false
	}
	whole(t, second, now, opts)
	marked(t, second, now, opts)
	if third, ok := second.Again(was); ok {
		whole(t, third, was, opts)
		marked(t, third, was, opts)
	}
	whole(t, first, was, opts) // nobody changed it
	return true
}

func TestAgain(t *testing.T) {
	t.Parallel()
	const base = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n  NS ns\nns A 192.0.2.1\na A 192.0.2.2\n  TXT x;y\nb ( A\n 192.0.2.3 )\nc 5 A 192.0.2.4\nd TXT \"q\"\n"
	for _, c := range []struct {
		rule, was, now string
		short          bool
	}{
		{"a changed address", base, strings.Replace(base, ".2.2", ".2.9", 1), true},
		{"nothing changed", base, base, true},
		{"the serial and a record", base, strings.Replace(strings.Replace(base, "h 1", "h 2", 1), ".2.4", ".2.9", 1), true},
		{"another owner before a line that carries it", base, strings.Replace(base, "a A", "w A", 1), true},
		{"an owner removed: the line carries another", base, strings.Replace(base, "a A", "  A", 1), true},
		{"a comment that moves lines with problems", base, strings.Replace(base, "ns A", "; c\n\nns A", 1), true},
		{"a comment that swallows the rest of a line", base, strings.Replace(base, "c 5", ";c 5", 1), true},
		{"the first line goes", "a 1 A 192.0.2.1\nb 1 A 192.0.2.2\n", "b 1 A 192.0.2.2\n", true},
		{"all goes", base, "", true},
		{"all comes", "", base, true},
		{"an end for the last line", "a 1 A 192.0.2.1", "a 1 A 192.0.2.1\n", true},
		{"no end for the last line", "a 1 A 192.0.2.1\n", "a 1 A 192.0.2.1", true},
		{"more of the last line", "a 1 A 192.0.2.1", "a 1 A 192.0.2.12", true},
		{"less of the last line", "a 1 A 192.0.2.12\n", "a 1 A 192.0.2.1", true},
		{"a line more at the end", base, base + "e A 192.0.2.5\n", true},
		{"a line more at an end without end", base + "e A 192.0.2.5", base + "e A 192.0.2.5\n A 192.0.2.6", true},
		{"a parenthesis opens and closes", base, strings.Replace(base, "a A 192.0.2.2\n", "a ( A ; c\n 192.0.2.2\n)\n", 1), true},
		{"line ends of both kinds", base, strings.Replace(base, ".2.2\n", ".2.2\r\n", 1), true},
		{"a byte order mark that stays", bom + base, bom + base + "e A 192.0.2.5\n", true},
		{"a warning comes", base, strings.Replace(base, "\"q\"", "q;", 1), true},
		{"a warning goes", base, strings.Replace(base, "x;y", "x", 1), true},
		{"a $GENERATE that stays", base + "$GENERATE 1-3 g$ A 192.0.2.$\nz A 192.0.2.1\n", strings.Replace(base, ".2.2", ".2.9", 1) + "$GENERATE 1-3 g$ A 192.0.2.$\nz A 192.0.2.1\n", true},
		{"a TTL carried over the edit", "a 7 A 192.0.2.1\nb A 192.0.2.2\nc A 192.0.2.3\n", "a 7 A 192.0.2.1\nb A 192.0.2.9\nc A 192.0.2.3\n", true},
		{"a TTL that is carried on", "a 7 A 192.0.2.1\nb A 192.0.2.2\nc A 192.0.2.3\n", "a 8 A 192.0.2.1\nb A 192.0.2.2\nc A 192.0.2.3\n", true},

		{"an error", base, strings.Replace(base, ".2.2", ".2", 1), false},
		{"an open quote", base, strings.Replace(base, "x;y", "\"x", 1), false},
		{"an open parenthesis", base, strings.Replace(base, "a A", "a ( A", 1), false},
		{"a closing parenthesis", base, strings.Replace(base, ".2.2\n", ".2.2 )\n", 1), false},
		{"an error before", base + "x\n", base, false},
		{"another $INCLUDE", base, base + "$INCLUDE i\n", false},
		{"an $INCLUDE that stays", base + "$INCLUDE i\n", "; c\n" + base + "$INCLUDE i\n", false},
		{"no TTL any more", "a 7 A 192.0.2.1\nb A 192.0.2.2\n", "a A 192.0.2.1\nb A 192.0.2.2\n", false},
		{"no TTL before", "a A 192.0.2.1\nb 7 A 192.0.2.2\n", "a 7 A 192.0.2.1\nb 7 A 192.0.2.2\n", false},
		{"a byte order mark comes", base, bom + base, false},
		{"a byte order mark goes", bom + base, base, false},
		{"UTF-16", "a 1 A 192.0.2.1\n", "\xff\xfea 1 A 192.0.2.1\n", false},
		{"UTF-16, the other", "a 1 A 192.0.2.1\n", "\xfe\xffa 1 A 192.0.2.1\n", false},
		{"too many records", base, base + strings.Repeat("x A 192.0.2.1\n", 120), false},
		{"too many warnings", base, base + strings.Repeat("x TXT x;y\n", 6), false},
		{"as many warnings as are told", base, base + strings.Repeat("x TXT x;y\n", 5), true},
		{"too many generated", base, base + "$GENERATE 1-41 g$ A 192.0.2.$\n", false},
		{"too many generated in two places", base + "$GENERATE 1-30 g$ A 192.0.2.$\nx A 192.0.2.1\n", base + "$GENERATE 1-30 g$ A 192.0.2.$\nx A 192.0.2.1\n$GENERATE 1-11 h$ A 192.0.2.$\n", false},
		{"as many generated as may be", base + "$GENERATE 1-30 g$ A 192.0.2.$\nx A 192.0.2.1\n", base + "$GENERATE 1-30 g$ A 192.0.2.$\nx A 192.0.2.1\n$GENERATE 1-10 h$ A 192.0.2.$\n", true},
		{"too large", base, base + strings.Repeat(";", 4000), false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			for _, each := range []int{1, 2, 3, eachMark} {
				if short := again(t, c.was, c.now, each, small); short != c.short {
					t.Errorf("a mark each %d: short way %v, want %v", each, short, c.short)
				}
			}
		})
	}
}

// pieces are what random texts and edits are made of.
var pieces = []string{
	"a 1 A 192.0.2.1\n", "b A 192.0.2.2\n", "  A 192.0.2.3\n", "\tTXT \"x\" y\n", " 30 IN MX 10 mail\n", "c IN 20 CNAME d.\n", "@ TXT x;y\n", "; comment\n", "\n", " \n", "( )\n",
	"$TTL 60\n", "$TTL 7\n", "$ORIGIN sub\n", "$ORIGIN example.\n", "$GENERATE 1-3 g$ A 192.0.2.$\n", "$ORIGIN other.\n", "d ( TXT ; c\n \"a\"\n) ; d\n", "e AAAA 2001:db8::1\r\n", "  PTR e\r\n",
	"@ 5 SOA ns h ( 1 2\n 3 4 5 )\n", "* TXT “x”\n", "f SRV 1 2 3 g ; x\n", "g TYPE999 \\# 1 00\n", "a.very.long.name.below NS ns\n", "h 3 HTTPS 1 . alpn=h2\n",
}

var breaking = []string{"(", ")", "\"", "\\", ";", "\n", "\r", "\x00", " ", "$INCLUDE i\n", "a..b A 192.0.2.1\n", "x A 1\n", "$TTL x\n", "$FOO\n", bom, "i A 192.0.2.", "$GENERATE 1-30 g$ TXT $\n"}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(3) > 0 {
		b.WriteString("$TTL 300\n")
	}
	b.WriteString("@ 60 SOA ns h 1 2 3 4 5\n")
	for range r.IntN(40) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	text := b.String()
	switch r.IntN(10) {
	case 0:
		text = strings.ReplaceAll(text, "\n", "\r\n")
	case 1:
		text = strings.TrimSuffix(text, "\n")
	case 2:
		text = bom + text
	}
	return text
}

// randomEdit changes a text in one place or several.
func randomEdit(r *rand.Rand, text string) string {
	for range 1 + r.IntN(3) {
		lines := strings.SplitAfter(text, "\n")
		i := r.IntN(len(lines))
		j := min(len(lines), i+r.IntN(6))
		piece := pieces[r.IntN(len(pieces))]
		switch r.IntN(9) {
		case 0, 1:
			lines = slices.Insert(lines, i, piece)
		case 2:
			lines = slices.Delete(lines, i, j)
		case 3, 4:
			lines[i] = piece
		case 5:
			lines = slices.Insert(lines, r.IntN(len(lines)), lines[i:j]...)
		case 6:
			lines[i] = strings.Replace(lines[i], "192.0.2.", "198.51.100.", 1)
		case 7:
			at := r.IntN(len(text) + 1)
			lines = []string{text[:at], string(text[max(0, at-1):min(len(text), at+r.IntN(3))]), text[at:]}
		default:
			if r.IntN(3) == 0 {
				at := r.IntN(len(lines[i]) + 1)
				lines[i] = lines[i][:at] + breaking[r.IntN(len(breaking))] + lines[i][at:]
			}
		}
		text = strings.Join(lines, "")
	}
	return text
}

// The short way is the whole way, or none: for any text, any edits, and one
// after another.
func TestAgainIsRead(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 3))
			short, tries := 0, 0
			for range 12 {
				text := randomText(r)
				each, opts := 1+r.IntN(12), small
				if r.IntN(2) == 0 {
					opts = Options{Include: small.Include}
				}
				at := read(text, "z", parsed(t, "example."), opts, each)
				for range 8 {
					now := randomEdit(r, text)
					next, ok := at.Again(now)
					if tries++; !ok {
						continue // the last good one stays
					}
					short++
					whole(t, next, now, opts)
					marked(t, next, now, opts)
					whole(t, at, text, opts)
					at, text = next, now
				}
			}
			if short < tries/4 {
				t.Errorf("the short way was taken %d times of %d", short, tries)
			}
		})
	}
}

func FuzzAgain(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20 {
		was := randomText(r)
		f.Add(was, randomEdit(r, was), byte(i))
	}
	for _, b := range breaking {
		was := randomText(r)
		at := r.IntN(len(was))
		f.Add(was, was[:at]+b+was[at:], byte(at))
	}
	f.Fuzz(func(t *testing.T, was, now string, each byte) {
		again(t, was, now, 1+int(each%16), small)
	})
}

// large is a zone of so many lines, of several owners and types.
func large(lines int) string {
	var b strings.Builder
	b.WriteString("$TTL 3600\n@ SOA ns1 hostmaster (\n 1 ; serial\n 2h 1h 14d 5m )\n@ NS ns1\n")
	for i := range lines {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "host%d A 192.0.2.%d\n", i, i%256)
		case 1:
			fmt.Fprintf(&b, "  AAAA 2001:db8::%x:%x\n", i>>16, i&0xffff)
		case 2:
			fmt.Fprintf(&b, "mail%d 300 IN MX 10 host%d\n", i, i-2)
		default:
			fmt.Fprintf(&b, "text%d TXT \"number %d\"\n", i, i)
		}
	}
	return b.String()
}

// What an edit costs is bound by the edit, and the records it left alone are
// those that were there.
func TestAgainIsShort(t *testing.T) {
	t.Parallel()
	base := large(50_000)
	first := Read(base, "z", parsed(t, "example."), Options{})
	line := func(i int) int { // where record i begins
		return strings.Index(base, fmt.Sprintf("text%d ", i))
	}
	for _, c := range []struct {
		rule    string
		edit    string
		anew    int // records that are not those that were there
		entries int // at most
	}{
		{"one record", strings.Replace(base, "number 40003\"", "other\"", 1), 1, 600},
		{"a line more", base[:line(20003)] + "new A 192.0.2.1\n" + base[line(20003):], 1, 600},
		{"a line less", strings.Replace(base, "text30003 TXT \"number 30003\"\n", "", 1), 0, 600},
		{"a comment", base[:line(20003)] + "; new\n" + base[line(20003):], 0, 600},
		{"the serial and two records", strings.NewReplacer(" 1 ; serial", " 2 ; serial", "number 10003\"", "a\"", "number 40003\"", "b\"").Replace(base), 3, 1700},
		{"a line more at the end", base + "new A 192.0.2.1\n", 1, 600},
		{"a line more at the beginning", "new 60 A 192.0.2.1\n" + base, 1, 600},
		{"a thousand lines less", base[:line(20003)] + base[line(21003):], 0, 600},
		{"a thousand lines more", base[:line(20003)] + strings.Repeat("new A 192.0.2.1\n", 1000) + base[line(20003):], 1000, 2600},
		{"three thousand lines elsewhere", base[:line(20003)] + base[line(23003):line(40003)] + base[line(20003):line(23003)] + base[line(40003):], 3000, 7000},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			next, ok := first.Again(c.edit)
			if !ok {
				t.Fatal("no short way")
			}
			if next.read == 0 || next.read > c.entries {
				t.Errorf("%d entries were read, want some and %d at most", next.read, c.entries)
			}
			there := map[any]bool{}
			for _, r := range first.Records() {
				there[r.RR] = true
			}
			anew := 0
			for _, r := range next.Records() {
				if !there[r.RR] {
					anew++
				}
			}
			if anew != c.anew {
				t.Errorf("%d records are new, want %d", anew, c.anew)
			}
			want, _ := ParseText(c.edit, "z", parsed(t, "example."), Options{})
			if len(want) != len(next.Records()) {
				t.Fatalf("%d records, want %d", len(next.Records()), len(want))
			}
			for i, w := range want {
				g := next.Records()[i]
				same := *g.RR.Header() == *w.RR.Header() && dns.IsDuplicate(g.RR, w.RR)
				if g.RR, w.RR = nil, nil; !same || g != w {
					t.Fatalf("record %d: %v, want %v", i, next.Records()[i], want[i])
				}
			}
		})
	}
}

// What is not small beside the file is left to Read.
func TestAgainDeclinesLargeEdits(t *testing.T) {
	t.Parallel()
	base := large(50_000)
	first := Read(base, "z", parsed(t, "example."), Options{})
	for rule, edit := range map[string]string{
		"another $TTL":          strings.Replace(base, "$TTL 3600", "$TTL 60", 1),
		"another $ORIGIN":       "$ORIGIN sub\n" + base,
		"an open parenthesis":   strings.Replace(base, "host4 A", "host4 ( A", 1),
		"all lines":             strings.ReplaceAll(base, "192.0.2.", "198.51.100."),
		"line ends":             strings.ReplaceAll(base, "\n", "\r\n"),
		"half the file is gone": base[len(base)/2:],
	} {
		if _, ok := first.Again(edit); ok {
			t.Errorf("%s: the short way was taken", rule)
		}
	}
}

// Wherever the bound falls, behind a line, in a comment or in an address, what
// stands before it is not taken for the whole text.
func TestAgainDeclinesAtTheBound(t *testing.T) {
	t.Parallel()
	base := strings.Repeat("a A 192.0.2.122;z\n\n", 2*leastRun/18)
	first := Read("$TTL 60\n"+base, "z", parsed(t, "example."), Options{})
	for i := range 40 {
		if _, ok := first.Again("$TTL 61" + strings.Repeat(" ", i) + "\n" + base); ok {
			t.Errorf("%d blanks: the short way was taken", i)
		}
	}
}

// No file is fetched on the short way.
func TestAgainFetchesNothing(t *testing.T) {
	t.Parallel()
	const base = "a 1 A 192.0.2.1\n"
	fetched := 0
	first := Read(base, "z", parsed(t, "example."), Options{Include: func(path string) ([]byte, string, error) {
		fetched++
		return nil, path, nil
	}})
	if _, ok := first.Again(base + "$INCLUDE i\n"); ok || fetched > 0 {
		t.Errorf("short way %v, %d files fetched", ok, fetched)
	}
}

// What an edit leaves in memory is what it changed, not all that was read to
// find it: here some hundred records.
func TestAgainKeepsLittle(t *testing.T) { // measures the heap: nothing else may run
	text := large(20_000)
	at := Read(text, "z", parsed(t, "example."), Options{})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const edits = 150
	for i := range edits { // owners that are carried, each far from the last
		was := fmt.Sprintf("2001:db8::0:%x\n", 4*31*i+1)
		now := strings.Replace(text, was, fmt.Sprintf("2001:db8::1:%x\n", 4*31*i+1), 1)
		next, ok := at.Again(now)
		if !ok || now == text {
			t.Fatalf("edit %d: short way %v", i, ok)
		}
		at, text = next, now
	}
	if each := (int64(heap()) - int64(before)) / edits; each > 2048 {
		t.Errorf("an edit of one record keeps %d octets", each)
	} else {
		t.Logf("an edit of one record keeps %d octets", each)
	}
	runtime.KeepAlive(at)
}

// Edits in one place leave neither marks nor long ways without a mark.
func TestAgainKeepsMarksApart(t *testing.T) {
	t.Parallel()
	text := large(2000)
	at := read(text, "z", parsed(t, "example."), Options{}, 16)
	before := len(at.marks)
	line := strings.Index(text, "text1003 ")
	for i := range 200 {
		text = text[:line] + fmt.Sprintf("new%d A 192.0.2.1\n", i) + text[line:]
		next, ok := at.Again(text)
		if !ok {
			t.Fatalf("edit %d: no short way", i)
		}
		if at = next; at.read > 2*3*16 {
			t.Fatalf("edit %d: %d entries were read", i, at.read)
		}
	}
	if more := len(at.marks) - before; more < 200/24 || more > 200/8 {
		t.Errorf("200 lines have %d marks more", more)
	}
	whole(t, at, text, Options{})
	marked(t, at, text, Options{})
	// Marks that the edits bring are bounded all the same.
	at.most = len(at.marks)
	if _, ok := at.Again(text + strings.Repeat("x A 192.0.2.1\n", 64)); ok {
		t.Error("more marks than may be")
	}
}

// What edits leave behind in memory is put in order now and then.
func TestAgainEndsAfterManyEdits(t *testing.T) {
	t.Parallel()
	texts := []string{"$TTL 60\na A 192.0.2.1\n", "$TTL 60\na A 192.0.2.2\n"}
	at, edits := read(texts[0], "z", parsed(t, "example."), Options{}, eachMark), 0
	for {
		next, ok := at.Again(texts[(edits+1)%2])
		if !ok {
			break
		}
		at = next
		edits++
	}
	if want := (manyApart + 1) / (perEdit + 1); edits != want {
		t.Errorf("%d edits, want %d", edits, want)
	}
}

// Neither records nor marks keep the text of the file.
func TestAgainKeepsNoText(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("$TTL 60\n@ SOA ns h 1 2 3 4 5\n")
	for _, p := range pieces {
		b.WriteString(p)
	}
	was := b.String()
	first := read(was, "z", parsed(t, "example."), Options{}, 3)
	now := strings.Replace(was, "192.0.2.3", "192.0.2.4", 1) + "new TXT \"x\" CAA\nnew CAA 0 issue x\nnew LOC 1 N 1 E 1\n"
	second, ok := first.Again(now)
	if !ok {
		t.Fatal("no short way")
	}
	for _, src := range []string{was, now} {
		from := uintptr(unsafe.Pointer(unsafe.StringData(src)))
		check := func(s string) {
			if at := uintptr(unsafe.Pointer(unsafe.StringData(s))); s != "" && at >= from && at < from+uintptr(len(src)) {
				t.Errorf("%q is kept out of the text", s)
			}
		}
		for _, text := range []*Text{first, second} {
			for _, r := range text.records {
				check(string(r.Owner))
				eachString(reflect.ValueOf(r.RR), check)
			}
			for _, m := range text.marks {
				eachString(reflect.ValueOf(m), check)
			}
			for _, p := range text.problems {
				eachString(reflect.ValueOf(p), check)
			}
		}
	}
}

func eachString(v reflect.Value, f func(string)) {
	switch v.Kind() {
	case reflect.String:
		f(v.String())
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			eachString(v.Elem(), f)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			eachString(v.Field(i), f)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachString(v.Index(i), f)
		}
	}
}

// Whoever gives the parser a memory decides whether a mark has to hold it.
func TestMarkHoldsWhatLastsFromEntryToEntry(t *testing.T) {
	t.Parallel()
	fields := func(v any) []string {
		var out []string
		for i := range reflect.TypeOf(v).NumField() {
			out = append(out, reflect.TypeOf(v).Field(i).Name)
		}
		return out
	}
	known := map[string]bool{}
	for _, f := range []string{
		"origin", "shown", "owner", "ownerText", "ttl", "ttlKnown", "byDefault", "generated", // held
		"zone", "opts", "file", "passed", // the same in all the text
		"arena", "target", "wire", "data", "scratch", "written", // save work only
		"records", "problems", "size", // bounds that Again holds
		"done", "lost", "includes", "depth", "noTTL", "soaTTL", "soaSeen", // refused
	} {
		known[f] = true
	}
	for _, f := range append(fields(parser{}), fields(scope{})...) {
		if !known[f] {
			t.Errorf("may a text be read from its middle without %s?", f)
		}
	}
	for _, f := range fields(state{}) {
		if !known[f] {
			t.Errorf("%s is in no parser", f)
		}
	}
}

func BenchmarkAgain(b *testing.B) {
	base := large(172_000)
	edit := strings.Replace(strings.Replace(base, " 1 ; serial", " 2 ; serial", 1), "number 86003\"", "other\"", 1)
	origin := name.Name("\x07example\x00")
	first := Read(base, "z", origin, Options{})
	b.Run("edit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := first.Again(edit); !ok {
				b.Fatal("no short way")
			}
		}
	})
	b.Run("whole", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Read(edit, "z", origin, Options{})
		}
	})
}
