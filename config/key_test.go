package config

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sharedSecret is 32 octets, and what stands in the file.
var sharedSecret = []byte("0123456789abcdef0123456789abcdef")

func keyText(octets []byte) string { return base64.StdEncoding.EncodeToString(octets) + "\n" }

const keyedView = "[key.\"Partner-2026.\"]\nalgorithm = \"hmac-sha256\"\nsecret = \"file:k\"\n" +
	"[[view]]\nname = \"internal\"\nclients = [\"loopback\"]\nkeys = [\"partner-2026\"]\n"

func TestKeySecrets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		want          []string
	}{
		{"others can read it", keyText(sharedSecret), 0o644, []string{"3:10: secret file:DIR/k: others can read it (mode 0644) (chmod 600 DIR/k)"}},
		{"its group can read it", keyText(sharedSecret), 0o640, []string{"3:10: secret file:DIR/k: others can read it (mode 0640) (chmod 600 DIR/k)"}},
		{"empty", "", 0o600, []string{"3:10: secret file:k is empty"}},
		{"not base64", "no/base*64", 0o600, []string{"3:10: secret file:k is not base64 (the file holds nothing else; postern key generate makes one)"}},
		{"a file of another program", "key \"k\" { secret \"" + keyText(sharedSecret) + "\"; };", 0o600, []string{"3:10: secret file:k is not base64 (the file holds nothing else; postern key generate makes one)"}},
		{"blank", " \n \n", 0o600, []string{"3:10: secret file:k is not base64 (the file holds nothing else; postern key generate makes one)"}},
		{"shorter than the hash", keyText(sharedSecret[:31]), 0o600, []string{`3:10: warning: the secret of the key "partner-2026" has 31 octets, fewer than the 32 of hmac-sha256 (postern key generate makes one that is as strong)`}},

		{"good", keyText(sharedSecret), 0o600, nil},
		{"good, of its owner alone", keyText(sharedSecret), 0o400, nil},
		{"good, in lines", keyText(sharedSecret)[:20] + "\r\n" + keyText(sharedSecret)[20:], 0o600, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "k")
			if err := os.WriteFile(path, []byte(c.content), c.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil { // whatever the umask is
				t.Fatal(err)
			}
			checked, problems := Parse([]byte(keyedView), "postern.toml", dir)
			var got []string
			for _, p := range problems {
				if p.Message != "nothing is listened for" {
					got = append(got, strings.ReplaceAll(strings.TrimPrefix(p.String(), "postern.toml:"), dir, "DIR"))
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q", got)
			}
			if (checked == nil) != Failed(problems) {
				t.Fatal("a configuration in spite of errors, or none without")
			}
			if checked != nil && !bytes.HasPrefix(sharedSecret, checked.Keys[0].Secret.Reveal()) {
				t.Error("the secret is another")
			}
		})
	}
}

// TestKeysChecked is what becomes of keys, and that nothing shows a secret.
func TestKeysChecked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "k"), []byte(keyText(sharedSecret)), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "[key.\"free.\"]\nalgorithm = \"hmac-sha1\"\nsecret = \"file:k\"\n" + keyedView
	c, problems := Parse([]byte(text), "postern.toml", dir)
	if c == nil {
		t.Fatal(problems)
	}
	if len(c.Keys) != 2 || c.Keys[0].Name != "free" || c.Keys[1].Name != "partner-2026" || c.Keys[1].Algorithm != "hmac-sha256" {
		t.Errorf("keys: %+v", c.Keys)
	}
	if !slices.Equal(c.Views[0].Keys, []string{"partner-2026"}) {
		t.Errorf("keys of the view: %q", c.Views[0].Keys)
	}
	if !slices.ContainsFunc(problems, func(p Problem) bool {
		return !p.Blocks() && p.Message == "hmac-sha1 is there for old peers only"
	}) {
		t.Errorf("hmac-sha1 without a word: %v", problems)
	}
	views := OwnPrefixViews(c)
	if want := []string{"key free: the view of listener and address", "key partner-2026: view internal"}; !slices.Equal(views[len(views)-2:], want) {
		t.Errorf("got %q", views)
	}
	again, problems := Parse(Effective(c), "effective.toml", t.TempDir())
	if again == nil {
		t.Fatal(problems)
	}
	if len(again.Keys) != 2 || !bytes.Equal(again.Keys[1].Secret.Reveal(), sharedSecret) {
		t.Errorf("what is in force reads back as %+v", again.Keys)
	}
	whole, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{string(Effective(c)), string(whole), fmt.Sprintf("%+v %#v", *c, *c), fmt.Sprint(problems)} {
		if strings.Contains(shown, keyText(sharedSecret)[:20]) || strings.Contains(shown, string(sharedSecret)) {
			t.Errorf("a secret is shown: %s", shown)
		}
	}
}
