package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"postern/internal/manage"
)

// request is one line from the client.
type request struct {
	Verb string          `json:"verb"`
	Args json.RawMessage `json:"args,omitempty"`
}

// reply is one line to the client: a result or an error.
type reply struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  *manage.Error   `json:"error,omitempty"`
}

// Limits of the codec, in octets of one line.
const (
	MaxRequest = 1 << 20
	MaxReply   = 64 << 20
)

// readLine reads one line of at most limit octets into v.
func readLine(r *bufio.Reader, limit int, v any) error {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return fmt.Errorf("a line of over %d octets", limit)
		}
		line = append(line, part...)
		if err == nil {
			return json.Unmarshal(line, v)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if len(line) > 0 && errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
