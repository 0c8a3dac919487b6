package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DovecotConfig describes one Dovecot.
type DovecotConfig struct {
	Name string
	// Address is where its LMTP server listens, on port 24, with STARTTLS.
	Address string
	Paper   *Paper
	// Users are the mailboxes there are, whatever their domain, with passwords.
	Users map[string]string
}

// Dovecot is a running Dovecot.
type Dovecot struct {
	Log *Log
	// Auth is the socket by which a Postfix checks logins.
	Auth string

	l   *Lab
	dir string
}

const dovecotMain = `
	protocols = lmtp
	base_dir = DIR/run
	state_dir = DIR/state
	log_path = /dev/stderr
	listen = ADDRESS
	ssl = yes
	ssl_cert = <CERT
	ssl_key = <KEY
	auth_mechanisms = plain login
	auth_username_format = %n
	mail_location = maildir:DIR/mail/%n
	first_valid_uid = 1
	passdb {
	  driver = passwd-file
	  args = scheme=PLAIN username_format=%n DIR/users
	}
	userdb {
	  driver = passwd-file
	  args = username_format=%n DIR/users
	  default_fields = uid=nobody gid=nogroup home=DIR/mail/%n
	}
	service lmtp {
	  inet_listener lmtp {
	    address = ADDRESS
	    port = 24
	  }
	}
	service auth {
	  unix_listener DIR/auth {
	    mode = 0666
	  }
	}
	`

// Dovecot starts one.
func (l *Lab) Dovecot(cfg DovecotConfig) *Dovecot {
	l.t.Helper()
	program := l.program("dovecot", "dovecot-lmtpd")
	d := &Dovecot{l: l, dir: l.place(cfg.Name), Log: l.newLog(cfg.Name)}
	d.Auth = filepath.Join(d.dir, "auth")
	var users strings.Builder
	for name, password := range cfg.Users {
		fmt.Fprintf(&users, "%s:%s::::::\n", name, password)
	}
	l.Write(filepath.Join(d.dir, "users"), users.String())
	mail := filepath.Join(d.dir, "mail")
	if err := os.MkdirAll(mail, 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Chown(mail, unprivileged, unprivileged); err != nil {
		l.t.Fatal(err)
	}
	config := strings.NewReplacer("DIR", d.dir, "ADDRESS", cfg.Address, "CERT", cfg.Paper.Cert, "KEY", cfg.Paper.Key).Replace(dovecotMain)
	l.Write(filepath.Join(d.dir, "dovecot.conf"), config)
	process := l.again(d.Log, program, "-F", "-c", filepath.Join(d.dir, "dovecot.conf"))
	l.awaitGreeting(process, cfg.Address+":24")
	return d
}

// Mailbox is that of one of its users.
func (d *Dovecot) Mailbox(name string) *Mailbox {
	return d.l.Maildir(filepath.Join(d.dir, "mail", name))
}
