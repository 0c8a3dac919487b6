package cli

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/atomicfile"
	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/manage"
)

func (e *env) key() *cobra.Command {
	return group("key", "TSIG keys, shared with those who sign their requests", e.keyGenerate(), e.keyList())
}

// newKey is what key generate made. The secret is in the file alone.
type newKey struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	File      string `json:"file"` // absolute
	TOML      string `json:"toml"`
}

func (e *env) keyGenerate() *cobra.Command {
	var word, path string
	c := &cobra.Command{
		Use:   "generate NAME",
		Short: "Make a key: write its secret to a file and print what goes into postern.toml",
		Long: `Make a key as strong as its hash. The secret goes to a file of its own, 0600,
secrets/NAME.key beside postern.toml; one that exists is not overwritten. What
goes into postern.toml is printed. The other side needs the same name, algorithm
and secret.`,
		Args: exactly(1, "a key's name, such as partner-2026."),
		RunE: func(_ *cobra.Command, args []string) error {
			algorithm, ok := tsig.ParseAlgorithm(word)
			if !ok {
				return usageError{fmt.Errorf("--algorithm %q: not known (hint: hmac-sha256, hmac-sha384 or hmac-sha512)", word)}
			}
			base := ""
			if f := e.file(); f != "" {
				base = filepath.Dir(f)
			}
			k, err := generate(args[0], algorithm, base, path)
			if err != nil {
				return err
			}
			return e.print(k, func(w io.Writer) {
				fmt.Fprint(w, k.TOML)
				fmt.Fprintf(e.err, "the secret is in %s, which must belong to the user that runs Postern\n", k.File)
			})
		},
	}
	c.Flags().StringVar(&word, "algorithm", tsig.SHA256.String(), "the `hash` of the signature: hmac-sha256, hmac-sha384 or hmac-sha512; hmac-sha224 and hmac-sha1 for old peers")
	c.Flags().StringVar(&path, "file", "", "`file` of the secret, instead of secrets/NAME.key beside postern.toml")
	return c
}

// generate makes a key and writes its secret: to path, or below base.
func generate(written string, algorithm tsig.Algorithm, base, path string) (newKey, error) {
	var none newKey
	plain := strings.ToLower(strings.TrimSuffix(written, "."))
	n, err := name.Parse(plain)
	if err != nil || n == name.Root || strings.Trim(plain, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return none, usageError{fmt.Errorf("%q: not a name for a key (hint: letters, digits, - _ and dots, such as partner-2026.)", written)}
	}
	shown := path
	if path == "" {
		shown = filepath.Join("secrets", plain+".key")
		path = filepath.Join(base, shown)
	} else if shown, err = filepath.Abs(path); err != nil { // who reads the configuration stands elsewhere
		return none, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return none, err
	}
	octets := make([]byte, algorithm.Size())
	if _, err := rand.Read(octets); err != nil {
		return none, fmt.Errorf("make a secret: %w", err)
	}
	if err := writeNew(path, base64.StdEncoding.EncodeToString(octets)+"\n"); err != nil {
		return none, err
	}
	text := fmt.Sprintf("[key.%q]\nalgorithm = %q\nsecret    = %q\n", plain+".", algorithm.String(), "file:"+shown)
	return newKey{Name: plain + ".", Algorithm: algorithm.String(), File: path, TOML: text}, nil
}

// writeNew writes a file that nobody else can read and that was not there.
func writeNew(path, text string) (err error) {
	// Others may pass through: Postern runs as a user of its own.
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return fmt.Errorf("write the secret: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists, and was left as it is (hint: give a new key a new name, so that both can be used until everybody has it)", path)
	}
	if err != nil {
		return fmt.Errorf("write the secret: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write the secret: %w", err), os.Remove(path))
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// listedKey is one key as it is listed: never with its secret.
type listedKey struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	View      string `json:"view,omitempty"` // that it chooses
}

func (e *env) keyList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the keys of the configuration and the view each chooses; secrets are never shown",
		Args:  exactly(0, "no arguments; --config names the file"),
		RunE: func(*cobra.Command, []string) error {
			c, problems := e.load(true)
			if c == nil {
				for _, p := range problems {
					if p.Blocks() {
						fmt.Fprintln(e.err, p.String())
					}
				}
				return &manage.Error{Reason: manage.ReasonFailed, Text: "the configuration is not good", Hint: "postern config check shows the same"}
			}
			keys := []listedKey{}
			for _, k := range c.Keys {
				l := listedKey{Name: k.Name + ".", Algorithm: k.Algorithm}
				for _, v := range c.Views {
					if slices.Contains(v.Keys, k.Name) {
						l.View = v.Name
					}
				}
				keys = append(keys, l)
			}
			return e.print(keys, func(w io.Writer) {
				if len(keys) == 0 {
					fmt.Fprintln(w, "no keys (hint: postern key generate NAME makes one)")
				}
				table(w, "", "NAME\tALGORITHM\tVIEW", len(keys), func(w io.Writer) {
					for _, k := range keys {
						view := k.View
						if view == "" {
							view = "-"
						}
						fmt.Fprintf(w, "%s\t%s\t%s\n", k.Name, k.Algorithm, view)
					}
				})
			})
		},
	}
}
