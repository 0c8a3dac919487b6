package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBad reads testdata/bad: cases of a name, a text, and every problem of it
// in order. With -update the problems are written anew.
func TestBad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var now bytes.Buffer
		for i, c := range strings.Split("\n"+string(data), "\n=== ") {
			if i == 0 {
				continue
			}
			title, rest, _ := strings.Cut(c, "\n")
			text, want, ok := strings.Cut(rest, "---\n")
			if !ok {
				t.Fatalf("%s: case %q has no line ---", name, title)
			}
			got := problemsOf(t, Options{}, text)
			now.WriteString("=== " + title + "\n" + text + "---\n" + got + "\n")
			if strings.TrimSpace(got) != strings.TrimSpace(want) && !*renew {
				t.Errorf("%s: %s: problems of\n%s\n got\n%s\nwant\n%s", name, title, text, got, want)
			}
		}
		if *renew {
			if err := os.WriteFile(name, now.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// problemsOf returns the problems without the name of the file, one a line.
// Most cases listen for nothing, which alone is only worth a warning.
func problemsOf(t *testing.T, o Options, text string) string {
	t.Helper()
	checked, problems := o.Parse([]byte(text), "postern.toml", t.TempDir())
	if (checked == nil) != Failed(problems) {
		t.Errorf("a configuration in spite of errors, or none without: %v", problems)
	}
	problems = slices.DeleteFunc(problems, func(p Problem) bool { return p.Message == "nothing is listened for" })
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(strings.TrimPrefix(p.String(), "postern.toml:") + "\n")
	}
	return b.String()
}

func TestBadBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"control character", "[server]\nstate = \"a\x01b\"\n", "2:11: not TOML: basic strings cannot have control characters\n"},
		{"not UTF-8", "[server]\nstate = \"a\xffb\"\n", "2:11: not TOML: invalid UTF-8 character in basic string\n"},
		{"UTF-16", "\xff\xfe[\x00s\x00]\x00", "1:1: not TOML: invalid character at start of key: U+00FF 'ÿ' (it looks like UTF-16: save it as UTF-8)\n"},
		{"too large", strings.Repeat("#\n", maxFile/2+1), "1:1: the file is larger than 1048576 bytes (is it the right file?)\n"},
	} {
		if got := problemsOf(t, Options{}, c.text); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestSecretThatOthersRead is refused where the reference stands.
func TestSecretThatOthersRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("cert.pem", 0o644)
	write("key.pem", 0o644)
	text := []byte("[tls]\nissuer = \"files\"\ncert = \"cert.pem\"\nkey = \"file:key.pem\"\n")
	_, problems := Parse(text, "postern.toml", dir)
	path := filepath.Join(dir, "key.pem")
	want := "postern.toml:4:7: secret file:" + path + ": others can read it (mode 0644) (chmod 600 " + path + ")"
	if len(problems) != 2 || problems[1].String() != want {
		t.Errorf("got %v, want %s", problems, want)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems := Parse(text, "postern.toml", dir)
	if c == nil {
		t.Fatal(problems)
	}
	if c.TLS.Key != path || c.TLS.Cert != filepath.Join(dir, "cert.pem") {
		t.Errorf("got %+v", c.TLS)
	}
}

func TestBadUpstreamMap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "map")
	if err := os.WriteFile(path, []byte("# comment\n198.41.0.4 127.0.0.1:5301\n198.41.0.4\n\nx 127.0.0.1:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := []byte("[resolver.test]\nupstream_map = \"map\"\n")
	_, problems := Options{TestKnobs: true}.Parse(text, "postern.toml", dir)
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	want := []string{
		"postern.toml:1:1: warning: nothing is listened for (add [[listen]])",
		path + `:3:1: bad line of the upstream map (want "IP IP:PORT")`,
		path + `:5:1: bad line of the upstream map (want "IP IP:PORT")`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestBadTrustAnchor(t *testing.T) {
	t.Parallel()
	const hint = ` (want lines such as ". IN DS 20326 8 2 E06D…", or DNSKEY)`
	for text, want := range map[string][]string{
		"":            {"postern.toml:2:16: PATH holds no trust anchor" + hint},
		"; nothing\n": {"postern.toml:2:16: PATH holds no trust anchor" + hint},
		"\n\tIN DS 1 8 2 AA\nx\n. IN A 192.0.2.1\n. CH DS 1 8 2 AA\n": {
			"PATH:2:1: trust anchor without an owner" + hint,
			"PATH:3:1: bad trust anchor" + hint,
			"PATH:4:1: trust anchor of type A" + hint,
			"PATH:5:1: trust anchor of another class than IN" + hint,
		},
		". DNSKEY 385 3 8 AwEAAQ==\n. DNSKEY 0 3 8 AwEAAQ==\n. DNSKEY 257 2 8 AwEAAQ==\n": {
			"PATH:1:1: trust anchor is a revoked key (take the zone's key of today)",
			"PATH:2:1: trust anchor is no zone key (want flags 257 (or 256) and protocol 3)",
			"PATH:3:1: trust anchor is no zone key (want flags 257 (or 256) and protocol 3)",
		},
		". DS 1 8 2 AA\n\nlab. DS 1 5 2 AA\nlab. DS 1 13 1 AA\n": {
			"PATH:3:1: no trust anchor of lab. has an algorithm and a digest that can be checked (want algorithm 8, 10, 13, 14 or 15 and digest type 2 or 4)",
		},
		"lab. DS 1 8 2 AA\n": {
			"postern.toml:2:16: warning: PATH has no trust anchor of the root: what the parents of most zones say is not validated (it replaces the built-in anchor: put that of the root into it too)",
		},
		". DS 1 8 2 AA\n. DS 1 8 1 AA\nlab. IN DNSKEY 257 3 13 AwEAAQ==\n": nil,
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "anchor")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, problems := Options{}.Parse([]byte("[resolver]\ntrust_anchor = \"anchor\"\n"), "postern.toml", dir)
		var got []string
		for _, p := range problems {
			if line := strings.ReplaceAll(p.String(), path, "PATH"); !strings.Contains(line, "nothing is listened for") {
				got = append(got, line)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q:\n got %q\nwant %q", text, got, want)
		}
	}
}

// TestUnreadable names the file and why.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/nonexistent/postern.toml": "/nonexistent/postern.toml:1:1: cannot read it: no such file or directory (--config names the file)",
		"/":                         "/:1:1: cannot read it: is a directory (--config names the file)",
	} {
		c, problems := Load(path)
		if c != nil || len(problems) != 1 || problems[0].String() != want {
			t.Errorf("Load(%q) = %v", path, problems)
		}
	}
}

// TestBlocklistTooLarge is told where it is named, before anything reads it.
func TestBlocklistTooLarge(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list.txt")
	text := "[accounts]\nblocklist = \"" + path + "\"\n"
	for _, c := range []struct {
		size int64
		want string
	}{{maxBlocklist, ""}, {maxBlocklist + 1, "2:13: " + path + " is larger than 256 MiB (keep the part that matters)"}} {
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, c.size)); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(problemsOf(t, Options{}, text)); got != c.want {
			t.Errorf("%d octets: %q, want %q", c.size, got, c.want)
		}
	}
}
