package lab_test

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/lab"
)

// TestDemo: serve without a configuration is ready within a second, its
// commands work as printed, and it keeps to itself until somebody asks.
func TestDemo(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		before := attempts(l)
		p := l.Postern(lab.PosternConfig{})
		// Other tests run beside this one: the best of a few starts counts.
		best := p.StartupTime()
		for range 4 {
			if best < time.Second {
				break
			}
			p.Restart()
			best = min(best, p.StartupTime())
		}
		t.Logf("ready after %v", best)
		if best >= time.Second {
			t.Errorf("ready after %v, want less than a second", best)
		}
		said := p.Said()
		if !strings.Contains(said, "DEMO") {
			t.Errorf("no DEMO banner:\n%s", said)
		}
		tried := 0
		for line := range strings.Lines(said) {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), "try")
			if !ok {
				continue
			}
			tried++
			if out := l.Shell(p.Dir, strings.TrimSpace(command)); out.Code != 0 {
				t.Errorf("as printed:\n%s", out)
			}
		}
		if tried != 3 {
			t.Errorf("%d commands to try, want 3:\n%s", tried, said)
		}
		if info, err := os.Stat(p.Path("var/first-user")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("first-user: %v (%v)", info, err)
		}
		if info, err := os.Stat(p.Path("var")); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the directory of the socket: %v (%v)", info, err)
		}
		if after := attempts(l); after != before {
			t.Errorf("%d attempts to reach the world before a recursive question", after-before)
		}
		l.Ask(lab.Dig, lab.Question{Server: "127.0.0.1", Name: "www.somewhere.net", Flags: []string{"-p", "5300", "+tries=1", "+time=1"}})
		l.Eventually("the question is counted", func() error {
			if attempts(l) == before {
				return errors.New("no attempt yet")
			}
			return nil
		})
	})
}

// attempts counts packets that found no way out of this world. The kernel
// counts them: there is no route but to ourselves.
func attempts(l *lab.Lab) int {
	l.T().Helper()
	total := 0
	for _, file := range []string{"/proc/net/snmp", "/proc/net/snmp6"} {
		f, err := os.Open(file)
		if err != nil {
			continue // without IPv6 there is no second file
		}
		defer f.Close()
		var names []string
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			switch {
			case len(fields) == 2 && fields[0] == "Ip6OutNoRoutes":
				n, _ := strconv.Atoi(fields[1])
				total += n
			case fields[0] == "Ip:" && names == nil:
				names = fields
			case fields[0] == "Ip:":
				for i, name := range names {
					if name == "OutNoRoutes" {
						n, _ := strconv.Atoi(fields[i])
						total += n
					}
				}
			}
		}
	}
	return total
}

// TestInit: what init writes runs as it is: all ports bound by a user who is
// not root and cannot write the zones.
func TestInit(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		const public, private = "203.0.113.150", "10.0.0.53"
		l.ListAddresses(public, private)
		state, run := l.Path("var-lib"), l.Path("run-postern")
		dir := l.Path("etc")
		l.Exec(l.Binary(), "init", "city.example", "--dir", dir, "--address", public,
			"--state", state, "--control", filepath.Join(run, "control.sock")).Want(0, "city.example")
		unit, err := filepath.Glob(filepath.Join(dir, "*.service"))
		if err != nil || len(unit) != 1 {
			t.Fatalf("systemd unit: %v (%v)", unit, err)
		}
		text, err := os.ReadFile(unit[0])
		for _, want := range []string{"\nUser=postern\n", "\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n", "\nNoNewPrivileges=yes\n", "\nReadOnlyPaths=" + dir} {
			if err != nil || !strings.Contains(string(text), want) {
				t.Errorf("no %q in the unit (%v):\n%s", want, err, text)
			}
		}
		// Whoever serves can read the zones, and not write them.
		zone := filepath.Join(dir, "zones", "external", "city.example.zone")
		l.Exec("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", zone).Want(0, "SOA")
		l.Exec("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "echo >>"+zone).Want(2)
		p := l.Prepare(lab.PosternConfig{Path: filepath.Join(dir, "postern.toml")})
		p.Own(state, run)
		p.Start()
		// Nothing is published before somebody applies it, and that is no fault.
		if reply := l.Agreed(lab.Question{Server: public, From: outsideClient, Name: "city.example", Type: "MX"}); reply.Rcode != "REFUSED" {
			t.Errorf("before apply: %s", reply)
		}
		p.Run("status").Want(0, "planned")
		p.Run("zone", "plan").Want(0, "zone city.example. view external", "a new zone", "zone apply --all --plan")
		p.Run("zone", "apply", "--all").Want(0, "zone city.example. view external: serial 1 is published")
		p.Run("zone", "plan").Want(0, "nothing waits to be applied")
		reply := l.Agreed(lab.Question{Server: public, From: outsideClient, Name: "city.example", Type: "MX"})
		if reply.Rcode != "NOERROR" || len(reply.Answer) != 1 {
			t.Errorf("%s", reply)
		}
		for _, port := range []string{"25", "465", "587"} {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(public, port), 5*time.Second)
			if err != nil {
				t.Error(err)
				continue
			}
			conn.Close()
		}
		status, err := os.ReadFile("/proc/" + strconv.Itoa(p.Pid()) + "/status")
		if err != nil || !strings.Contains(string(status), "\nUid:\t65534\t65534") {
			t.Errorf("not run as nobody: %v\n%s", err, status)
		}
		p.Run("config", "check").Want(0)
		p.Run("status").Want(0, "city.example")
	})
}

