package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"
)

// Output is what a program that ended by itself said.
type Output struct {
	Command string
	Stdout  string
	Stderr  string
	Code    int // the exit status

	l *Lab
}

// Exec runs a program to its end.
func (l *Lab) Exec(program string, args ...string) Output {
	l.t.Helper()
	return l.ExecInput("", program, args...)
}

// ExecInput runs a program with this standard input.
func (l *Lab) ExecInput(stdin, program string, args ...string) Output {
	l.t.Helper()
	return l.execIn("", stdin, program, args...)
}

// execIn runs a program in a folder.
func (l *Lab) execIn(dir, stdin, program string, args ...string) Output {
	l.t.Helper()
	out, err := l.execute(dir, stdin, program, args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

func (l *Lab) execute(dir, stdin, program string, args ...string) (Output, error) {
	ctx, cancel := context.WithTimeout(l.ctx, 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = l.environ()
	cmd.WaitDelay = time.Second
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	out := Output{
		Command: strings.Join(append([]string{program}, args...), " "),
		Stdout:  stdout.String(), Stderr: stderr.String(), l: l,
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return out, fmt.Errorf("%s: %w\n%s%s", out.Command, ctx.Err(), out.Stdout, out.Stderr)
	case errors.As(err, &exit):
		out.Code = exit.ExitCode()
	case err != nil:
		return out, fmt.Errorf("%s: %w", out.Command, err)
	}
	return out, nil
}

// String is the whole for an error message.
func (o Output) String() string {
	return fmt.Sprintf("$ %s\n%s%s(exit %d)", o.Command, o.Stdout, o.Stderr, o.Code)
}

// Want fails the test unless the exit status is code and the output has each
// of the words.
func (o Output) Want(code int, words ...string) Output {
	o.l.t.Helper()
	if o.Code != code {
		o.l.t.Fatalf("want exit %d:\n%s", code, o)
	}
	for _, word := range words {
		if !o.Has(word) {
			o.l.t.Fatalf("want %q in:\n%s", word, o)
		}
	}
	return o
}

// Has tells whether the output contains word.
func (o Output) Has(word string) bool {
	return strings.Contains(o.Stdout, word) || strings.Contains(o.Stderr, word)
}

// Shell runs a line of sh, as a person would type it, in a folder.
func (l *Lab) Shell(dir, line string) Output {
	l.t.Helper()
	return l.execIn(dir, "", "/bin/sh", "-c", line)
}

// Tool runs a peer's program with this standard input, wherever Debian has put it.
func (l *Lab) Tool(program, debianPackage, stdin string, args ...string) Output {
	l.t.Helper()
	return l.ExecInput(stdin, l.program(program, debianPackage), args...)
}

// Swaks runs swaks, the SMTP test client. Its exit status is 0 when the mail
// was taken; the dialogue is in Stdout.
func (l *Lab) Swaks(args ...string) Output {
	l.t.Helper()
	return l.Exec(l.program("swaks", "swaks"), append([]string{"--timeout", "15"}, args...)...)
}

// Python runs a script with Debian's Python, whose modules are the ones the
// lab installs.
func (l *Lab) Python(script, stdin string, args ...string) Output {
	l.t.Helper()
	python := l.program("python3", "python3")
	return l.ExecInput(stdin, python, append([]string{"-c", dedent(script)}, args...)...)
}

// DialFrom connects to an address from one of the client's own.
func DialFrom(client, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	ip := net.ParseIP(client)
	if strings.HasPrefix(network, "udp") {
		dialer.LocalAddr = &net.UDPAddr{IP: ip}
	} else {
		dialer.LocalAddr = &net.TCPAddr{IP: ip}
	}
	return dialer.Dial(network, address)
}
