package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// Client is the calling end. It is not safe for concurrent use.
type Client struct {
	conn net.Conn
	in   *bufio.Reader
}

// ErrNotRunning is a socket that nobody listens on.
var ErrNotRunning = errors.New("no Postern is running there")

// Dial connects to the socket at path.
func Dial(ctx context.Context, path string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("control socket %s: %w", path, ErrNotRunning)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("control socket %s: permission denied (hint: use root, Postern's own user, or list yours under server.admins)", path)
	case err != nil:
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	return &Client{conn: conn, in: bufio.NewReader(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Call carries out verb and decodes its result, unless result is nil. An
// error of the other side is a *manage.Error.
func (c *Client) Call(ctx context.Context, verb string, args, result any) error {
	q := request{Verb: verb}
	if args != nil {
		b, err := json.Marshal(args)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		q.Args = b
	}
	defer context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })()
	// A refused caller is answered and cut off before it has written: the
	// answer matters more than the broken pipe.
	writeErr := writeLine(c.conn, q)
	var r reply
	if err := readLine(c.in, MaxReply, &r); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			err = errors.Join(errors.New("the server closed the connection"), writeErr)
		}
		return fmt.Errorf("%s: %w", verb, err)
	}
	if r.Error != nil {
		return r.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(r.Result, result); err != nil {
		return fmt.Errorf("%s: decode the result: %w", verb, err)
	}
	return nil
}
