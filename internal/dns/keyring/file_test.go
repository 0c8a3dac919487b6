package keyring

import (
	"errors"
	"os"
	"strings"
	"testing"

	"postern/internal/dns/name"
)

// The files of format 1 stay as they are: every later version reads them.
func goldens() []string {
	return []string{
		"example.test+013+65200.key", "example.test+014+24217.key", "example.test+015+54245.key", "example.test+008+51588.key",
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	good := golden(t, goldens()[0])
	other := golden(t, goldens()[1])
	change := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the golden file has no %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	head, _, _ := strings.Cut(good, pemBegin)
	_, strange, _ := strings.Cut(other, pemBegin)
	for what, c := range map[string]struct {
		text string
		kind error
		want string
	}{
		"nothing":                    {"", ErrMagic, ""},
		"another kind":               {"POSTERN-DKIM-KEY 1\n", ErrMagic, ""},
		"a newer format":             {change(magic+"1", magic+"2"), ErrVersion, `"2"`},
		"a longer version":           {change(magic+"1", magic+"1.5"), ErrVersion, ""},
		"no private part":            {head, ErrContent, "no private key"},
		"a private part cut short":   {good[:len(good)-30], ErrContent, "cut short"},
		"a line cut off":             {change("ecdsap256sha256", "ecdsap256sha25"), ErrContent, "ecdsap256sha25"},
		"a line missing":             {change("role: csk\n", ""), ErrContent, `"role"`},
		"lines in another order":     {change("zone: example.test.\nrole: csk\n", "role: csk\nzone: example.test.\n"), ErrContent, `"zone"`},
		"only the first line":        {magic + "1\n" + pemBegin + strange, ErrContent, `"zone"`},
		"the private part of others": {head + pemBegin + strange, ErrContent, "another curve"},
		"another tag":                {change("tag: 65200", "tag: 65201"), ErrContent, `"tag"`},
		"another public part":        {change("dnskey: 257 3 13 ", "dnskey: 257 3 13 AA"), ErrContent, `"dnskey"`},
		"another role":               {change("role: csk", "role: zsk"), ErrContent, `"tag"`},
		"no role":                    {change("role: csk", "role: unknown"), ErrContent, "csk, ksk or zsk"},
		"a zone with capitals":       {change("zone: e", "zone: E"), ErrContent, `"zone"`},
		"no zone":                    {change("zone: example.test.", "zone: "), ErrContent, "empty name"},
		"no time":                    {change("created: 2026-11-22T12:00:00Z", "created: yesterday"), ErrContent, "created"},
		"a field twice":              {change("publish: ", "active: "), ErrContent, "twice"},
		"a field named as a line":    {change("publish: ", "role: "), ErrContent, "twice"},
		"a field with no name":       {change("publish: ", ": "), ErrContent, "small letters"},
		"another system's line ends": {strings.ReplaceAll(good, "\n", "\r\n"), ErrVersion, ""},
		"something behind":           {good + good, ErrContent, "behind"},
	} {
		e, _, err := parse([]byte(c.text))
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v; want %v with %q", what, e.Info, err, c.kind, c.want)
		}
	}
}

