package lab_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/dkim"
	"postern/internal/mail/seal"
)

//go:embed testdata/dkim_peers.py
var dkimPeers string

// task is what a peer is asked to do with a message.
type task struct {
	Do        string `json:"do"`
	Message   []byte `json:"message"`
	Domain    string `json:"domain,omitempty"`
	Selector  string `json:"selector,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	Header    string `json:"header,omitempty"`
	Body      string `json:"body,omitempty"`
	PEM       string `json:"pem,omitempty"`
	Time      int64  `json:"time,omitempty"`
	Length    bool   `json:"length,omitempty"` // l=
}

// desk has peers work on messages, with keys that all of them find.
type desk struct {
	t       *testing.T
	keys    map[string]string
	signers map[string]crypto.Signer // by selector
	private map[string]string        // as dkimpy and OpenDKIM want them
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	// Debian's modules belong to Debian's interpreter.
	if out, err := exec.Command("/usr/bin/python3", "-c", "import dkim, nacl, ctypes; ctypes.CDLL('libopendkim.so.11')").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("python3-dkim, python3-nacl or opendkim is not installed: %s", out)
		}
		t.Skipf("python3-dkim, python3-nacl or opendkim is not installed: %s", out)
	}
	d := &desk{t, map[string]string{}, map[string]crypto.Signer{}, map[string]string{}}
	seed := rand.NewChaCha8([32]byte{42})
	for _, selector := range []string{"rsa", "exact", "testing", "revoked", "other"} {
		key, err := rsa.GenerateKey(seed, 2048)
		if err != nil {
			t.Fatal(err)
		}
		d.signers[selector] = key
		d.private[selector] = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
		if d.keys[keyAt(selector)], err = seal.Record(key.Public()); err != nil {
			t.Fatal(err)
		}
	}
	d.keys[keyAt("exact")] += "; t=s"
	d.keys[keyAt("testing")] += "; t=y"
	d.keys[keyAt("revoked")] = "v=DKIM1; k=rsa; p="
	d.keys[keyAt("other")] = d.keys[keyAt("rsa")]
	_, ed, err := ed25519.GenerateKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	d.signers["ed"] = ed
	d.private["ed"] = base64.StdEncoding.EncodeToString(ed.Seed())
	if d.keys[keyAt("ed")], err = seal.Record(ed.Public()); err != nil {
		t.Fatal(err)
	}
	return d
}

func keyAt(selector string) string { return selector + "._domainkey.example.com" }

// ask has the peers do their tasks.
func (d *desk) ask(tasks []task) []string {
	d.t.Helper()
	var lines strings.Builder
	for name, text := range d.keys {
		lines.WriteString(name + " " + text + "\n")
	}
	file := filepath.Join(d.t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		d.t.Fatal(err)
	}
	in, err := json.Marshal(map[string]any{"keys": d.keys, "keyfile": file, "tasks": tasks})
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := exec.CommandContext(d.t.Context(), "/usr/bin/python3", "-c", dkimPeers)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var answers []string
	if err == nil {
		err = json.Unmarshal(out, &answers)
	}
	if err != nil || len(answers) != len(tasks) {
		d.t.Fatalf("%v: %d answers\n%s", err, len(answers), stderr.String())
	}
	return answers
}

// ours is our verdict on the one signature of a message.
func (d *desk) ours(msg []byte) dkim.Signature {
	d.t.Helper()
	world := lookuptest.Map{}
	for name, text := range d.keys {
		world[name+" TXT"] = []string{text}
	}
	header, body, _ := strings.Cut(string(msg), "\r\n\r\n")
	got, err := dkim.Verify(d.t.Context(), world, time.Now(), []byte(header+"\r\n"), strings.NewReader(body))
	if err != nil || len(got.Signatures) != 1 {
		d.t.Fatalf("%v: %+v\n%s", err, got, msg)
	}
	return got.Signatures[0]
}

// letter is one message of the corpus, with how it was made.
type letter struct {
	signer, selector, header, body string // who signs, with which key, how
	damage                         string
	msg                            []byte
}

func (l letter) String() string {
	return fmt.Sprintf("signed by %s with %s, %s/%s, then %s", l.signer, l.selector, l.header, l.body, l.damage)
}

// write makes up a message of the kinds that canonicalization treats in its own
// ways.
func write(r *rand.Rand) string {
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	fields := []string{
		pick("From: a@example.com", "from:  A <a@example.com>", "FROM: \"A,\r\n\tB\" <a@example.com>"),
		pick("Subject: hello", "Subject:", "subject: =?utf-8?q?h=C3=A9?=\r\n =?utf-8?q?llo?= ", "Subject: \t h  e\tl l o\t", "SUBJECT: "+strings.Repeat("long ", 150)),
		pick("To: b@example.org", "To: b@example.org,\r\n  c@example.org,\r\n\td@example.org", "Cc: x@example.org"),
		pick("Date: Sat, 21 Nov 2026 12:00:00 +0000", "date:Sat, 21 Nov 2026 12:00:00 +0000 (x)"),
		"Message-ID: <" + fmt.Sprint(r.Uint64()) + "@example.com>",
	}
	for range r.IntN(4) {
		fields = append(fields, pick("Received: from x by y; z", "X-Empty:", "X-Spaces:  \t ", "Reply-To: r@example.com", "X-Bytes: \xc3\xa9\xff", "MIME-Version: 1.0", "X-Tabs:\ta\t\tb\r\n\t\tc", "X-Colon: a: b:c"))
	}
	r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	var body strings.Builder
	for range r.IntN(8) {
		body.WriteString(pick("hello", "", " ", "\t", "trailing \t", "  leading", "in  the\t middle", ".", "..", "--", strings.Repeat("x", 990), "\xff\xfe", "From me") + "\r\n")
	}
	return strings.Join(fields, "\r\n") + "\r\n\r\n" + body.String()
}

// damages are what happens on the way, harmless things among them.
var damages = map[string]func(msg string, r *rand.Rand) string{
	"nothing":              func(m string, _ *rand.Rand) string { return m },
	"nothing at all":       func(m string, _ *rand.Rand) string { return m },
	"empty lines at end":   func(m string, _ *rand.Rand) string { return m + "\r\n\r\n" },
	"space lines at end":   func(m string, _ *rand.Rand) string { return m + " \t\r\n" },
	"a line at the end":    func(m string, _ *rand.Rand) string { return m + "x\r\n" },
	"an empty line at top": func(m string, _ *rand.Rand) string { return strings.Replace(m, "\r\n\r\n", "\r\n\r\n\r\n", 1) },
	"space in the body":    func(m string, _ *rand.Rand) string { return inBody(m, "hello", "hello \t") },
	"more space in it":     func(m string, _ *rand.Rand) string { return inBody(m, "in  the", "in \t the") },
	"a letter in the body": func(m string, _ *rand.Rand) string { return inBody(m, "hello", "hellO") },
	"the body lost":        func(m string, _ *rand.Rand) string { h, _, _ := strings.Cut(m, "\r\n\r\n"); return h + "\r\n\r\n" },
	"a field in capitals":  func(m string, _ *rand.Rand) string { return strings.Replace(m, "Message-ID:", "MESSAGE-id:", 1) },
	"a space in a field":   func(m string, _ *rand.Rand) string { return strings.Replace(m, "Message-ID: ", "Message-ID:  ", 1) },
	"a field folded":       func(m string, _ *rand.Rand) string { return strings.Replace(m, "Message-ID: ", "Message-ID:\r\n\t", 1) },
	"a letter in a field":  func(m string, _ *rand.Rand) string { return strings.Replace(m, "Message-ID: <", "Message-ID: <1", 1) },
	"another Subject": func(m string, _ *rand.Rand) string {
		return strings.Replace(m, "\r\n\r\n", "\r\nSubject: other\r\n\r\n", 1)
	},
	"another Subject above": func(m string, _ *rand.Rand) string { return "Subject: other\r\n" + m },
	"a trace field above":   func(m string, _ *rand.Rand) string { return "Received: by edge; x\r\nX-New: 1\r\n" + m },
	"d= in capitals":        func(m string, _ *rand.Rand) string { return strings.Replace(m, "d=example.com", "d=EXAMPLE.com", 1) },
}

func inBody(m, old, now string) string {
	header, body, _ := strings.Cut(m, "\r\n\r\n")
	return header + "\r\n\r\n" + strings.Replace(body, old, now, 1)
}

// corpus is n messages, signed and damaged.
func (d *desk) corpus(n int) []letter {
	d.t.Helper()
	r := rand.New(rand.NewPCG(1, 2)) // the same in every run
	var names []string
	for name := range damages {
		names = append(names, name)
	}
	slices.Sort(names)
	canons, signers := []string{"simple", "relaxed"}, []string{"postern", "dkimpy", "opendkim"}
	selectors := []string{"rsa", "rsa", "ed", "ed", "exact", "testing", "revoked", "other"}
	letters := make([]letter, n)
	var tasks []task
	for i := range letters {
		l := &letters[i]
		l.signer, l.selector, l.damage = signers[i%3], selectors[r.IntN(len(selectors))], names[r.IntN(len(names))]
		l.header, l.body = canons[r.IntN(2)], canons[r.IntN(2)]
		l.msg = []byte(write(r))
		if l.signer == "postern" {
			l.header, l.body = "relaxed", "relaxed"
		}
		if l.signer == "opendkim" && l.selector == "ed" {
			l.selector = "rsa"
		}
		algorithm := "rsa-sha256"
		if l.selector == "ed" {
			algorithm = "ed25519-sha256"
		}
		tasks = append(tasks, task{l.signer + " sign", l.msg, "example.com", l.selector, algorithm, l.header, l.body, d.private[l.selector], 0, false})
	}
	var theirs []task
	for _, t := range tasks {
		if t.Do != "postern sign" {
			theirs = append(theirs, t)
		}
	}
	answers := d.ask(theirs)
	for i := range letters {
		l := &letters[i]
		field := ""
		if l.signer == "postern" {
			field = d.sign(*l)
		} else {
			raw, err := base64.StdEncoding.DecodeString(answers[0])
			if err != nil {
				d.t.Fatalf("%s: %s", l, answers[0])
			}
			field, answers = string(raw), answers[1:]
		}
		l.msg = []byte(damages[l.damage](field+string(l.msg), r))
	}
	return letters
}

func (d *desk) sign(l letter) string {
	d.t.Helper()
	header, body, _ := strings.Cut(string(l.msg), "\r\n\r\n")
	field, err := seal.Sign([]byte(header+"\r\n"), strings.NewReader(body), []seal.Key{{Domain: "example.com", Selector: l.selector, Signer: d.signers[l.selector]}})
	if err != nil {
		d.t.Fatal(err)
	}
	return string(field)
}

// TestVerifiersAgree has dkimpy, OpenDKIM and us sign messages, has some of them
// damaged, and lets all of them and rspamd judge all.
func TestVerifiersAgree(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	n := 150
	if os.Getenv("POSTERN_PROVE") != "" {
		n = 1000
	}
	letters := d.corpus(n)
	var tasks []task
	for _, l := range letters {
		tasks = append(tasks, task{Do: "dkimpy verify", Message: l.msg}, task{Do: "opendkim verify", Message: l.msg})
	}
	answers := d.ask(tasks)
	third := newRspamd(t, d.keys)
	count := map[string]int{}
	for i, l := range letters {
		got := d.ours(l.msg)
		ours := got.Status == dkim.Pass
		count[map[bool]string{true: "pass", false: "fail"}[ours]]++
		said := map[string]string{"dkimpy": answers[2*i], "opendkim": answers[2*i+1]}
		if third != nil {
			said["rspamd"] = third.verify(l.msg)
		}
		for peer, theirs := range said {
			if (theirs == "pass") == ours {
				continue
			}
			why := argued(peer, l)
			count[peer+": "+why]++
			if why == "" {
				t.Errorf("%s: %s says %s, we %s (%s)\n%q", l, peer, theirs, got.Status, got.Reason, l.msg)
			}
		}
	}
	t.Logf("%d messages: %v", n, count)
	if count["pass"] < n/4 || count["fail"] < n/4 {
		t.Errorf("the corpus is lopsided: %v", count)
	}
}

// argued is why a peer may differ from us over a message; "": it may not.
func argued(peer string, l letter) string {
	_, body, _ := strings.Cut(string(l.msg), "\r\n\r\n")
	switch {
	case peer != "rspamd":
		return ""
	case l.damage == "another Subject above":
		// RFC 6376, Section 8.15, leaves it to the verifier. With us the author is
		// what counts, and a second From is refused whoever signs.
		return "rspamd takes an unsigned second Subject for a broken signature"
	case l.body == "relaxed" && strings.Trim(body, " \t\r\n") == "":
		// RFC 6376, Section 3.4.4: such lines are empty, and count for nothing.
		return "rspamd makes a line of a relaxed body of white space"
	}
	return ""
}

// TestVerifiersDiffer over what we refuse by policy: the table says who takes it.
func TestVerifiersDiffer(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	third := newRspamd(t, d.keys)
	sign := func(t task) task {
		t.Message = []byte("From: a@example.com\r\nSubject: x\r\n\r\nhello\r\n")
		t.Domain, t.Selector, t.PEM, t.Header, t.Body = "example.com", "rsa", d.private["rsa"], "relaxed", "relaxed"
		return t
	}
	cases := []struct {
		name, takers string // who passes it, apart by blanks
		sign         task
		added        string // to the end of the body
		want         dkim.Status
		reason       string
	}{
		{"l= that covers everything", "dkimpy opendkim rspamd", sign(task{Do: "dkimpy sign", Algorithm: "rsa-sha256", Length: true}), "", dkim.Policy, "l="},
		{"l= with more behind it (RFC 6376, Section 8.2)", "dkimpy opendkim rspamd", sign(task{Do: "dkimpy sign", Algorithm: "rsa-sha256", Length: true}), "evil\r\n", dkim.Policy, "l="},
		{"rsa-sha1 (RFC 8301, Section 3.1)", "dkimpy opendkim rspamd", sign(task{Do: "dkimpy sign", Algorithm: "rsa-sha1"}), "", dkim.PermError, "sha1"},
	}
	var tasks []task
	for _, c := range cases {
		tasks = append(tasks, c.sign)
	}
	fields := d.ask(tasks)
	for i, c := range cases {
		field, err := base64.StdEncoding.DecodeString(fields[i])
		if err != nil {
			t.Fatalf("%s: %s", c.name, fields[i])
		}
		msg := []byte(string(field) + string(c.sign.Message) + c.added)
		said := d.ask([]task{{Do: "dkimpy verify", Message: msg}, {Do: "opendkim verify", Message: msg}})
		var takers []string
		for j, peer := range []string{"dkimpy", "opendkim"} {
			if said[j] == "pass" {
				takers = append(takers, peer)
			}
		}
		if third == nil {
			c.takers = strings.TrimSuffix(c.takers, " rspamd")
		} else if third.verify(msg) == "pass" {
			takers = append(takers, "rspamd")
		}
		if got := d.ours(msg); got.Status != c.want || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: we %s (%s), want %s", c.name, got.Status, got.Reason, c.want)
		}
		if got := strings.Join(takers, " "); got != c.takers {
			t.Errorf("%s is taken by %s, the table says %s; %q", c.name, got, c.takers, said)
		}
	}
}

// TestARCAgrees has dkimpy seal messages, up to three times, and all who know ARC
// validate the chains, whole and broken.
func TestARCAgrees(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	msg := "Authentication-Results: example.com; dmarc=pass header.from=example.org\r\nFrom: a@example.org\r\nSubject: x\r\n\r\nhello\r\n"
	whole := []string{}
	for i := range 3 {
		selector, algorithm := "rsa", "rsa-sha256"
		sealed := d.ask([]task{{Do: "arc sign", Message: []byte(msg), Domain: "example.com", Selector: selector, Algorithm: algorithm, PEM: d.private[selector], Time: time.Now().Unix()}})
		fields, err := base64.StdEncoding.DecodeString(sealed[0])
		if err != nil || len(fields) == 0 {
			t.Fatalf("seal %d: %q", i+1, sealed)
		}
		msg = string(fields) + msg
		whole = append(whole, msg)
		// What the next hop found, which dkimpy seals.
		msg = strings.Replace(msg, "\r\nAuthentication-Results: example.com; dmarc", "\r\nAuthentication-Results: example.com; arc=pass; dmarc", 1)
	}
	three := whole[2]
	var tasks []task
	var wanted []string
	for name, c := range map[string]struct {
		msg  string
		want dkim.Status
	}{
		"one seal":                 {whole[0], dkim.Pass},
		"two seals":                {whole[1], dkim.Pass},
		"three seals":              {three, dkim.Pass},
		"a trace field above":      {"Received: x\r\n" + three, dkim.Pass},
		"body changed":             {three + "x\r\n", dkim.Fail},
		"Subject changed":          {strings.Replace(three, "Subject: x", "Subject: y", 1), dkim.Fail},
		"results changed":          {strings.Replace(three, "i=1; example.com", "i=1; example.net", 1), dkim.Fail},
		"oldest seal changed":      {strings.Replace(three, "cv=none", "cv=pass", 1), dkim.Fail},
		"a set taken out":          {cut(three, "ARC-Seal", 1), dkim.Fail},
		"no results of the newest": {cut(three, "ARC-Authentication-Results", 0), dkim.Fail},
		"a set twice":              {"ARC-Seal: i=3; cv=pass\r\n" + three, dkim.Fail},
	} {
		header, body, _ := strings.Cut(c.msg, "\r\n\r\n")
		chain := dkim.ReadChain([]byte(header + "\r\n"))
		world := lookuptest.Map{}
		for name, text := range d.keys {
			world[name+" TXT"] = []string{text}
		}
		got, why, err := chain.Verify(t.Context(), world, strings.NewReader(body))
		if err != nil || got != c.want {
			t.Errorf("%s: %s (%s) %v, want %s", name, got, why, err, c.want)
		}
		tasks = append(tasks, task{Do: "arc verify", Message: []byte(c.msg)})
		wanted = append(wanted, c.want.String())
	}
	if theirs := d.ask(tasks); !slices.Equal(theirs, wanted) {
		t.Errorf("dkimpy says %q, want %q", theirs, wanted)
	}
}

// cut takes the nth field of a name out of a message.
func cut(msg, name string, n int) string {
	at := 0
	for range n + 1 {
		i := strings.Index(msg[at:], name+":")
		if i < 0 {
			return msg
		}
		at += i + 1
	}
	rest := msg[at-1:]
	end := 0
	for {
		end += strings.Index(rest[end:], "\r\n") + 2
		if rest[end] != ' ' && rest[end] != '\t' {
			return msg[:at-1] + rest[end:]
		}
	}
}