// TestBadInput: what cannot run says why in one line with a hint, ends with
// status 1, and harms nothing.
func TestBadInput(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		taken, err := net.Listen("tcp", alphaMX+":25")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		files := map[string]string{
			"root.hints":                    ". 3600 NS ns.root.\nns.root. 3600 A 192.0.2.1\n",
			"zones/external/alpha.lab.zone": alphaExternal, "zones/internal/alpha.lab.zone": alphaInternal,
			"secrets/open": "hunter2\n",
		}
		route := `next_hop   = ["smtp://10.0.0.5:25"]`
		for _, c := range []struct {
			name, old, new string
			said           []string
		}{
			{"unknown key", `hostname = "edge.alpha.lab"`, "hostnam = \"edge.alpha.lab\"", []string{"postern.toml:2:1: ", "hostnam", "(", "hostname"}},
			{"wrong type", `recursion = true`, `recursion = "yes"`, []string{"postern.toml:", "recursion", "("}},
			{"bad address", `"198.51.100.53:53"`, `"198.51.100.300:53"`, []string{"postern.toml:", "198.51.100.300", "("}},
			{"port in use", "", "", []string{alphaMX + ":25", "in use", "("}},
			{
				"secret that others can read", route, "next_hop = [\"smtps://10.0.0.5:465\"]\nname = \"inner.alpha.lab\"\nuser = \"edge\"\nsecret = \"file:secrets/open\"",
				[]string{"postern.toml:", "secrets/open", "("},
			},
			{
				"secret that is not there", route, "next_hop = [\"smtps://10.0.0.5:465\"]\nname = \"inner.alpha.lab\"\nuser = \"edge\"\nsecret = \"file:secrets/none\"",
				[]string{"postern.toml:", "secrets/none", "("},
			},
		} {
			l.Step(c.name, func() {
				config := alphaConfig
				if c.old != "" {
					if !strings.Contains(config, c.old) {
						l.T().Fatalf("no %q in the configuration", c.old)
					}
					config = strings.Replace(config, c.old, c.new, 1)
				}
				p := l.Prepare(lab.PosternConfig{Name: strings.ReplaceAll(c.name, " ", "-"), Config: config, Files: files})
				wantSaid(l, p.Refused(), c.said...)
			})
		}
	})
}

// TestFullDisk: without room no mail is promised and no name is lost; with
// room again all is well.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		in := tree(l, "")
		inner := l.Postfix(lab.PostfixConfig{Host: "inner.alpha.lab", Address: alphaInner, Domains: []string{"alpha.lab"}})
		p := l.Prepare(lab.PosternConfig{Config: alphaConfig, Files: map[string]string{
			"root.hints":                    in.HintsText(),
			"zones/external/alpha.lab.zone": alphaExternal, "zones/internal/alpha.lab.zone": alphaInternal,
		}})
		if err := unix.Mount("small", p.Path("state"), "tmpfs", 0, "size=100m,mode=700,uid=65534,gid=65534"); err != nil {
			t.Fatal(err)
		}
		p.Start()
		// More than what Postern wants to stay free.
		filler := p.Path("state", "filler")
		l.Exec("dd", "if=/dev/zero", "of="+filler, "bs=1M") // ends with "no space left"
		mail := []string{
			"--server", alphaMX, "--local-interface", betaMX, "--ehlo", "mx.beta.lab",
			"--from", "bob@beta.lab", "--to", "ann@alpha.lab", "--header", "Subject: room",
		}
		if out := l.Swaks(mail...); out.Code == 0 || !out.Has("<** 4") {
			t.Errorf("want a 4yz reply:\n%s", out)
		}
		wantWWW(l, "198.51.100.80")
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		l.Swaks(mail...).Want(0)
		inner.Receive("ann@alpha.lab")
		if n := inner.Len(); n != 1 {
			t.Errorf("%d mails arrived", n)
		}
	})
}

func wantSaid(l *lab.Lab, text string, words ...string) {
	l.T().Helper()
	for line := range strings.Lines(text) {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			return
		}
	}
	l.T().Errorf("no line with %q in:\n%s", words, text)
}
