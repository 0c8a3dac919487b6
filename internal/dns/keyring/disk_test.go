package keyring

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"postern/internal/atomicfile"
	"postern/internal/dns/dnssec"
)

func TestOpenRefusesADirectoryThatOthersGetInto(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for what, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"readable by the group": {func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o750)) }, "chmod 700"},
		"searched by all":       {func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o711)) }, "chmod 700"},
		"a file":                {func(p string) error { return os.WriteFile(p, nil, 0o600) }, "no directory"},
		"another user's":        {func(p string) error { return errors.Join(os.Mkdir(p, 0o700), given(p)) }, "belongs to another user"},
	} {
		path := filepath.Join(base, strings.ReplaceAll(what, " ", "-"))
		if err := c.make(path); errors.Is(err, errNotRoot) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

var errNotRoot = errors.New("only root gives files away")

// given gives a file to somebody else.
func given(path string) error {
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		return errNotRoot
	}
	return os.Chown(path, 65534, 65534)
}

func TestOpenMakesTheDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys", "dnssec")
	r := opened(t, dir)
	k := made(t, r, parsed(t, "example.test"), CSK, dnssec.ED25519)
	for _, path := range []string{filepath.Dir(dir), dir} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	path := filepath.Join(dir, fileName(Info{Zone: k.Zone, Alg: k.Alg, Tag: k.Tag}))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
}

// A file that cannot be used stops the signing of its zone, and of no other.
func TestAKeyThatCannotBeUsedStopsItsZone(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		spoil func(path string) error
		want  string
	}{
		"readable by the group": {func(p string) error { return os.Chmod(p, 0o640) }, "chmod 600"},
		"another user's":        {given, "belongs to another user"},
		"cut short":             {func(p string) error { return os.Truncate(p, 300) }, "content does not make sense"},
		"empty":                 {func(p string) error { return os.Truncate(p, 0) }, "not a DNSSEC key file"},
		"huge":                  {func(p string) error { return os.Truncate(p, maxFile+1) }, "larger than"},
		"a link":                {func(p string) error { return errors.Join(os.Rename(p, p+".old"), os.Symlink(p+".old", p)) }, "regular"},
		"a directory":           {func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, "regular"},
		"named as another key":  {func(p string) error { return os.Rename(p, filepath.Dir(p)+"/example.test+013+00000.key") }, "is named"},
		"named as another's":    {func(p string) error { return os.Rename(p, filepath.Dir(p)+"/other+013+00000.key") }, "is named"},
		"of any name":           {func(p string) error { return os.Rename(p, filepath.Dir(p)+"/my.key") }, "is named"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "k")
			zone, fine := parsed(t, "example.test"), parsed(t, "fine.test")
			r := opened(t, dir)
			k := made(t, r, zone, KSK, dnssec.ECDSAP256SHA256)
			made(t, r, zone, ZSK, dnssec.ECDSAP256SHA256)
			made(t, r, fine, CSK, dnssec.ED25519)
			if err := c.spoil(filepath.Join(dir, fileName(Info{Zone: zone, Alg: k.Alg, Tag: k.Tag}))); errors.Is(err, errNotRoot) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			r = opened(t, dir)
			if keys, err := r.Of(zone); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), c.want) || keys != nil {
				t.Errorf("got %v, %v", keys, err)
			}
			if _, err := r.Generate(zone, CSK, dnssec.ED25519, noon()); !errors.Is(err, ErrBroken) {
				t.Errorf("a key was made beside it: %v", err)
			}
			if keys, err := r.Of(fine); err != nil || len(keys) != 1 {
				t.Errorf("the other zone has %v, %v", keys, err)
			}
			if p := r.Problems(); len(p) == 0 || r.Counters.Broken.Value() != 1 {
				t.Errorf("problems %v, counted %d", p, r.Counters.Broken.Value())
			}
		})
	}
}

// Where not even the zone is known, no zone is signed: it may be anybody's.
func TestAStrayKeyStopsAllZones(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "k")
	zone := parsed(t, "example.test")
	made(t, opened(t, dir), zone, CSK, dnssec.ED25519)
	put(t, dir, "notes.txt", "not ours, and no key")
	if _, err := opened(t, dir).Of(zone); err != nil {
		t.Errorf("a file that is no key: %v", err)
	}
	put(t, dir, "stray.key", "what is this")
	r := opened(t, dir)
	if _, err := r.Of(zone); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "stray.key") {
		t.Errorf("got %v", err)
	}
	if p := r.Problems(); len(p) != 1 {
		t.Errorf("problems: %v", p)
	}
}

// Two files of one tag can only be put there by hand.
func TestTwoFilesOfOneTag(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "k")
	zone := parsed(t, "example.test")
	r := opened(t, dir)
	first, twin := twins(t, zone)
	r.create = stub(first.private)
	made(t, r, zone, CSK, dnssec.ECDSAP256SHA256)
	pem, err := formatPrivate(twin.private)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, twin.File, string(formatHead(twin.entry))+string(pem.Reveal()))
	if _, err := opened(t, dir).Of(zone); !errors.Is(err, ErrTag) {
		t.Errorf("got %v", err)
	}
}

func TestAnUnfinishedFileGoesAtTheStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "k")
	zone := parsed(t, "example.test")
	made(t, opened(t, dir), zone, CSK, dnssec.ED25519)
	left := ".example.test+013+00001.key.tmp-123"
	if !atomicfile.Unfinished(left) {
		t.Fatal("not what atomicfile leaves")
	}
	put(t, dir, left, golden(t, goldens()[0]))
	if _, err := opened(t, dir).Of(zone); err != nil {
		t.Error(err)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}
