package keyring

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"postern/internal/dns/name"
	"postern/internal/secret"
)

// A key file, format 1: the first line, the six lines "name: value" below in
// this order, any number of fields written the same way, and the private key
// as PKCS #8 in PEM, so that other tools can read it too. The public part is
// there twice: "dnskey" must agree with the private key, "tag" with both.
const (
	magic     = "POSTERN-DNSSEC-KEY "
	version   = "1"
	extension = ".key"
	maxFile   = 64 << 10
	maxFields = 64

	pemType  = "PRIVATE KEY"
	pemBegin = "-----BEGIN "
)

// What makes a file unfit.
var (
	ErrMagic    = errors.New("not a DNSSEC key file")
	ErrVersion  = errors.New("written by a newer version")
	ErrContent  = errors.New("content does not make sense")
	ErrReadable = secret.ErrReadable
	ErrOwner    = errors.New("belongs to another user")
)

// headLines is the number of heads.
const headLines = 6

func heads() [headLines]string {
	return [...]string{"zone", "role", "algorithm", "tag", "created", "dnskey"}
}

// formatHead is the file without the private key.
func formatHead(e entry) []byte {
	var b bytes.Buffer
	k := e.key.DNSKEY
	values := [headLines]string{
		e.Zone.String(), e.Role.String(), AlgorithmName(e.Alg), strconv.Itoa(int(e.Tag)), e.Created.Format(time.RFC3339),
		fmt.Sprintf("%d %d %d %s", k.Flags, k.Protocol, k.Algorithm, k.PublicKey),
	}
	b.WriteString(magic + version + "\n")
	for i, head := range heads() {
		fmt.Fprintf(&b, "%s: %s\n", head, values[i])
	}
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	return b.Bytes()
}

func formatPrivate(private crypto.Signer) (secret.Value, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})), nil
}

// parse reads a key file. The second result is its private part as it stands
// there.
func parse(text []byte) (entry, secret.Value, error) {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	switch v, ok := strings.CutPrefix(string(first), magic); {
	case !ok:
		return entry{}, secret.Value{}, ErrMagic
	case v != version:
		return entry{}, secret.Value{}, fmt.Errorf("%w: format %.20q", ErrVersion, v)
	}
	at := bytes.Index(text, []byte("\n"+pemBegin))
	if at < 0 {
		return entry{}, secret.Value{}, fmt.Errorf("%w: no private key in it", ErrContent)
	}
	rest := text[at+1:]
	private, err := parsePKCS8(rest)
	if err != nil {
		return entry{}, secret.Value{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	e, err := parseHead(strings.Split(string(text[:at]), "\n")[1:], private)
	if err != nil {
		return entry{}, secret.Value{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	return e, secret.New(rest), nil
}

func parseHead(lines []string, private crypto.Signer) (entry, error) {
	var values [headLines]string
	for i, head := range heads() {
		if i >= len(lines) {
			return entry{}, fmt.Errorf("no line %q", head)
		}
		var ok bool
		if values[i], ok = strings.CutPrefix(lines[i], head+": "); !ok {
			return entry{}, fmt.Errorf("line %d is not %q", i+2, head)
		}
	}
	zone, err := name.Parse(values[0])
	if err != nil {
		return entry{}, fmt.Errorf("zone: %w", err)
	}
	role, err := ParseRole(values[1])
	if err != nil {
		return entry{}, err
	}
	alg, err := ParseAlgorithm(values[2])
	if err != nil {
		return entry{}, err
	}
	created, err := time.Parse(time.RFC3339, values[4])
	if err != nil {
		return entry{}, fmt.Errorf("created: %w", err)
	}
	e, err := newEntry(zone, role, alg, created, private)
	if err != nil {
		return entry{}, err
	}
	for _, line := range lines[len(values):] {
		n, v, _ := strings.Cut(line, ": ")
		e.Fields = append(e.Fields, Field{n, v})
	}
	if err := checkFields(e.Fields); err != nil {
		return entry{}, err
	}
	// What the lines say must be what the private key says.
	for i, line := range strings.Split(string(formatHead(e)), "\n")[1 : 1+len(values)] {
		if line != lines[i] {
			return entry{}, fmt.Errorf("line %q does not agree with the private key or is not as Postern writes it", heads()[i])
		}
	}
	return e, nil
}

// checkFields refuses what could not be read back.
func checkFields(fields []Field) error {
	if len(fields) > maxFields {
		return fmt.Errorf("%d fields: at most %d", len(fields), maxFields)
	}
	good := regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)
	seen := make(map[string]bool)
	for _, head := range heads() {
		seen[head] = true
	}
	for _, f := range fields {
		switch {
		case !good.MatchString(f.Name):
			return fmt.Errorf("field %.50q: want a name of small letters, digits and hyphens", f.Name)
		case seen[f.Name]:
			return fmt.Errorf("field %q stands twice", f.Name)
		case len(f.Value) > 400 || strings.ContainsFunc(f.Value, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return fmt.Errorf("field %q: its value is too long or no plain text", f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}

// parsePKCS8 reads the one private key that text holds.
func parsePKCS8(text []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("private key is cut short or no PEM")
	case strings.HasPrefix(block.Type, "ENCRYPTED") || block.Headers["Proc-Type"] != "":
		return nil, errors.New("private key needs a passphrase (hint: take that off first, openssl pkcs8 -in FILE)")
	case block.Type != pemType:
		return nil, fmt.Errorf("%s in PEM: want PKCS #8, %s (hint: openssl pkcs8 -topk8 -nocrypt -in FILE)", block.Type, pemType)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("something stands behind the private key")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	s, ok := private.(crypto.Signer)
	if !ok {
		return nil, errors.New("private key of a kind that cannot sign")
	}
	return s, nil
}

// fileName is ZONE+ALGORITHM+TAG.key, with the numbers of the latter two.
func fileName(i Info) string {
	return fmt.Sprintf("%s+%03d+%05d%s", stem(i.Zone), i.Alg, i.Tag, extension)
}

// stem is a zone as part of a file name: readable where it can be, and never
// longer than a file name may be.
func stem(zone name.Name) string {
	if zone == name.Root {
		return "%2E"
	}
	var b strings.Builder
	text := strings.TrimSuffix(zone.String(), ".")
	for i := range len(text) {
		c := text[i]
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	if b.Len() <= 200 {
		return b.String()
	}
	sum := sha256.Sum256([]byte(zone))
	return b.String()[:100] + "~" + hex.EncodeToString(sum[:16])
}

// zoneOf reads what stem wrote; false where a name was too long to be written
// whole, or the file is not named by Postern.
func zoneOf(file string) (name.Name, bool) {
	head, _, ok := strings.Cut(file, "+")
	if !ok || strings.Contains(head, "~") {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(head); i++ {
		c := head[i]
		if c == '%' {
			if i+2 >= len(head) {
				return "", false
			}
			v, err := strconv.ParseUint(head[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c, i = byte(v), i+2
		}
		b.WriteByte(c)
	}
	zone, err := name.Parse(b.String())
	return zone, err == nil && stem(zone) == head
}
