package deliver

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"postern/internal/atomicfile"
	"postern/internal/mail/address"
	"postern/internal/mail/route"
)

// maildir delivers into a directory, one file a recipient: tmp, fsync, new,
// fsync of the directory. Lines end in LF there, as its readers expect.
func (a *attempt) maildir(hop route.Hop) {
	p := peer{hop: hop, addr: hop.String()}
	a.sweep(hop.Path)
	for _, i := range slices.Clone(a.open) {
		if err := a.store(hop.Path, a.report.Results[i].Recipient); err != nil {
			a.client.cfg.Log.Error("maildir not written", "reason", "maildir", "path", hop.Path, "err", err)
			t := maildirTrouble(err)
			if errors.Is(err, errCut) {
				t = contentTrouble(err)
			}
			a.note(i, p, "", t)
			continue
		}
		a.note(i, p, "", &trouble{enhanced: "2.0.0", text: "stored", reason: "delivered"})
		a.report.Results[i].Outcome = Delivered
		a.settle(i)
	}
}

// maildirTrouble never loses mail for a fault of ours, and tells no path.
func maildirTrouble(err error) *trouble {
	t := &trouble{enhanced: "4.2.0", text: "the mailbox cannot be written", reason: "maildir"}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		t.enhanced, t.text = "4.2.2", "the mailbox is full"
	}
	return t
}

func (a *attempt) store(dir string, to address.Address) (err error) {
	if err := makeMaildir(dir); err != nil {
		return err
	}
	name, err := a.maildirName()
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "tmp", name)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp) // the first error is the one to report
		}
	}()
	if err := errors.Join(a.fill(f, to), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, "new", name)); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Join(dir, "new"))
}

// maildirName is unique without asking the directory: time, chance, host.
func (a *attempt) maildirName() (string, error) {
	var chance [8]byte
	if _, err := rand.Read(chance[:]); err != nil {
		return "", err
	}
	now := a.client.cfg.Now()
	return fmt.Sprintf("%d.M%06dR%s.%s", now.Unix(), now.Nanosecond()/1000, hex.EncodeToString(chance[:]), a.client.cfg.Hostname), nil
}

// fill writes the trace fields of final delivery (RFC 5321, Section 4.4) and
// the message.
func (a *attempt) fill(f io.Writer, to address.Address) error {
	w := bufio.NewWriterSize(f, 64<<10)
	fmt.Fprintf(w, "Return-Path: %s\nDelivered-To: %s\n", a.job.Envelope.From.Path(), to.String())
	r := bufio.NewReaderSize(a.read(), 64<<10)
	for {
		b, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			return w.Flush()
		}
		if err != nil {
			return err
		}
		if b == '\r' { // scan saw to it that LF follows
			continue
		}
		if err := w.WriteByte(b); err != nil {
			return err
		}
	}
}

func makeMaildir(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, sub := range []string{"tmp", "cur", "new"} { // new last: it is what is looked for
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return errors.Join(atomicfile.SyncDir(dir), atomicfile.SyncDir(filepath.Dir(dir)))
}
