package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/config"
)

func TestCookieKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, on := &App{state: &state{dir: dir}}, &config.Checked{DNS: config.DNS{Cookies: true}}
	path, now := filepath.Join(dir, "keys", "cookie"), time.Unix(1_800_000_000, 0)
	if jar, err := a.cookieJar(&config.Checked{}); jar != nil || err != nil {
		t.Fatal("off:", jar, err)
	}
	if _, err := os.Stat(path); err == nil || a.cookies(now.Unix()) != nil {
		t.Error("off, but a key was made")
	}
	first, err := a.cookieJar(on)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	again, err := a.cookieJar(on)
	if err != nil || again.At(now.Unix()).Current != first.At(now.Unix()).Current {
		t.Error("a restart made another key:", err)
	}
	a.jar.Store(again)
	if a.cookies(now.Unix()) == nil {
		t.Error("on")
	}
	for _, broken := range []string{"", "00", strings.Repeat("0", 66), strings.Repeat("x", 64)} {
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.cookieJar(on); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", broken, err)
		}
	}
}
