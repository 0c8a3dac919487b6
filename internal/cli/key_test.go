package cli

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeyGenerate: what it prints goes into postern.toml as it is, and key list
// shows it; the secret is in its file alone.
func TestKeyGenerate(t *testing.T) {
	t.Parallel()
	for algorithm, size := range map[string]int{"hmac-sha1": 20, "hmac-sha224": 28, "hmac-sha256": 32, "hmac-sha384": 48, "hmac-sha512": 64} {
		conf := write(t, "postern.toml", "[server]\nhostname = \"e.example.net\"\n")
		code, out, errs := command(t, "", "key", "generate", "Partner-2026.", "--algorithm", algorithm, "--config", conf)
		path := filepath.Join(filepath.Dir(conf), "secrets", "partner-2026.key")
		want := fmt.Sprintf("[key.\"partner-2026.\"]\nalgorithm = %q\nsecret    = \"file:secrets/partner-2026.key\"\n", algorithm)
		if code != exitFine || out != want || !strings.Contains(errs, path) {
			t.Fatalf("exit %d\n%s%s", code, out, errs)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text))); err != nil || len(raw) != size {
			t.Errorf("%s: %d octets, %v", algorithm, len(raw), err)
		}
		views := "[[view]]\nname = \"inner\"\nclients = [\"loopback\"]\nkeys = [\"partner-2026.\"]\n"
		if err := os.WriteFile(conf, []byte("[server]\nhostname = \"e.example.net\"\n"+out+views), 0o600); err != nil {
			t.Fatal(err)
		}
		code, listed, errs := command(t, "", "key", "list", "--config", conf)
		if code != exitFine || !strings.Contains(listed, "partner-2026.") || !strings.Contains(listed, algorithm) || !strings.Contains(listed, "inner") {
			t.Errorf("exit %d\n%s%s", code, listed, errs)
		}
		_, effective, _ := command(t, "", "config", "show", "--config", conf)
		_, check, _ := command(t, "", "config", "check", "--config", conf)
		if !strings.Contains(check, "key partner-2026: view inner") {
			t.Errorf("config check says\n%s", check)
		}
		for _, shown := range []string{out, listed, effective, check, errs} {
			if strings.Contains(shown, strings.TrimSpace(string(text))) {
				t.Errorf("the secret is shown:\n%s", shown)
			}
		}
		// Neither a second time, nor over whatever else is there.
		code, out, errs = command(t, "", "key", "generate", "partner-2026", "--config", conf)
		again, err := os.ReadFile(path)
		if code != exitWrong || out != "" || !strings.Contains(errs, "exists") || err != nil || string(again) != string(text) {
			t.Errorf("exit %d\n%s%s", code, out, errs)
		}
	}
}

func TestKeyGenerateElsewhereInJSON(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b.key")
	code, out, errs := command(t, "", "key", "generate", "k", "--json", "--file", path)
	var got newKey
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitFine || got.Name != "k." || got.File != path || !strings.Contains(got.TOML, `"file:`+path+`"`) {
		t.Errorf("exit %d, %v\n%s%s", code, err, out, errs)
	}
}

func TestKeyUsedWrongly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct{ line, want string }{
		{"key", "it knows generate, list"},
		{"key generate", "wants a key's name"},
		{"key generate a b", "wants a key's name"},
		{"key generate ../k", "not a name for a key"},
		{"key generate .", "not a name for a key"},
		{"key generate a..b", "not a name for a key"},
		{`key generate k"`, "not a name for a key"},
		{"key generate k --algorithm hmac-md5", "not known"},
		{"key list x", "wants no arguments"},
	} {
		code, _, errs := command(t, "", append(strings.Fields(c.line), "--config", filepath.Join(dir, "postern.toml"))...)
		if code != exitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("postern %s: exit %d, %q; want exit 2 with %q", c.line, code, errs, c.want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestKeyListOfABadConfiguration(t *testing.T) {
	t.Parallel()
	conf := write(t, "postern.toml", "[key.\"k.\"]\nsecret = \"file:none\"\n")
	code, out, errs := command(t, "", "key", "list", "--config", conf)
	if code != exitWrong || out != "" || !strings.Contains(errs, "postern.toml:2:10: ") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	good := write(t, "postern.toml", "[server]\nhostname = \"e.example.net\"\n")
	if code, out, _ := command(t, "", "key", "list", "--config", good); code != exitFine || !strings.Contains(out, "no keys") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, out, _ := command(t, "", "key", "list", "--json", "--config", good); code != exitFine || strings.TrimSpace(out) != "[]" {
		t.Errorf("exit %d\n%s", code, out)
	}
}
