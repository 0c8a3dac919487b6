package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/mail/seal"
)

// The addresses of the small world in which mail is measured: documentation
// ones, and those for benchmarks (RFC 2544) for who sends.
const (
	ourDomain       = "bench.lab"
	edgeName        = "edge.bench.lab"
	edgeAddress     = "198.51.100.25"
	innerAddress    = "198.51.100.99"
	rootAddress     = "192.0.2.53"
	resolverAddress = "192.0.2.54"

	senders = 20
)

// senderDomain is the domain of a sender, senderAddress whence it sends.
func senderDomain(i int) string  { return fmt.Sprintf("sender%d.lab", i) }
func senderAddress(i int) string { return fmt.Sprintf("198.18.%d.25", i) }

// apart is what a process of a network and mounts of its own is started with.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
}

// furnishMail makes the world's addresses reachable, and its resolver that of
// all programs.
func (b *bench) furnishMail() error {
	for _, args := range []string{
		"ip link set lo up", "ip route add local 192.0.2.0/24 dev lo", "ip route add local 198.51.100.0/24 dev lo",
		"ip route add local 198.18.0.0/15 dev lo", "mount -t proc proc /proc",
	} {
		words := strings.Fields(args)
		if out, err := exec.CommandContext(b.ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", args, err, out)
		}
	}
	resolv := filepath.Join(b.dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+resolverAddress+"\n"), 0o644); err != nil {
		return err
	}
	return unix.Mount(resolv, "/etc/resolv.conf", "", unix.MS_BIND, "")
}

// keys are those of the senders, RSA of 2048 bits.
func mailKeys() ([]seal.Key, error) {
	keys := make([]seal.Key, senders)
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		keys[i] = seal.Key{Domain: senderDomain(i), Selector: "s1", Signer: key}
	}
	return keys, nil
}

// letters makes some messages of each sender, signed: of a hundred, 50 of 2 KB,
// 35 of 8, 12 of 32 and 3 of 128.
func letters(keys []seal.Key) ([]letter, error) {
	var all []letter
	for i := range 200 {
		size := 128
		switch n := i % 100 * 37 % 100; { // spread
		case n < 50:
			size = 2
		case n < 85:
			size = 8
		case n < 97:
			size = 32
		}
		from := i % senders
		header, body := compose(i, senderDomain(from), size<<10)
		l, err := signed(from, keys[from], header, body)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// compose makes the header and the body of a message as programs write them.
func compose(i int, domain string, size int) (header, body []byte) {
	header = fmt.Appendf(nil, "Received: from app (app.%[1]s [10.0.0.7])\r\n\tby mx.%[1]s with ESMTPS id %[2]d;\r\n\tSat, 21 Nov 2026 12:00:00 +0000\r\n"+
		"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nFrom: News <news@%[1]s>\r\nTo: info@%[3]s\r\nSubject: Number %[2]d of what is new\r\nMessage-ID: <%[2]d@%[1]s>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", domain, i, ourDomain)
	for n := 0; len(body) < size; n++ {
		body = fmt.Appendf(body, "%06d Of what was written on the day before, this is the line that matters.\r\n", n)
	}
	return header, body
}

func signed(from int, key seal.Key, header, body []byte) (letter, error) {
	field, err := seal.Sign(header, bytes.NewReader(body), []seal.Key{key})
	if err != nil {
		return letter{}, err
	}
	return letter{from, bytes.Join([][]byte{field, header, []byte("\r\n"), body, []byte(".\r\n")}, nil)}, nil
}

// forgery claims to be of the next sender's domain, without a signature.
func forgery() letter {
	header, body := compose(0, senderDomain(1), 2<<10)
	return letter{0, bytes.Join([][]byte{header, []byte("\r\n"), body, []byte(".\r\n")}, nil)}
}

// mailZone is the root, which holds everything.
func mailZone(keys []seal.Key) (string, error) {
	var z strings.Builder
	fmt.Fprintf(&z, "$TTL 3600\n. SOA a.root. hostmaster.root. 1 3600 600 86400 300\n. NS a.root.\na.root. A %s\n%s. A %s\n", rootAddress, edgeName, edgeAddress)
	for i, key := range keys {
		public, err := x509.MarshalPKIXPublicKey(key.Signer.Public())
		if err != nil {
			return "", err
		}
		text := base64.StdEncoding.EncodeToString(public)
		fmt.Fprintf(&z, "%[1]s. MX 10 mx.%[1]s.\n%[1]s. TXT \"v=spf1 include:_spf.%[1]s -all\"\n_spf.%[1]s. TXT \"v=spf1 ip4:198.18.%[3]d.0/24 -all\"\n"+
			"mx.%[1]s. A %[2]s\nmx.%[1]s. TXT \"v=spf1 a -all\"\n_dmarc.%[1]s. TXT \"v=DMARC1; p=reject\"\n"+
			"25.%[3]d.18.198.in-addr.arpa. PTR mx.%[1]s.\n%[4]s._domainkey.%[1]s. TXT \"v=DKIM1; k=rsa; p=%[5]s\" \"%[6]s\"\n",
			senderDomain(i), senderAddress(i), i, key.Selector, text[:200], text[200:])
	}
	return z.String(), nil
}

// startDNS serves the zone by NSD, and by Unbound to whom has no resolver.
func (b *bench) startDNS(zone string) (stop func(), err error) {
	zoneFile, hints := filepath.Join(b.dir, "root.zone"), filepath.Join(b.dir, "root.hints")
	nsd, unbound := filepath.Join(b.dir, "nsd.conf"), filepath.Join(b.dir, "unbound.conf")
	for path, text := range map[string]string{
		zoneFile: zone,
		hints:    ". 3600 NS a.root.\na.root. 3600 A " + rootAddress + "\n",
		nsd: fmt.Sprintf("server:\n  ip-address: %s\n  server-count: 1\n  username: \"\"\n  database: \"\"\n  pidfile: %[2]s/nsd.pid\n  xfrdfile: %[2]s/x\n  zonelistfile: %[2]s/l\n"+
			"  xfrdir: %[2]s\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\nzone:\n  name: .\n  zonefile: %[3]s\n", rootAddress, b.dir, zoneFile),
		unbound: fmt.Sprintf("server:\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  directory: %q\n  use-syslog: no\n  num-threads: 1\n  interface: %s\n  outgoing-interface: %[2]s\n"+
			"  do-ip6: no\n  access-control: 0.0.0.0/0 allow\n  root-hints: %q\n  module-config: \"iterator\"\n  local-zone: \"18.198.in-addr.arpa.\" nodefault\n", b.dir, resolverAddress, hints),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	authority, err := b.run("nsd", "nsd", "-d", "-c", nsd)
	if err != nil {
		return nil, err
	}
	resolver, err := b.run("unbound", "unbound", "-d", "-p", "-c", unbound)
	if err != nil {
		authority.stop()
		return nil, err
	}
	stop = func() { resolver.stop(); authority.stop() }
	for _, address := range []string{rootAddress, resolverAddress} {
		if err := awaitPort(address + ":53"); err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}

// run starts a program with its log in a file.
func (b *bench) run(name string, args ...string) (*server, error) {
	log, err := os.Create(filepath.Join(b.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	p := &server{name: name, log: log, cmd: exec.CommandContext(b.ctx, args[0], args[1:]...)}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return p, p.cmd.Start()
}

// awaitPort returns once somebody listens there.
func awaitPort(at string) error {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp4", at, time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("nobody listens at %s: %w", at, err)
		}
	}
}
