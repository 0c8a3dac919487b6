package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/dns/authority"
	"postern/internal/manage"
)

// house is an appliance on free ports of loopback.
type house struct {
	t   *testing.T
	dir string
	app *App

	insideAsked uint64 // questions the resolver heard from inside
}

const houseConfig = `[server]
hostname = "edge.city.example"
state    = "state"
control  = "c.sock"
[[listen]]
serve   = "dns"
address = ["127.0.0.1:0"]
[[listen]]
serve   = "mx"
address = ["127.0.0.1:0"]
[[view]]
name    = "external"
clients = ["any"]
zones   = "zones"
[mail]
domains = ["city.example"]
[mail.route."city.example"]
next_hop = ["maildir:mail"]
[mail.outbound]
mode = "hold"
`

const houseZone = "$TTL 300\n@ SOA ns hostmaster 1 2h 1h 14d 5m\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\n"

// build writes the files and starts the appliance.
func build(t *testing.T) *house {
	t.Helper()
	return buildWith(t, houseConfig, nil)
}

// buildWith is build with another configuration and more files.
func buildWith(t *testing.T, config string, files map[string]string) *house {
	t.Helper()
	dir, err := os.MkdirTemp("", "app") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, dir: dir}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h.write("postern.toml", config)
	h.write("zones/city.example.zone", houseZone)
	for name, text := range files {
		h.write(name, text)
	}
	o := Options{Config: filepath.Join(dir, "postern.toml"), TestKnobs: true, Stderr: &bytes.Buffer{}}
	if _, set := files["clock"]; set {
		o.TestClock = filepath.Join(dir, "clock")
	}
	cfg, err := o.load()
	if err != nil {
		t.Fatal(err, o.Stderr)
	}
	if h.app, err = newApp(o, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if h.app == nil {
			return // stopped by the test
		}
		if err := h.app.stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := h.app.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) reload(want ...string) {
	h.t.Helper()
	report, err := h.app.reload(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	said := strings.Join(append(report.Changes, report.Kept...), "\n")
	for _, w := range want {
		if !strings.Contains(said, w) {
			h.t.Errorf("no %q in %q", w, said)
		}
	}
}

func TestReloadSaysWhatItDid(t *testing.T) {
	t.Parallel()
	h := build(t)

	h.write("zones/city.example.zone", strings.Replace(houseZone, "192.0.2.2", "192.0.2.3", 1))
	h.reload("zone city.example. view external: serial", "+ www.city.example. 300 IN A 192.0.2.3")

	h.write("postern.toml", strings.Replace(houseConfig, `address = ["127.0.0.1:0"]`, `address = ["127.0.0.2:0"]`, 1))
	h.reload("listener dns udp 127.0.0.1:", ": gone", "listener dns udp 127.0.0.2:", ": new")

	h.write("inner/city.example.zone", "www 300 A 10.0.0.1\n")
	h.write("postern.toml", strings.Replace(houseConfig, `[[view]]`, "[[view]]\nname = \"inside\"\nclients = [\"10.0.0.0/8\"]\noverlay = \"external\"\nzones = \"inner\"\n[[view]]", 1))
	h.reload("zone city.example. view inside: new", "view inside: new, clients [10.0.0.0/8]")

	h.write("postern.toml", strings.Replace(houseConfig, "maildir:mail", "smtp://10.0.0.5:25", 1))
	h.reload("mail route of city.example: smtp://10.0.0.5:25, was maildir:", "view inside: gone")

	// Without a DNS listener here: one on port 0 is a new one each time.
	quiet := strings.Replace(houseConfig, "[[listen]]\nserve   = \"dns\"\naddress = [\"127.0.0.1:0\"]\n", "", 1)
	h.write("postern.toml", quiet)
	h.reload(": gone")
	h.write("postern.toml", quiet+"[limits]\nexempt = [\"10.9.9.9\"]\n")
	h.reload("settings: changed")
}

// TestReloadedExemptionsReachTheNameListeners, which stay open.
func TestReloadedExemptionsReachTheNameListeners(t *testing.T) {
	t.Parallel()
	h := build(t)
	monitor := netip.MustParseAddr("10.9.9.9")
	if h.app.isExempt(monitor) {
		t.Error("exempt from the beginning")
	}
	h.write("postern.toml", houseConfig+"[limits]\nexempt = [\"10.9.9.9\"]\n")
	h.reload()
	if !h.app.isExempt(monitor) || h.app.isExempt(monitor.Next()) {
		t.Error("the new exemption is not followed")
	}
}

// TestRefusedReloadIsRemembered by the status screen, on one line.
func TestRefusedReloadIsRemembered(t *testing.T) {
	t.Parallel()
	h := build(t)
	h.write("postern.toml", strings.Replace(houseConfig, "hostname", "hostnam", 1)+"x = 1\n")
	_, err := h.app.reload(t.Context())
	var refused *manage.Error
	if !errors.As(err, &refused) || len(refused.Details) < 2 || !strings.HasPrefix(refused.Details[0], filepath.Join(h.dir, "postern.toml:1:2: ")) {
		t.Fatalf("%v", err)
	}
	last := h.app.facts().Failures
	if len(last) == 0 || !strings.Contains(last[len(last)-1].Text, "hostnam") || strings.Contains(last[len(last)-1].Text, "\n") {
		t.Errorf("%+v", last)
	}
	if zones := h.app.authority.Zones(); len(zones) != 1 || zones[0].State != authority.OK {
		t.Errorf("%+v", zones)
	}
}

// TestStopCutsWhoHoldsItUp: half a message and half a request end with the
// stop, which is a clean one.
func TestStopCutsWhoHoldsItUp(t *testing.T) {
	t.Parallel()
	h := build(t)
	var held []net.Conn
	for _, l := range h.app.listeners(h.app.cfg) {
		if l.Transport == "udp" {
			continue
		}
		conn, err := net.Dial("tcp", l.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		held = append(held, conn)
		if l.Serve != "mx" {
			continue
		}
		in := bufio.NewReader(conn)
		for _, say := range []string{"", "HELO client.test\r\n", "MAIL FROM:<a@b.test>\r\n", "RCPT TO:<postmaster@city.example>\r\n", "DATA\r\n"} {
			fmt.Fprint(conn, say)
			if reply, err := in.ReadString('\n'); err != nil || reply[0] > '3' {
				t.Fatalf("%q: %q, %v", say, reply, err)
			}
		}
		fmt.Fprint(conn, "Subject: half a mess")
	}
	stop, cancel := context.WithTimeout(t.Context(), stopWithin)
	defer cancel()
	if err := h.app.stop(stop); err != nil {
		t.Error(err)
	}
	if stop.Err() != nil || len(held) != 2 {
		t.Errorf("%v, %d connections", stop.Err(), len(held))
	}
	h.app = nil
}

// TestStopEndsQuestionsThatWaitForTheWorld: a client whose question nobody
// answers holds up nothing, and the stop is a clean one.
func TestStopEndsQuestionsThatWaitForTheWorld(t *testing.T) {
	t.Parallel()
	world, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close()
	config := strings.Replace(houseConfig, `clients = ["any"]`, "clients = [\"loopback\"]\nrecursion = true", 1) +
		"[resolver]\nroot_hints = \"root.hints\"\n[resolver.test]\nupstream_map = \"map\"\nallow_private_upstream = true\n"
	h := buildWith(t, config, map[string]string{
		"root.hints": ". 3600 NS ns.root.\nns.root. 3600 A 192.0.2.1\n",
		"map":        "192.0.2.1 " + world.LocalAddr().String() + "\n",
	})
	for _, o := range h.app.names.Open() {
		conn, err := net.Dial(o.Transport.String(), o.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		question := []byte("\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x01\x00\x01")
		if o.Transport.String() == "tcp" {
			question = append([]byte{0, byte(len(question))}, question...)
		}
		if _, err := conn.Write(question); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := world.ReadFrom(make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	stop, cancel := context.WithTimeout(t.Context(), stopWithin)
	defer cancel()
	if err := h.app.stop(stop); err != nil || stop.Err() != nil {
		t.Error(err, stop.Err())
	}
	h.app = nil
}

// TestEveryMailDoorIsCounted, and no counter goes back at a reload.
func TestEveryMailDoorIsCounted(t *testing.T) {
	t.Parallel()
	h := build(t)
	h.app.mail.Load().mx.Counters.RelayDenied.Add(2)
	h.reload()
	h.app.mail.Load().mx.Counters.RelayDenied.Inc()
	w := httptest.NewRecorder()
	h.app.registry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for metric, n := range map[string]int{
		"postern_mail_mx_relay_denied_total": 3, "postern_mail_submission_foreign_sender_total": 0, "postern_mail_relay_over_rate_total": 0,
	} {
		if !strings.Contains(w.Body.String(), fmt.Sprintf("\n%s %d\n", metric, n)) {
			t.Errorf("no %s %d", metric, n)
		}
	}
}
