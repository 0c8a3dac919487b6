package seal

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pythonVerify prints one word a signature, with keys from a file.
const pythonVerify = `
import json, sys, dkim
keys = json.load(open(sys.argv[1]))
def txt(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    return keys[name.rstrip(".") + " TXT"][0].encode()
d = dkim.DKIM(open(sys.argv[2], "rb").read())
for i in range(int(sys.argv[3])):
    print("pass" if d.verify(idx=i, dnsfunc=txt) else "fail")
`

func TestPythonVerifies(t *testing.T) {
	t.Parallel()
	// Debian's python3-dkim belongs to Debian's interpreter.
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import dkim, nacl").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3-dkim or python3-nacl is not installed")
		}
		t.Skip("python3-dkim or python3-nacl is not installed")
	}
	keys, world := testKeys(t)
	dir := t.TempDir()
	keyFile, msgFile := filepath.Join(dir, "keys"), filepath.Join(dir, "msg")
	text, err := json.Marshal(world)
	if err != nil {
		t.Fatal(err)
	}
	write(t, keyFile, text)
	write(t, msgFile, []byte(sealed(t, keys, header, body)))
	out, err := exec.Command(python, "-c", pythonVerify, keyFile, msgFile, "2").CombinedOutput()
	if err != nil || string(out) != "pass\npass\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// TestOpenDKIMVerifies has the RSA signature verified. Whether it agrees about
// Ed25519 depends on its version; the lab's TestVerifiersAgree shows it.
func TestOpenDKIMVerifies(t *testing.T) {
	t.Parallel()
	opendkim, err := exec.LookPath("opendkim")
	if err != nil {
		opendkim = "/usr/sbin/opendkim"
	}
	if _, err := os.Stat(opendkim); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("opendkim is not installed")
		}
		t.Skip("opendkim is not installed")
	}
	keys, world := testKeys(t)
	dir := t.TempDir()
	var lines strings.Builder
	for name, txt := range world {
		lines.WriteString(strings.TrimSuffix(name, " TXT") + " " + txt[0] + "\n")
	}
	keyFile, confFile, msgFile := filepath.Join(dir, "keys"), filepath.Join(dir, "conf"), filepath.Join(dir, "msg")
	write(t, keyFile, []byte(lines.String()))
	write(t, confFile, []byte("Mode v\nTestPublicKeys "+keyFile+"\n"))
	write(t, msgFile, []byte(sealed(t, keys[:1], header, body)))
	out, err := exec.Command(opendkim, "-x", confFile, "-t", msgFile, "-vv").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "verification (s=r1, d=example.com, 2048-bit key) succeeded") {
		t.Errorf("%v: %s", err, out)
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
