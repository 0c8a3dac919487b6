package app

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"postern/config"
	"postern/internal/account"
	"postern/internal/atomicfile"
	"postern/zones"
)

// Where the demo keeps things, below the working directory.
const (
	demoState = "var"
	demoUser  = "first-user" // in demoState: the password of demoLogin
	demoLogin = "you@example.test"
)

// demoConfig is the configuration of a server that was given none. It writes
// nothing.
func demoConfig() (*config.Checked, []config.Problem) {
	c := config.Demo(demoState, demoZones())
	if c == nil {
		return nil, []config.Problem{{File: "demo.toml", Line: 1, Col: 1, Message: "the embedded demo is broken"}}
	}
	return c, nil
}

// demoZones is the directory of the example zones: the checkout's, or copies.
func demoZones() string {
	if inCheckout() {
		return "zones"
	}
	return filepath.Join(demoState, "zones")
}

// inCheckout reports whether the working directory is Postern's source.
func inCheckout() bool {
	f, err := os.Open("go.mod")
	if err != nil {
		return false
	}
	defer f.Close()
	first, err := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n')
	return err == nil && strings.TrimSpace(first) == "module postern"
}

// prepareDemo copies the example zones where there is no checkout. Files that
// exist are the user's by now and stay.
func prepareDemo() error {
	if inCheckout() {
		return nil
	}
	// The control socket lies in it: nobody else has anything to do there.
	if err := os.MkdirAll(demoState, 0o700); err != nil {
		return fmt.Errorf("state of the demo: %w (hint: run the demo where you may write, or name a configuration with --config)", err)
	}
	for _, view := range []string{"external", "internal"} {
		dir := filepath.Join(demoState, "zones", view)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("example zones: %w (hint: run the demo where you may write, or name a configuration with --config)", err)
		}
		entries, err := fs.ReadDir(zones.Examples, view)
		if err != nil {
			return fmt.Errorf("example zones: %w", err)
		}
		for _, entry := range entries {
			if err := copyExample(view+"/"+entry.Name(), filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyExample(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	text, err := fs.ReadFile(zones.Examples, from)
	if err != nil {
		return fmt.Errorf("example zones: %w", err)
	}
	return atomicfile.Write(to, text, 0o644)
}

// demoAccount makes the first user once and leaves its password in a file
// that only the owner can read.
func demoAccount(ctx context.Context, accounts *account.Keeper) error {
	path := filepath.Join(demoState, demoUser)
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	password := rand.Text()
	_, err := accounts.Create(ctx, demoLogin, password, nil)
	if errors.Is(err, account.ErrExists) {
		err = accounts.Passwd(ctx, demoLogin, password)
	}
	if err != nil {
		return fmt.Errorf("make the first user: %w", err)
	}
	return atomicfile.Write(path, []byte(password+"\n"), 0o600)
}

// checkDemo refuses to show the example to anybody else.
func checkDemo(c *config.Checked) error {
	for _, l := range c.Listen {
		for _, a := range l.Addrs {
			if !a.Addr().IsLoopback() {
				return fmt.Errorf("the demo listens on loopback only, not on %s", a)
			}
		}
	}
	return nil
}

// greetDemo tells what runs, where the files lie, and what to try.
func greetDemo(w io.Writer, invoked string) {
	command := quoted(cmp.Or(invoked, "postern"))
	if inCheckout() {
		command = "go run ./cmd/postern"
	}
	fmt.Fprintf(w, `DEMO: example zones on loopback only, nothing is sent to the world
zone files  %[1]s/external and %[1]s/internal: edit one, it is served within a second
try         dig @127.0.0.1 -p 5300 www.example.test
try         swaks --server 127.0.0.1:5465 --tls-on-connect --auth PLAIN --auth-user %[2]s --auth-password "$(cat %[3]s)" --from %[2]s --to friend@example.test
try         %[4]s status
`, demoZones(), demoLogin, filepath.Join(demoState, demoUser), command)
}

// quoted is a word for a shell to copy.
func quoted(word string) string {
	if !strings.ContainsAny(word, " \t\n'\"\\$`&;|<>()*?[]#~!{}") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
