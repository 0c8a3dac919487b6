package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unprivileged is nobody, on every Linux.
const unprivileged = 65534

// PosternConfig describes one Postern.
type PosternConfig struct {
	// Name names the peer and its folder below Dir; "postern" if empty.
	Name string
	// Config is postern.toml. Its relative paths are relative to the folder; of
	// the folders there, state and run are its own. Without Config and Path,
	// serve gets no --config: it runs its demo.
	Config string
	// Path is that of an existing postern.toml instead.
	Path string
	// Files are written beside it, by relative path.
	Files map[string]string
	// Args follow "serve --config FILE".
	Args []string
	// Root runs it as root. Without, it runs as it does in production: as a
	// user who may bind low ports and owns the state folder, not the zones.
	Root bool
	// Core is the one core it runs on, counted from 1; 0: all.
	Core int
}

// Postern is a postern binary with its configuration. The methods that need a
// running server fail the test without one.
type Postern struct {
	// Dir holds postern.toml and all it refers to.
	Dir string
	// Log is what it says on stderr, over all restarts.
	Log *Log

	l       *Lab
	cfg     PosternConfig
	binary  string
	config  []string // --config and its file, or nothing
	stdout  *Log
	process *Process
	warm    time.Duration
}

// Postern writes the files, starts the real binary, and waits until it is
// ready. When the test passed so far, its end checks that SIGTERM ends it
// cleanly.
func (l *Lab) Postern(cfg PosternConfig) *Postern {
	l.t.Helper()
	p := l.Prepare(cfg)
	p.Start()
	return p
}

// Prepare writes the files and does not start anything.
func (l *Lab) Prepare(cfg PosternConfig) *Postern {
	l.t.Helper()
	if cfg.Name == "" {
		cfg.Name = "postern"
	}
	p := &Postern{
		l: l, cfg: cfg, binary: l.reachableBinary(), Dir: l.place(cfg.Name),
		stdout: l.newLog(cfg.Name + "-stdout"), Log: l.newLog(cfg.Name),
	}
	switch {
	case cfg.Config != "":
		p.Write("postern.toml", cfg.Config)
		p.config = []string{"--config", p.Path("postern.toml")}
	case cfg.Path != "":
		p.config = []string{"--config", cfg.Path}
	default:
		p.makeOwn(".")
	}
	for path, text := range cfg.Files {
		p.Write(path, text)
	}
	for _, own := range []string{"state", "run"} {
		p.makeOwn(own)
	}
	whole := l.t
	whole.Cleanup(func() {
		if p.Running() && !whole.Failed() {
			p.Stop()
		}
	})
	return p
}

// Path returns the path of one of its files.
func (p *Postern) Path(elem ...string) string {
	return filepath.Join(append([]string{p.Dir}, elem...)...)
}

// Write writes one of its files.
func (p *Postern) Write(path, text string) {
	p.l.t.Helper()
	p.l.Write(p.Path(path), text)
}

// Start runs serve and waits for the line that is exactly "ready".
func (p *Postern) Start() {
	p.l.t.Helper()
	begin, mark := time.Now(), p.Log.Mark()
	p.launch()
	if _, ok := p.Log.await(mark, p.process.done, func(line string) bool { return line == "ready" }); !ok {
		p.process.kill()
		p.l.t.Fatalf("%s did not get ready:\n%s", p.cfg.Name, p.Log.Since(mark))
	}
	p.warm = time.Since(begin)
}

// StartupTime is how long the last start took, to ready.
func (p *Postern) StartupTime() time.Duration { return p.warm }

func (p *Postern) launch() {
	p.l.t.Helper()
	if p.Running() {
		p.l.t.Fatalf("lab: %s is running already", p.cfg.Name)
	}
	args := append([]string{"serve"}, p.config...)
	args = append(args, p.cfg.Args...)
	cmd := exec.Command(p.binary, args...)
	if p.cfg.Core > 0 {
		taskset := p.l.program("taskset", "util-linux")
		cmd = exec.Command(taskset, append([]string{"-c", strconv.Itoa(p.cfg.Core - 1), p.binary}, args...)...)
	}
	cmd.Dir = p.Dir
	cmd.Stdout = p.stdout
	cmd.Stderr = p.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if !p.cfg.Root {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: unprivileged, Gid: unprivileged}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE}
	}
	p.process = p.l.launch(p.cfg.Name, p.Log, cmd)
}

