package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// total counts all instructions of a question, the kernel's too, on a machine
// that is itself a program: QEMU with -icount runs one core, whose clocks
// advance by a nanosecond with every instruction. What the kernel of that
// machine says a process was on the core for is then how many instructions it
// took, whatever else runs here. Server and client share the core, so what
// lies between them is in turns: the window is how many questions a server
// finds at a time.
//
// The part of it outside the kernel is what count counts. Only NSD is brought
// along to compare with.
func (b *bench) total() error {
	if why := b.cannotTotal(); why != "" {
		b.printf("\nall instructions: not counted, %s\n", why)
		return nil
	}
	initrd := filepath.Join(b.dir, "initrd")
	if err := b.furnishGuest(initrd); err != nil {
		return err
	}
	t, err := b.boot(initrd, "guest", 1)
	if err != nil {
		return err
	}
	b.printf("\nall instructions a question, %d hosts, by QEMU with %s; a loop of %d instructions was counted as %.0f\n%-12s%-12s%8s%14s%12s\n",
		b.hosts/10, filepath.Base(b.kernel), 3*loops, t.loop, "", "", "window", "instructions", "vs nsd")
	for _, c := range t.counts {
		b.printf("%-12s%-12s%8d%14.0f%12s\n", c.mix, c.server, c.window, c.n, over(c.n, t.of(key{"nsd", c.mix, c.window})))
	}
	return nil
}

// cannotTotal says what is missing.
func (b *bench) cannotTotal() string {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		return "qemu-system-x86_64 is not installed"
	}
	if b.kernel == "" {
		return "no kernel image is given (-kernel)"
	}
	if _, err := os.Stat(b.kernel); err != nil {
		return err.Error()
	}
	return ""
}

// furnishGuest writes the guest's files: this program as its first, and the
// servers.
func (b *bench) furnishGuest(path string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	m := &image{out: f, have: map[string]bool{}}
	programs := map[string]string{"/init": self, "/bin/postern": b.binary}
	if nsd, err := exec.LookPath("nsd"); err == nil {
		programs["/bin/nsd"] = nsd
	}
	for name, path := range programs {
		if err := m.program(name, path); err != nil {
			return err
		}
	}
	m.entry("/etc/passwd", 0o100644, []byte("root:x:0:0::/:/bin/false\n"))
	m.entry("/etc/group", 0o100644, []byte("root:x:0:\n"))
	return m.close()
}

// key is what was counted.
type key struct {
	server, mix string
	window      int
}

// totals is one line of the guest's table.
type totals struct {
	key
	n float64 // instructions a question
}

// told is what a guest said.
type told struct {
	loop   float64
	counts []totals
	rows   []string // of the table of edits
}

// of returns what one line says; zero where there is none.
func (t *told) of(k key) float64 {
	for _, c := range t.counts {
		if c.key == k {
			return c.n
		}
	}
	return 0
}

// boot runs the guest.
func (b *bench) boot(initrd, task string, cores int) (*told, error) {
	line := fmt.Sprintf("console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on -- -bin /bin/postern -peers postern,nsd -hosts %d -secs %d %s", b.hosts, b.secs, task)
	ctx, stop := context.WithTimeout(b.ctx, time.Hour)
	defer stop()
	// An instruction that repeats counts once for each octet here: the
	// processor is one that has none quick at it, so that all copy by words.
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off",
		"-cpu", "max,-erms,-fsrm", "-smp", fmt.Sprint(cores), "-m", "2048", "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
		"-serial", "stdio", "-kernel", b.kernel, "-initrd", initrd, "-append", line)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t, last, err := listen(out)
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("qemu: %w: %s", err, complaints.String())
	}
	if err != nil {
		return nil, fmt.Errorf("guest: %w; its last words: %s", err, last)
	}
	return t, nil
}

// lastWords is how many lines are kept for whoever looks for what went wrong.
const lastWords = 20

// listen reads what the guest says, to its end, and keeps the last of it.
func listen(r io.Reader) (t *told, last string, err error) {
	t = &told{}
	var lines []string
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		text := strings.TrimSpace(scan.Text())
		if lines = append(lines, text); len(lines) > lastWords {
			lines = lines[1:]
		}
		// What stood before may have had no end of line.
		if _, text, ok := strings.Cut(text, said+" "); ok && err == nil {
			err = t.take(text)
		}
	}
	_, _ = io.Copy(io.Discard, r) // what comes after a line too long to be read
	switch {
	case err != nil:
	case scan.Err() != nil:
		err = scan.Err()
	case len(t.counts)+len(t.rows) == 0:
		err = errors.New("it counted nothing")
	case t.loop == 0:
		err = errors.New("it did not come to its end")
	}
	return t, strings.Join(lines, "\n"), err
}

// take reads one line.
func (t *told) take(text string) error {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "loop":
		if _, err := fmt.Sscan(rest, &t.loop); err != nil {
			return fmt.Errorf("loop: %w", err)
		}
	case "count":
		var c totals
		if _, err := fmt.Sscan(rest, &c.server, &c.mix, &c.window, &c.n); err != nil {
			return fmt.Errorf("count: %w", err)
		}
		t.counts = append(t.counts, c)
	case "edits":
		t.rows = append(t.rows, rest)
	case "error":
		return errors.New(rest)
	}
	return nil
}
