package deliver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"postern/internal/mail/route"
)

// cutMail is a message whose file is cut short, or changed, or cannot be read,
// after it has been opened sound so often.
type cutMail struct {
	mail
	sound  *int
	change func(whole string) io.ReadSeeker
}

func (m cutMail) Open() io.ReadSeeker {
	text := m.header + "\r\n" + m.body
	if *m.sound--; *m.sound >= 0 {
		return strings.NewReader(text)
	}
	return m.change(text)
}

// failing gives an error of the disk in place of the rest.
type failing struct {
	io.ReadSeeker
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.ReadSeeker.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

// TestCutMessageIsNeverSentAsWhole: the end of the spool file was taken for the
// end of the message, and half of it sent with the final dot.
func TestCutMessageIsNeverSentAsWhole(t *testing.T) {
	t.Parallel()
	cut := func(n int) func(string) io.ReadSeeker {
		return func(s string) io.ReadSeeker { return strings.NewReader(s[:len(s)-n]) }
	}
	small, large := plain, mail{plain.header, strings.Repeat(strings.Repeat("x", 70)+"\r\n", 2000)}
	for name, c := range map[string]struct {
		mail   mail
		sound  int
		change func(string) io.ReadSeeker
		reason string
	}{
		"cut at a line, before it is looked at":   {small, 0, cut(7), ReasonBroken},
		"cut within a line, before":               {small, 0, cut(3), ReasonBroken},
		"nothing is left, before":                 {small, 0, cut(len("Subject: x\r\n\r\nhello\r\n")), ReasonBroken},
		"cut at a line, while it is sent":         {small, 1, cut(7), ReasonBroken},
		"cut within a line, while it is sent":     {small, 1, cut(3), ReasonBroken},
		"nothing is left, while it is sent":       {small, 1, cut(len("Subject: x\r\n\r\nhello\r\n")), ReasonBroken},
		"the last line of many blocks":            {large, 1, cut(72), ReasonBroken},
		"half of many blocks":                     {large, 1, cut(72000), ReasonBroken},
		"an octet of the first of many is other":  {large, 1, func(s string) io.ReadSeeker { return strings.NewReader("s" + s[1:]) }, ReasonBroken},
		"it has grown":                            {small, 1, func(s string) io.ReadSeeker { return strings.NewReader(s + "more\r\n") }, ReasonBroken},
		"the disk fails at the end":               {small, 1, func(s string) io.ReadSeeker { return failing{strings.NewReader(s), errors.New("EIO")} }, "spool-read"},
		"the disk fails before it is looked at":   {small, 0, func(s string) io.ReadSeeker { return failing{strings.NewReader(s), errors.New("EIO")} }, "spool-read"},
		"the disk fails in the middle of a block": {large, 1, func(s string) io.ReadSeeker { return failing{strings.NewReader(s[:40000]), errors.New("EIO")} }, "spool-read"},
	} {
		for _, protocol := range []route.Protocol{route.SMTP, route.LMTP, route.Maildir} {
			sound, dir := c.sound, t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := &server{lmtp: protocol == route.LMTP, ext: []string{"PIPELINING"}}
				j := job(2, "a@example.net", "b@example.net")
				for i := range j.Hops {
					j.Hops[i].Protocol, j.Hops[i].Path = protocol, ""
					if protocol == route.Maildir {
						j.Hops[i].Path = filepath.Join(dir, "mail")
					}
				}
				j.Message = cutMail{c.mail, &sound, c.change}
				r := client(world{first: s, second: s}).Deliver(context.Background(), j)
				if protocol == route.Maildir && c.sound > 0 {
					// The second recipient's copy is read anew, and the second hop's.
					files, err := os.ReadDir(filepath.Join(dir, "mail", "new"))
					left, err2 := os.ReadDir(filepath.Join(dir, "mail", "tmp"))
					if len(files)+len(left) > 0 || errors.Join(err, err2) != nil {
						t.Errorf("%s: %d stored, %d left, %v", name, len(files), len(left), err)
					}
				}
				if len(s.got()) > 0 {
					t.Errorf("%s, %s: the server has %q", name, protocol, s.got())
				}
				for _, one := range r.Results {
					if one.Outcome != Deferred || one.Reason != c.reason && (protocol != route.Maildir || c.reason == ReasonBroken) {
						t.Errorf("%s, %s: %+v", name, protocol, one)
					}
				}
				if strings.Count(s.told(), "DATA") > 1 {
					t.Errorf("%s, %s: tried again at once: %s", name, protocol, s.told())
				}
			})
		}
	}
}

// What goes out ends with the dot exactly where the message is whole.
func TestWholeEndsOnce(t *testing.T) {
	t.Parallel()
	text := []byte("a\r\nb\r\n")
	for cut := range len(text) + 1 {
		c, err := scan(bytes.NewReader(text), 0, int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = stuff(&out, &whole{r: bytes.NewReader(text[:cut]), left: int64(len(text)), want: c.sum}, int64(len(text)))
		if ended := bytes.HasSuffix(out.Bytes(), []byte("\r\n.\r\n")); ended != (cut == len(text)) || (err == nil) != ended {
			t.Errorf("of %d octets: %q, %v", cut, out.Bytes(), err)
		}
	}
}
