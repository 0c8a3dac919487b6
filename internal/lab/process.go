package lab

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Process is one program that runs until the test ends it. It leads a session
// of its own; what it starts ends with it.
type Process struct {
	Log *Log

	l    *Lab
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and its output is read
	err  error         // of Wait; read after done
}

// Start runs a program under a name, with its output in a log of that name.
func (l *Lab) Start(name, program string, args ...string) *Process {
	l.t.Helper()
	return l.launch(name, l.newLog(name), exec.Command(program, args...))
}

func (l *Lab) launch(name string, log *Log, cmd *exec.Cmd) *Process {
	l.t.Helper()
	p := &Process{Log: log, l: l, name: name, cmd: cmd, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	if cmd.Stderr == nil {
		cmd.Stderr = log
	}
	if cmd.Env == nil {
		cmd.Env = l.environ()
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	// A grandchild that keeps the output open must not keep us.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		l.t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	l.peers = append(l.peers, p)
	return p
}

// environ is the environment of every program of the lab.
func (l *Lab) environ() []string {
	env := append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", envTest+"=")
	if l.clock != nil {
		env = append(env, l.clock.environ()...)
	}
	return env
}

// Running tells whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Kill9 ends the process and all of its session as a power cut would.
func (p *Process) Kill9() {
	p.kill()
	<-p.done
}

// kill does not wait.
func (p *Process) kill() {
	if p.Running() {
		// The group is gone if the process has just ended.
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// Signal sends one signal to the process alone.
func (p *Process) Signal(sig os.Signal) {
	p.l.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.l.t.Fatalf("%s: send %v: %v", p.name, sig, err)
	}
}

// Stop asks the process to end and waits. It returns how long that took; the
// test fails if it is killed in the end.
func (p *Process) Stop(grace time.Duration) time.Duration {
	p.l.t.Helper()
	begin := time.Now()
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.Kill9()
		p.l.t.Errorf("%s did not end within %v of SIGTERM", p.name, grace)
	}
	return time.Since(begin)
}

// ExitCode waits for the process to end by itself.
func (p *Process) ExitCode() int {
	p.l.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.l.t.Fatalf("%s is still running", p.name)
		return -1
	}
}

// alive fails the test at once when a process ended that ought to run.
func (p *Process) alive() {
	p.l.t.Helper()
	if !p.Running() {
		p.l.t.Fatalf("%s ended: %v", p.name, p.err)
	}
}
