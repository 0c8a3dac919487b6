package deliver

import (
	"errors"
	"hash/crc32"
	"io"
)

// errCut is a message that is not what it was when it was looked at: its file
// has lost its end, or has changed. It must not go out, for nobody could tell
// half of it from a whole one.
var errCut = errors.New("the message is not whole any more")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// whole reads a message, and gives errCut in place of its end where it is not
// as long as it says, or not what scan has seen.
type whole struct {
	r    io.Reader
	left int64
	sum  uint32
	want uint32
}

func (a *attempt) read() *whole {
	return &whole{r: a.job.Message.Open(), left: a.job.Message.Size(), want: a.content.sum}
}

// Read implements io.Reader.
func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.left -= int64(n)
	w.sum = crc32.Update(w.sum, castagnoli, p[:n])
	if errors.Is(err, io.EOF) && (w.left != 0 || w.sum != w.want) {
		err = errCut
	}
	return n, err
}
