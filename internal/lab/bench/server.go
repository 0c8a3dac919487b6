package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postern/internal/lab/load"
)

// kind is how Postern is set up.
type kind int

const (
	bare     kind = iota // one view, no limit
	defaults             // two views of twenty prefixes, limit and cookies as they come
)

// server is one that runs, on the first core.
type server struct {
	name string
	at   netip.AddrPort
	cmd  *exec.Cmd
	took time.Duration // to its first answer
	log  *os.File
}

// setup is where a server's files lie.
type setup struct {
	name  string
	dir   string // the server's own
	zone  string // the file
	kind  kind
	port  int
	more  string // of its configuration
	cores bool   // all of them, not the first alone
}

func (b *bench) setup(name, zone string, k kind) (setup, error) {
	dir, err := os.MkdirTemp(b.dir, name)
	if err != nil {
		return setup{}, err
	}
	port, err := freePort()
	return setup{name: name, dir: dir, zone: zone, kind: k, port: port}, err
}

// servers returns those of the peers that are installed.
func (b *bench) servers() []string {
	var here []string
	for _, name := range strings.Split(b.peers, ",") {
		if program := map[string]string{"nsd": "nsd", "knot": "knotd"}[name]; program != "" {
			if _, err := exec.LookPath(program); err != nil {
				b.printf("%s is not installed\n", name)
				continue
			}
		}
		here = append(here, name)
	}
	return here
}

// command writes the configuration and returns what serves it.
func (s setup) command(binary string) ([]string, error) {
	path := filepath.Join(s.dir, "conf")
	var text string
	var args []string
	switch s.name {
	case "nsd":
		text, args = nsdConfig(s), []string{"nsd", "-d", "-c", path}
	case "knot":
		text, args = knotConfig(s), []string{"knotd", "-c", path}
	default:
		text, args = posternConfig(s), []string{binary, "serve", "--config", path}
	}
	return args, os.WriteFile(path, []byte(text), 0o644)
}

func nsdConfig(s setup) string {
	rate := "  rrl-ratelimit: 0\n"
	if s.kind == defaults {
		rate = ""
	}
	return fmt.Sprintf("server:\n  ip-address: 127.0.0.1@%d\n  server-count: 1\n  username: \"\"\n  zonesdir: %[2]s\n  database: \"\"\n  pidfile: %[2]s/pid\n"+
		"  xfrdfile: %[2]s/x\n  zonelistfile: %[2]s/l\n  xfrdir: %[2]s\n%[3]sremote-control:\n  control-enable: no\nzone:\n  name: example.test\n  zonefile: %[4]s\n",
		s.port, s.dir, rate, s.zone)
}

func knotConfig(s setup) string {
	return fmt.Sprintf("server:\n  listen: 127.0.0.1@%d\n  rundir: %[2]s\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\ndatabase:\n  storage: %[2]s\n"+
		"zone:\n  - domain: example.test\n    file: %[3]s\n    semantic-checks: off\n    zonefile-load: whole\n    zonefile-sync: -1\n    journal-content: none\n",
		s.port, s.dir, s.zone)
}

func posternConfig(s setup) string {
	text := fmt.Sprintf("[server]\nhostname = \"bench.example.test\"\nstate = %q\ncontrol = %q\n", filepath.Join(s.dir, "state"), filepath.Join(s.dir, "control.sock"))
	if s.kind == bare {
		text += "[dns]\nrrl = \"off\"\n"
	} else {
		text += "[[view]]\nname = \"internal\"\noverlay = \"external\"\nrecursion = true\n" + prefixes("10.77.%d.0/24")
	}
	text += "[[view]]\nname = \"external\"\nzones = " + strconv.Quote(filepath.Dir(s.zone)) + "\n"
	if s.kind == bare {
		text += "clients = [\"any\"]\n"
	} else {
		// All of loopback's 127.0.0.0/8 but for itself, so that each is matched.
		text += prefixes("127.%d.0.0/16")
	}
	return text + s.more + fmt.Sprintf("[[listen]]\nserve = \"dns\"\naddress = [\"127.0.0.1:%d\"]\ntransport = [\"udp\", \"tcp\"]\n", s.port)
}

// prefixes is a view's twenty.
func prefixes(format string) string {
	var list []string
	for i := range 20 {
		list = append(list, strconv.Quote(fmt.Sprintf(format, i)))
	}
	return "clients = [" + strings.Join(list, ", ") + "]\n"
}

// start runs a server on the first core and waits for its first answer. With
// valgrind it counts, and takes its time.
func (b *bench) start(s setup, before ...string) (*server, error) {
	args, err := s.command(b.binary)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "state"), 0o700); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return nil, err
	}
	args = append(append([]string{}, before...), args...)
	if !b.alone && !s.cores {
		args = append([]string{"taskset", "-c", "0"}, args...)
	}
	p := &server{name: s.name, at: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(s.port)), log: log}
	p.cmd = exec.CommandContext(b.ctx, args[0], args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	// Whoever has a limit must not be asked beyond it.
	again := time.Millisecond
	if s.kind == defaults {
		again = 100 * time.Millisecond
	}
	core := 2
	if b.alone {
		core = 0
	}
	if err := p.ready(again, core); err != nil {
		p.stop()
		text, _ := os.ReadFile(log.Name()) // what there is of it
		return nil, fmt.Errorf("%s: %w\n%s", s.name, err, text)
	}
	p.took = time.Since(begin)
	return p, nil
}

// ready asks until there is a good answer.
func (p *server) ready(again time.Duration, core int) error {
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); {
		if err := p.cmd.Process.Signal(syscall.Signal(0)); err != nil {
			return err
		}
		// A port that nobody listens at answers at once with an error.
		c, err := load.New(load.Config{Server: p.at, Hosts: 1, Mix: load.Wildcard, Window: 1, Timeout: 2 * time.Millisecond, Core: core})
		if err != nil {
			return err
		}
		r, err := c.Ask(1)
		c.Close()
		if err == nil && r.Answered == 1 && r.Wrong == 0 {
			return nil
		}
		time.Sleep(again)
	}
	return fmt.Errorf("no answer")
}

// stop ends it with all its processes.
func (p *server) stop() {
	for _, pid := range p.tree() {
		_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended
	}
	ended := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(ended) }() // how it ended says nothing
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
		<-ended
	}
	p.log.Close()
}

// tree is the process and those it started.
func (p *server) tree() []int {
	all := []int{p.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i])) // the pattern is good
		for _, list := range lists {
			text, _ := os.ReadFile(list) // it may have ended
			for _, word := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(word); err == nil {
					all = append(all, pid)
				}
			}
		}
	}
	return all
}

// cpu is the time used by all of them: user and system, in ticks of 10 ms.
func (p *server) cpu() (user, system time.Duration) {
	for _, pid := range p.tree() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // it may have ended
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 12 {
			u, _ := strconv.Atoi(fields[11]) // numbers, says proc(5)
			s, _ := strconv.Atoi(fields[12])
			user += time.Duration(u) * 10 * time.Millisecond
			system += time.Duration(s) * 10 * time.Millisecond
		}
	}
	return user, system
}

// resident is the memory of all of them, in MB of 2^20.
func (p *server) resident() float64 {
	kB := 0
	for _, pid := range p.tree() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it may have ended
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				n, _ := strconv.Atoi(strings.Fields(rest)[0]) // a number, says proc(5)
				kB += n
			}
		}
	}
	return float64(kB) / 1024
}

func freePort() (int, error) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).Port, nil
}
