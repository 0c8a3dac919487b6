package lab

import (
	"bufio"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// Eicar is the test string that every virus scanner knows by agreement.
const Eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR` + `-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`

// Clamd is a running clamd that knows one thing to be dangerous.
type Clamd struct {
	// Socket is the path of its socket.
	Socket string

	l       *Lab
	config  string
	log     *Log
	process *Process
}

// Clamd starts one with a signature of Eicar alone; it takes messages of up to
// limit, as StreamMaxLength has it: "1M".
func (l *Lab) Clamd(limit string) *Clamd {
	l.t.Helper()
	l.program("clamd", "clamav-daemon")
	dir := l.place("clamd")
	c := &Clamd{l: l, Socket: filepath.Join(dir, "socket"), config: filepath.Join(dir, "clamd.conf"), log: l.newLog("clamd")}
	l.Write(filepath.Join(dir, "db", "lab.ndb"), "Lab.Eicar:0:*:"+hex.EncodeToString([]byte(Eicar))+"\n")
	l.Write(c.config, strings.NewReplacer("DIR", dir, "LIMIT", limit).Replace(`
		DatabaseDirectory DIR/db
		OfficialDatabaseOnly no
		User root
		Foreground yes
		LocalSocket DIR/socket
		LocalSocketMode 666
		StreamMaxLength LIMIT
		TemporaryDirectory DIR
		`))
	c.Start()
	return c
}

// Start starts it, also again after Stop.
func (c *Clamd) Start() {
	c.l.t.Helper()
	c.process = c.l.again(c.log, c.l.program("clamd", "clamav-daemon"), "--config-file="+c.config)
	c.l.Eventually("clamd answers", func() error {
		c.process.alive()
		conn, err := net.DialTimeout("unix", c.Socket, time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write([]byte("zPING\x00")); err != nil {
			return err
		}
		if said, err := bufio.NewReader(conn).ReadString(0); err != nil || said != "PONG\x00" {
			return errors.New("no PONG but " + said)
		}
		return nil
	})
}

// Kill9 ends it as a power cut would.
func (c *Clamd) Kill9() { c.process.Kill9() }

const rspamdMain = `options {
  url_tld = "DIR/tld"; disable_hyperscan = true; filters = ""; tempdir = "DIR"; pidfile = "DIR/pid";
  dns { nameserver = ["RESOLVER"]; timeout = 1s; }
}
logging { type = "console"; level = "notice"; }
worker "normal" { bind_socket = "ADDRESS"; count = 1; enabled = true; }
actions { reject = 15; add_header = 6; unknown_weight = 1; }
lua = "DIR/rules.lua";
`

// Rspamd starts an rspamd at an address and port, with rules in Lua and its
// built-in test pattern (GTUBE) alone.
func (l *Lab) Rspamd(address, rules string) *Process {
	l.t.Helper()
	program := l.program("rspamd", "rspamd")
	dir := l.place("rspamd")
	l.Write(filepath.Join(dir, "conf"), strings.NewReplacer("DIR", dir, "ADDRESS", address, "RESOLVER", resolverAddress).Replace(rspamdMain))
	l.Write(filepath.Join(dir, "tld"), "lab\n")
	l.Write(filepath.Join(dir, "rules.lua"), rules)
	p := l.Start("rspamd", program, "-f", "-i", "-u", "root", "-c", filepath.Join(dir, "conf"))
	l.Eventually("rspamd answers", func() error {
		p.alive()
		reply, err := http.Get("http://" + address + "/ping")
		if err != nil {
			return err
		}
		return reply.Body.Close()
	})
	return p
}
