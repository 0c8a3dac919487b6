package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"postern/internal/dns/attest"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/signer"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// work is what something took: by the clock, and of all processors.
type work struct{ wall, cpu float64 }

// signing is the time from a zone's file to the file of the signed zone, on
// all cores, beside dnssec-signzone: both read, sign and write the same. Once
// nobody judges the result (its -P), once the whole is judged.
func (b *bench) signing() error {
	if _, err := exec.LookPath("dnssec-signzone"); err != nil {
		b.printf("\nsigning: not measured, dnssec-signzone is not installed\n")
		return nil
	}
	file, err := b.zone(b.hosts / 10)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(b.dir, "signing")
	if err != nil {
		return err
	}
	if out, err := b.in(dir, "dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "example.test"); err != nil {
		return fmt.Errorf("dnssec-keygen: %w: %s", err, out)
	}
	b.printf("\nfile to signed file, %d hosts, P-256, one key, medians of %d rounds; load average %s\n%-32s%9s%9s%9s%9s%12s%12s\n",
		b.hosts/10, b.rounds, loadAverage(), "", "seconds", "min", "max", "cpu s", "vs signzone", "cpu vs it")
	for _, d := range []signer.Denial{signer.NSEC, signer.NSEC3} {
		for _, judged := range []bool{false, true} {
			if err := b.signingRow(dir, file, d, judged); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) signingRow(dir, file string, d signer.Denial, judged bool) error {
	title, args := "NSEC", []string{"-q", "-S", "-K", ".", "-z", "-o", "example.test", "-f", "signed"}
	if d == signer.NSEC3 {
		title, args = "NSEC3", append(args, "-3", "-", "-H", "0")
	}
	if judged {
		title += ", judged"
	} else {
		args = append(args, "-P")
	}
	var ours, theirs []work
	for range b.rounds {
		w, err := signFile(file, filepath.Join(dir, "ours"), d, judged)
		if err != nil {
			return err
		}
		ours = append(ours, w)
		begin, before := time.Now(), spent(syscall.RUSAGE_CHILDREN)
		if out, err := b.in(dir, "dnssec-signzone", append(args, file)...); err != nil {
			return fmt.Errorf("dnssec-signzone: %w: %s", err, out)
		}
		theirs = append(theirs, work{time.Since(begin).Seconds(), spent(syscall.RUSAGE_CHILDREN) - before})
	}
	wall, cpu := mids(ours)
	wall2, cpu2 := mids(theirs)
	b.printf("%-32s%9.2f%9.2f%9.2f%9.2f%12s%12s\n", "Postern, "+title, wall[1], wall[0], wall[2], cpu, over(wall[1], wall2[1]), over(cpu, cpu2))
	b.printf("%-32s%9.2f%9.2f%9.2f%9.2f\n", "dnssec-signzone, "+title, wall2[1], wall2[0], wall2[2], cpu2)
	return nil
}

// mids returns the least, median and greatest time and the median of cpu.
func mids(all []work) (wall [3]float64, cpu float64) {
	var walls, cpus []float64
	for _, w := range all {
		walls, cpus = append(walls, w.wall), append(cpus, w.cpu)
	}
	cpu = middle(cpus)
	mid := middle(walls) // sorts
	return [3]float64{walls[0], mid, walls[len(walls)-1]}, cpu
}

// signFile reads, signs and writes a zone with the packages of the server.
func signFile(from, to string, d signer.Denial, judged bool) (work, error) {
	begin, before, now := time.Now(), spent(syscall.RUSAGE_SELF), time.Now()
	z, err := readZone(from)
	if err != nil {
		return work{}, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return work{}, err
	}
	key, err := dnssec.NewKey(z.Origin(), 257, dnssec.ECDSAP256SHA256, private)
	if err != nil {
		return work{}, err
	}
	const day = 24 * time.Hour
	signed, err := signer.Sign(z, []dnssec.Key{key}, signer.Policy{
		Model: signer.CSK, Denial: d, Validity: 30 * day, Refresh: 15 * day, Workers: 2,
	}, now)
	if err != nil {
		return work{}, err
	}
	if judged {
		if bad := attest.Check(signed.Zone(), now, attest.Context{Workers: 2}); len(bad) > 0 {
			return work{}, fmt.Errorf("judged unfit: %s", bad[0])
		}
	}
	if err := writeZone(to, signed.Zone()); err != nil {
		return work{}, err
	}
	return work{time.Since(begin).Seconds(), spent(syscall.RUSAGE_SELF) - before}, nil
}

func readZone(path string) (*zone.Zone, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	origin, err := name.Parse("example.test.")
	if err != nil {
		return nil, err
	}
	records, problems := zonefile.ParseText(string(text), path, origin, zonefile.Options{})
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s: %v", path, problems[0])
	}
	build := zone.NewBuilder(origin)
	for _, r := range records {
		if err := build.Add(r.RR); err != nil {
			return nil, err
		}
	}
	return build.Build()
}

func writeZone(path string, z *zone.Zone) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<16)
	if err := zonefile.Print(w, z); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// spent is the processor time so far of this process, or of those it waited for.
func spent(who int) float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(who, &u) // cannot fail with these
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// in runs a command in a folder.
func (b *bench) in(dir, command string, args ...string) (string, error) {
	cmd := exec.CommandContext(b.ctx, command, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
