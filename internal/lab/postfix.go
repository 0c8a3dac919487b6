package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

// PostfixConfig describes one Postfix.
type PostfixConfig struct {
	// Host is its name in EHLO, banner and Received; it names the peer too.
	Host string
	// Address is where it listens on port 25 and what it sends from.
	Address string
	// Domains are those it takes mail for, any local part, into Mailbox.
	Domains []string
	// Relayhost is where all other mail goes, "[198.51.100.25]:25" say; empty
	// means the MX of the recipient's domain.
	Relayhost string
	// Networks may send through it to anywhere, besides itself.
	Networks []string
	// Settings are further lines for main.cf, and win over ours.
	Settings map[string]string
}

// Postfix is a running Postfix with STARTTLS on offer and a certificate that
// nobody knows.
type Postfix struct {
	*Mailbox
	Log     *Log
	Host    string
	Address string

	l       *Lab
	cfg     PostfixConfig
	process *Process
	dir     string
}

// Postfix starts a Postfix with its own configuration and queue.
func (l *Lab) Postfix(cfg PostfixConfig) *Postfix {
	l.t.Helper()
	cfg.Settings = maps.Clone(cfg.Settings)
	if cfg.Settings == nil {
		cfg.Settings = map[string]string{}
	}
	p := &Postfix{Host: cfg.Host, Address: cfg.Address, l: l, cfg: cfg, dir: l.place(cfg.Host)}
	p.Mailbox = &Mailbox{l: l, owner: cfg.Host, dir: filepath.Join(p.dir, "mail", "all")}
	p.makeQueue()
	p.makeConfig(cfg)
	p.Log = l.newLog(cfg.Host)
	p.Start()
	return p
}

// Start starts it, also again after Kill9.
func (p *Postfix) Start() {
	p.l.t.Helper()
	p.process = p.l.again(p.Log, p.l.program("master", "postfix"), "-c", p.dir+"/etc", "-s")
	p.l.awaitGreeting(p.process, p.Address+":25")
}

// Set changes lines of main.cf for the next Start.
func (p *Postfix) Set(settings map[string]string) {
	p.l.t.Helper()
	maps.Copy(p.cfg.Settings, settings)
	p.makeConfig(p.cfg)
}

// makeQueue makes the directories that "postfix check" would.
func (p *Postfix) makeQueue() {
	p.l.t.Helper()
	queue := filepath.Join(p.dir, "queue")
	owned := func(path, owner, group string, mode fs.FileMode) {
		p.l.t.Helper()
		if err := os.MkdirAll(path, 0o755); err != nil {
			p.l.t.Fatal(err)
		}
		if err := os.Chown(path, p.id(owner, false), p.id(group, true)); err != nil {
			p.l.t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			p.l.t.Fatal(err)
		}
	}
	for _, name := range []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"} {
		owned(filepath.Join(queue, name), "postfix", "root", 0o700)
	}
	owned(filepath.Join(queue, "pid"), "root", "root", 0o755)
	owned(filepath.Join(queue, "maildrop"), "postfix", "postdrop", 0o730)
	owned(filepath.Join(queue, "public"), "postfix", "postdrop", 0o710)
	owned(filepath.Join(p.dir, "data"), "postfix", "root", 0o700)
	owned(filepath.Join(p.dir, "mail"), "nobody", "nogroup", 0o755)
	for _, sub := range []string{"new", "cur", "tmp"} {
		owned(filepath.Join(p.dir, "mail", "all", sub), "nobody", "nogroup", 0o700)
	}
	owned(filepath.Join(p.dir, "mail", "all"), "nobody", "nogroup", 0o700)
}

func (p *Postfix) id(name string, group bool) int {
	p.l.t.Helper()
	var text string
	if group {
		g, err := user.LookupGroup(name)
		if err != nil {
			p.l.t.Fatal(err)
		}
		text = g.Gid
	} else {
		u, err := user.Lookup(name)
		if err != nil {
			p.l.t.Fatal(err)
		}
		text = u.Uid
	}
	id, err := strconv.Atoi(text)
	if err != nil {
		p.l.t.Fatal(err)
	}
	return id
}

// Send hands a whole message to this Postfix as a local program would; from ""
// is the null sender.
func (p *Postfix) Send(from, to, message string) {
	p.l.t.Helper()
	if from == "" {
		from = "<>"
	}
	sendmail := p.l.program("sendmail", "postfix")
	p.l.ExecInput(dedent(message), sendmail, "-C", p.dir+"/etc", "-i", "-f", from, to).Want(0)
}

// Queue is what its queue holds.
func (p *Postfix) Queue() string {
	p.l.t.Helper()
	return p.l.Exec(p.l.program("postqueue", "postfix"), "-c", p.dir+"/etc", "-p").Stdout
}

// Kill9 ends it as a power cut would.
func (p *Postfix) Kill9() { p.process.Kill9() }

// certificate writes a key and a self-signed certificate in one file.
func certificate(l *Lab, path, host string) {
	l.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		l.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		l.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		l.t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}