// Own makes folders of any path that the running Postern may write, for a
// configuration that names others than state and run.
func (p *Postern) Own(paths ...string) {
	p.l.t.Helper()
	for _, path := range paths {
		p.makeOwn(path)
	}
}

// makeOwn makes a folder that the running Postern may write.
func (p *Postern) makeOwn(name string) {
	p.l.t.Helper()
	dir := name
	if !filepath.IsAbs(dir) {
		dir = p.Path(name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		p.l.t.Fatal(err)
	}
	if p.cfg.Root {
		return
	}
	if err := os.Chown(dir, unprivileged, unprivileged); err != nil {
		p.l.t.Fatal(err)
	}
}

// reachableBinary returns the binary at a path that an unprivileged user can
// reach, wherever the checkout is.
func (l *Lab) reachableBinary() string {
	l.t.Helper()
	path := l.Path("bin", "postern")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	built := l.Binary()
	l.Write(path, "")
	if err := unix.Mount(built, path, "", unix.MS_BIND, ""); err != nil {
		l.t.Fatalf("lab: show %s at %s: %v", built, path, err)
	}
	return path
}

// Refused starts serve, which must end by itself with status 1, and returns
// what it said.
func (p *Postern) Refused() string {
	p.l.t.Helper()
	mark := p.Log.Mark()
	p.launch()
	if code := p.process.ExitCode(); code != 1 {
		p.l.t.Errorf("%s: exit %d, want 1", p.cfg.Name, code)
	}
	return p.Log.Since(mark)
}

// Stop sends SIGTERM: the contract gives five seconds, and status 0.
func (p *Postern) Stop() {
	p.l.t.Helper()
	p.process.Stop(5 * time.Second)
	if code := p.process.ExitCode(); code != 0 {
		p.l.t.Errorf("%s: exit %d after SIGTERM", p.cfg.Name, code)
	}
}

// Running reports whether it runs.
func (p *Postern) Running() bool { return p.process != nil && p.process.Running() }

// Kill9 ends it as a power cut would.
func (p *Postern) Kill9() { p.process.Kill9() }

// Restart stops it cleanly and starts it again.
func (p *Postern) Restart() {
	p.l.t.Helper()
	p.Stop()
	p.Start()
}

// Said returns all that it said on stdout and stderr.
func (p *Postern) Said() string { return p.stdout.String() + p.Log.String() }

// Binary returns the path of its program.
func (p *Postern) Binary() string { return p.binary }

// Pid returns the process id.
func (p *Postern) Pid() int { return p.process.cmd.Process.Pid }

// HangUp sends SIGHUP.
func (p *Postern) HangUp() {
	p.l.t.Helper()
	p.process.Signal(syscall.SIGHUP)
}

// Run runs one of its commands, as root.
func (p *Postern) Run(args ...string) Output {
	p.l.t.Helper()
	return p.RunInput("", args...)
}

// RunInput is Run with a standard input.
func (p *Postern) RunInput(stdin string, args ...string) Output {
	p.l.t.Helper()
	return p.l.execIn(p.Dir, stdin, p.binary, append(args, p.config...)...)
}

// Reload runs "reload", which must be content.
func (p *Postern) Reload() Output {
	p.l.t.Helper()
	return p.Run("reload").Want(0)
}

// AddUser makes an account.
func (p *Postern) AddUser(login, password string) {
	p.l.t.Helper()
	p.RunInput(password+"\n", "user", "add", login, "--password-stdin").Want(0)
}

// ZoneFile is a whole zone file: SOA and NS with the address of ns, then text.
func ZoneFile(zone, address string, serial int, text string) string {
	zone = strings.TrimSuffix(zone, ".")
	return fmt.Sprintf("$ORIGIN %[1]s.\n$TTL 300\n@ SOA ns hostmaster %[3]d 3600 600 86400 60\n@ NS ns\nns A %[2]s\n%[4]s\n",
		zone, address, serial, dedent(text))
}

// Remove removes one of its files or folders.
func (p *Postern) Remove(path string) {
	p.l.t.Helper()
	if err := os.RemoveAll(p.Path(path)); err != nil {
		p.l.t.Fatal(err)
	}
}
