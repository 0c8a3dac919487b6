package keyring

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

// imported reads files as the command does. The tools that made them look at
// the clock, so the time is that of now.
func imported(t *testing.T, z name.Name, paths ...string) *Ring {
	t.Helper()
	sources, err := ReadSources(paths...)
	if err != nil {
		t.Fatal(err)
	}
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	if _, err := r.Import(z, time.Now().Add(time.Minute), sources...); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBINDKeys(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"example.test", ".", `a\/b\046c.example.test`} {
		for _, alg := range []string{"ECDSAP256SHA256", "ECDSAP384SHA384", "ED25519", "RSASHA256"} {
			if alg == "RSASHA256" && text != "example.test" {
				continue // slow to make, and no other case
			}
			t.Run(text+alg, func(t *testing.T) {
				t.Parallel()
				dir, z := t.TempDir(), parsed(t, text)
				ksk := strings.TrimSpace(tool(t, dir, "dnssec-keygen", "-q", "-a", alg, "-f", "KSK", text))
				zsk := strings.TrimSpace(tool(t, dir, "dnssec-keygen", "-q", "-a", alg, text))
				// Any one of a key's files brings the others.
				r := imported(t, z, filepath.Join(dir, ksk+".key"), filepath.Join(dir, zsk+".private"))
				keys, err := r.Of(z)
				if err != nil || len(keys) != 2 {
					t.Fatal(keys, err)
				}
				for i, file := range []string{ksk, zsk} {
					trySigning(t, keys[i], []Role{CSK, ZSK}[i])
					if !strings.HasSuffix(file, fmt.Sprintf("+%05d", keys[i].Tag)) {
						t.Errorf("%s has tag %d", file, keys[i].Tag)
					}
				}
				if list := r.List(); list[0].Role != KSK || list[1].Role != ZSK {
					t.Errorf("roles: %+v", list)
				}
				sameDS(t, dir, ksk, keys[0])
			})
		}
	}
}

// sameDS compares what the registrar is told with dnssec-dsfromkey.
func sameDS(t *testing.T, dir, file string, k dnssec.Key) {
	t.Helper()
	d, err := Delegate(k)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"dnssec-dsfromkey", "-a", "SHA-256"}
	if k.Alg == dnssec.ECDSAP384SHA384 {
		args = append(args, "-a", "SHA-384")
	}
	want := tool(t, dir, append(args, file+".key")...)
	var got strings.Builder
	for line := range strings.Lines(d.String()) {
		if strings.Contains(line, " IN DS ") {
			got.WriteString(line)
		}
	}
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

func TestBINDPolicyKeys(t *testing.T) {
	t.Parallel()
	dir, z := t.TempDir(), parsed(t, "example.test")
	conf := put(t, dir, "p.conf", `dnssec-policy "p" { keys { csk lifetime unlimited algorithm ecdsap256sha256; ksk lifetime unlimited algorithm ed25519; zsk lifetime unlimited algorithm ed25519; }; };`)
	out := tool(t, dir, "dnssec-keygen", "-q", "-k", "p", "-l", conf, "-K", dir, "example.test")
	var paths []string
	for _, file := range strings.Fields(out) {
		paths = append(paths, filepath.Join(dir, file+".private"))
		if _, err := os.Stat(filepath.Join(dir, file+".state")); err != nil {
			t.Fatal(err)
		}
	}
	r := imported(t, z, paths...)
	if list := r.List(); len(list) != 3 || list[0].Role != CSK || list[1].Role != KSK || list[2].Role != ZSK {
		t.Errorf("got %+v", list)
	}
}

func TestKnotKeys(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ECDSAP256SHA256", "ECDSAP384SHA384", "ED25519", "RSASHA256"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			dir, z := t.TempDir(), parsed(t, "example.test")
			manage := func(args ...string) string {
				return tool(t, dir, append([]string{"keymgr", "-D", dir, "example.test"}, args...)...)
			}
			ksk := strings.Fields(manage("generate", "algorithm="+alg, "size="+size(alg), "ksk=yes", "zsk=no"))[0]
			zsk := strings.Fields(manage("generate", "algorithm="+alg, "size="+size(alg), "ksk=no", "zsk=yes"))[0]
			list := put(t, dir, "list", tool(t, dir, "keymgr", "-e", "-D", dir, "example.test", "list"))
			records := put(t, dir, "records", manage("dnskey", ksk)+manage("dnskey", zsk))
			for _, told := range []string{list, records} {
				r := imported(t, z, filepath.Join(dir, "keys", ksk+".pem"), told, filepath.Join(dir, "keys", zsk+".pem"))
				keys, err := r.Of(z)
				if err != nil || len(keys) != 2 || r.List()[0].Role != KSK || r.List()[1].Role != ZSK {
					t.Fatal(keys, err)
				}
				trySigning(t, keys[0], CSK)
				d, err := Delegate(keys[0])
				if err != nil {
					t.Fatal(err)
				}
				theirs := strings.ToLower(manage("ds", ksk))
				for _, ds := range d.DS {
					if !strings.Contains(theirs, strings.ToLower(ds.Digest)) {
						t.Errorf("digest %d is none of\n%s", ds.DigestType, theirs)
					}
				}
			}
		})
	}
}

func size(alg string) string {
	switch alg {
	case "RSASHA256":
		return "2048"
	case "ECDSAP384SHA384":
		return "384"
	}
	return "256"
}

// Our own file is PKCS #8 behind some lines: others read it.
func TestOpenSSLReadsOurFiles(t *testing.T) {
	t.Parallel()
	for _, file := range goldens() {
		out := tool(t, "testdata", "openssl", "pkey", "-in", file, "-noout", "-text")
		if !strings.Contains(strings.ToLower(out), "private") {
			t.Errorf("%s: %s", file, out)
		}
	}
}

func TestReadSourcesRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, "huge", strings.Repeat("x", maxFile+1))
	for path, want := range map[string]string{"missing": "no such file", "huge": "larger than", ".": "regular", "/dev/zero": "regular"} {
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if got, err := ReadSources(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	if _, err := ReadSources(make([]string, maxSources+1)...); err == nil {
		t.Error("names without end")
	}
}
