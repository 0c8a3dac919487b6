package lab_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// rspamd is a daemon that judges DKIM and nothing else, with keys from a DNS of
// the test's own.
type rspamd struct {
	t    *testing.T
	base string
}

const rspamdConfig = `options {
  url_tld = "DIR/tld"; disable_hyperscan = true; filters = "dkim"; tempdir = "DIR"; pidfile = "DIR/pid";
  dns { nameserver = ["DNS"]; timeout = 1s; retransmits = 3; }
}
logging { type = "console"; level = "error"; }
worker "normal" { bind_socket = "WEB"; count = 1; enabled = true; }
dkim { trusted_only = false; time_jitter = 1h; }
actions { reject = 1000; unknown_weight = 1; }
group "dkim" { symbols {
  "R_DKIM_ALLOW" { weight = 1; } "R_DKIM_REJECT" { weight = 1; } "R_DKIM_TEMPFAIL" { weight = 1; } "R_DKIM_PERMFAIL" { weight = 1; } "R_DKIM_NA" { weight = 1; }
} }
lua = "DIR/none.lua";
`

// newRspamd starts one with those key records.
func newRspamd(t *testing.T, keys map[string]string) *rspamd {
	t.Helper()
	program, err := exec.LookPath("rspamd")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("rspamd is not installed")
		}
		t.Log("rspamd is not installed: the others agree without it")
		return nil
	}
	dir := t.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := free.Addr().String()
	free.Close()
	config := strings.NewReplacer("DIR", dir, "DNS", serveKeys(t, keys), "WEB", web).Replace(rspamdConfig)
	for file, text := range map[string]string{"conf": config, "tld": "com\nexample\n", "none.lua": ""} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"-f", "-c", filepath.Join(dir, "conf")}
	if os.Geteuid() == 0 {
		args = append(args, "-i", "-u", "root")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends its workers
	cmd.WaitDelay = 10 * time.Second
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it was told to end
		close(ended)
	}()
	t.Cleanup(func() { <-ended }) // the test's context is over by then
	r := &rspamd{t, "http://" + web}
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if reply, err := http.Get(r.base + "/ping"); err == nil {
			reply.Body.Close()
			return r
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("rspamd ended: %s", log.String())
		case <-deadline.C:
			t.Fatal("rspamd does not answer")
		}
	}
}

// serveKeys answers TXT questions until the test ends.
func serveKeys(t *testing.T, keys map[string]string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		text, ok := keys[strings.ToLower(strings.TrimSuffix(q.Question[0].Name, "."))]
		switch {
		case !ok:
			m.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeTXT:
			rr := &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}}
			for len(text) > 0 {
				n := min(len(text), 250)
				rr.Txt, text = append(rr.Txt, text[:n]), text[n:]
			}
			m.Answer = []dns.RR{rr}
		}
		_ = w.WriteMsg(m) // a lost reply is asked for again
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return conn.LocalAddr().String()
}

// verify is rspamd's verdict in its own word: "pass" where all it found is good.
func (r *rspamd) verify(msg []byte) string {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.base+"/checkv2", bytes.NewReader(msg))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("IP", "192.0.2.1")
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer reply.Body.Close()
	var got struct {
		Symbols map[string]struct{ Options []string }
	}
	if err := json.NewDecoder(reply.Body).Decode(&got); err != nil {
		r.t.Fatal(err)
	}
	delete(got.Symbols, "DKIM_TRACE")
	if _, ok := got.Symbols["R_DKIM_ALLOW"]; ok && len(got.Symbols) == 1 {
		return "pass"
	}
	return fmt.Sprint(got.Symbols)
}