func TestGoldenFilesAreReadAndWrittenTheSame(t *testing.T) {
	t.Parallel()
	for _, file := range goldens() {
		text := golden(t, file)
		e, private, err := parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if e.File != file {
			t.Errorf("%s: its name would be %s", file, e.File)
		}
		signer, err := parsePKCS8(private.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		again, err := formatPrivate(signer)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(formatHead(e)) + string(again.Reveal()); got != text {
			t.Errorf("%s is written as\n%s", file, got)
		}
	}
}

// A file cut short anywhere is no key, and one with a bit turned is either none
// or the same key, fields and times apart.
func TestDamagedFilesAreNoOtherKeys(t *testing.T) {
	t.Parallel()
	for _, file := range goldens() {
		text := golden(t, file)
		step := 1
		if strings.Contains(file, "+008+") {
			step = 29 // each look at an RSA key takes its time
		}
		whole, _, err := parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(text)-1; at += step {
			if e, _, err := parse([]byte(text[:at])); err == nil {
				t.Errorf("%s: its first %d octets are key %d", file, at, e.Tag)
			}
			turned := []byte(text)
			turned[at] ^= 1
			e, _, err := parse(turned)
			if err != nil || e.File != file { // as take has it
				continue
			}
			if e.Role != whole.Role || e.Zone != whole.Zone || e.key.DNSKEY.String() != whole.key.DNSKEY.String() {
				t.Errorf("%s: with octet %d turned it is another key: %+v", file, at, e.Info)
			}
			if at > strings.Index(text, pemBegin) {
				trySigning(t, e.key, map[uint16]Role{256: ZSK, 257: CSK}[e.key.Flags])
			}
		}
	}
}

// A directory of goldens is a directory of keys.
func TestGoldenFilesAreARing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range goldens() {
		put(t, dir, file, golden(t, file))
	}
	r := opened(t, dir)
	keys, err := r.Of(parsed(t, "example.test"))
	if err != nil || len(keys) != len(goldens()) || r.Problems() != nil {
		t.Fatalf("got %v, %v, %v", keys, err, r.Problems())
	}
	list := r.List()
	if got := list[0]; got.Role != CSK || !got.Created.Equal(noon()) || len(got.Fields) != 2 || got.Fields[0] != (Field{"publish", "2026-11-22T12:00:00Z"}) || got.Fields[1] != (Field{"active", ""}) {
		t.Errorf("got %+v", got)
	}
}

func TestFieldsThatCouldNotBeReadBack(t *testing.T) {
	t.Parallel()
	for what, fields := range map[string][]Field{
		"line end in a value": {{"a", "b\nc: d"}},
		"colon in a name":     {{"a: b", "c"}},
		"no name":             {{"", "c"}},
		"capitals":            {{"State", "c"}},
		"a line's own name":   {{"dnskey", "c"}},
		"twice":               {{"a", "b"}, {"a", "c"}},
		"too long":            {{"a", strings.Repeat("b", 401)}},
		"too many":            make([]Field, maxFields+1),
	} {
		if checkFields(fields) == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

func TestFileNamesGiveTheZoneBack(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, text := range []string{
		".", "test", "example.test", "a-b_c.test", `a\.b.test`, `a\000b.test`, `\.`, `\.\..test`, `a/b.test`, `%2e.test`, `2e+013.test`, `~.test`, `*.test`, `\255.test`,
	} {
		zone := parsed(t, text)
		file := fileName(Info{Zone: zone, Alg: 13, Tag: 7})
		if strings.ContainsAny(file, `/\ `) || strings.HasPrefix(file, ".") {
			t.Errorf("%s: bad file name %s", text, file)
		}
		if got, ok := zoneOf(file); !ok || got != zone {
			t.Errorf("%s: file %s is of zone %q, %v", text, file, got, ok)
		}
		seen[file] = true
	}
	long := parsed(t, strings.Repeat(strings.Repeat(`\001`, 60)+".", 4))
	file := fileName(Info{Zone: long, Alg: 13, Tag: 7})
	if _, ok := zoneOf(file); ok || len(file) > 255 {
		t.Errorf("file of a long zone: %s, %v", file, ok)
	}
	for _, file := range []string{"example.test.key", "Example.test+013+00001.key", "%+013+00001.key", "%4+1.key", "+013+00001.key", "%41+013+00001.key"} {
		if zone, ok := zoneOf(file); ok {
			t.Errorf("%s: zone %s", file, zone)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range goldens() {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		e, private, err := parse(text)
		if err != nil {
			return
		}
		if zone, err := name.Parse(e.Zone.String()); err != nil || zone != e.Zone {
			t.Errorf("zone %q, %v", e.Zone, err)
		}
		again, _, err := parse(append(formatHead(e), private.Reveal()...))
		if err != nil || string(formatHead(again)) != string(formatHead(e)) {
			t.Errorf("not read back: %v", err)
		}
	})
}
