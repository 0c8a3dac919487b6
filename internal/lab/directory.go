package lab

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"
)

// DirectoryConfig describes one directory: OpenLDAP's slapd.
type DirectoryConfig struct {
	Name string
	// Address is where it listens: port 389, with StartTLS, and 636.
	Address string
	Paper   *Paper
	Suffix  string // "dc=alpha,dc=lab"
	// Reader may search, with this password; nobody else may do anything.
	Reader, Password string
	// Records is what is in it below Suffix, in LDIF.
	Records string
}

// Directory is a running slapd.
type Directory struct {
	Log *Log

	l       *Lab
	cfg     DirectoryConfig
	config  string
	process *Process
}

const slapdConfig = `
	include /etc/ldap/schema/core.schema
	include /etc/ldap/schema/cosine.schema
	include /etc/ldap/schema/inetorgperson.schema
	modulepath /usr/lib/ldap
	moduleload back_mdb
	pidfile DIR/pid
	argsfile DIR/args
	loglevel stats
	TLSCertificateFile CERT
	TLSCertificateKeyFile KEY
	security update_ssf=128 simple_bind=128
	database mdb
	suffix "SUFFIX"
	directory DIR/data
	maxsize 16777216
	rootdn "READER"
	rootpw PASSWORD
	access to * by * none
	`

// Directory starts one.
func (l *Lab) Directory(cfg DirectoryConfig) *Directory {
	l.t.Helper()
	l.program("slapd", "slapd")
	dir := l.place(cfg.Name)
	d := &Directory{Log: l.newLog(cfg.Name), l: l, cfg: cfg, config: filepath.Join(dir, "slapd.conf")}
	l.Write(filepath.Join(dir, "data", "DB_CONFIG"), "")
	l.Write(d.config, strings.NewReplacer(
		"DIR", dir, "CERT", cfg.Paper.Cert, "KEY", cfg.Paper.Key, "SUFFIX", cfg.Suffix, "READER", cfg.Reader, "PASSWORD", cfg.Password,
	).Replace(dedent(slapdConfig)))
	records := l.Write(filepath.Join(dir, "records.ldif"), dedent(cfg.Records))
	l.Tool("slapadd", "slapd", "", "-f", d.config, "-l", records).Want(0)
	d.Start()
	return d
}

// Start starts it, also again after Kill9.
func (d *Directory) Start() {
	d.l.t.Helper()
	at := d.cfg.Address
	d.process = d.l.again(d.Log, d.l.program("slapd", "slapd"), "-d", "stats", "-f", d.config, "-h", fmt.Sprintf("ldap://%s ldaps://%s", at, at))
	d.l.Eventually("slapd listens", func() error {
		d.process.alive()
		conn, err := net.DialTimeout("tcp", at+":636", time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Kill9 ends it as a power cut would.
func (d *Directory) Kill9() { d.process.Kill9() }

// Questions counts the searches whose filter holds the words.
func (d *Directory) Questions(words string) int {
	n := 0
	for line := range strings.Lines(d.Log.String()) {
		if strings.Contains(line, "SRCH base=") && strings.Contains(line, words) {
			n++
		}
	}
	return n
}

// Add adds records to it while it runs.
func (d *Directory) Add(records string) {
	d.l.t.Helper()
	more := d.l.Write(d.l.Path(d.cfg.Name, "more.ldif"), dedent(records))
	d.l.Shell("/", fmt.Sprintf("LDAPTLS_REQCERT=never %s -x -H ldaps://%s -D %s -w %s -f %s",
		d.l.program("ldapadd", "ldap-utils"), d.cfg.Address, d.cfg.Reader, d.cfg.Password, more)).Want(0)
}
