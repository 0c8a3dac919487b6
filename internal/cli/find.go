package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"postern/config"
	"postern/internal/control"
)

// Where a server is looked for when --config does not say.
const (
	demoSocket    = "var/control.sock"
	defaultConfig = "/etc/postern/postern.toml"
)

// dial connects to the running server.
func (e *env) dial(ctx context.Context) (*control.Client, error) {
	socket, err := e.socket()
	if err != nil {
		return nil, err
	}
	c, err := control.Dial(ctx, socket)
	if errors.Is(err, control.ErrNotRunning) {
		if c, _ := e.load(true); c == nil { // then the socket may have been misread too
			return nil, fmt.Errorf("%w (hint: postern config check: the configuration has problems)", err)
		}
		return nil, fmt.Errorf("%w (hint: start it with postern serve, or name its configuration with --config)", err)
	}
	return c, err
}

// socket is the control socket of the server that is meant.
func (e *env) socket() (string, error) {
	if e.config != "" {
		return socketOf(e.config)
	}
	// The demo's socket tells that a demo runs, or ran, here.
	if _, err := os.Stat(demoSocket); err == nil {
		return filepath.Abs(demoSocket)
	}
	if _, err := os.Stat(defaultConfig); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("found neither ./%s nor %s (hint: start postern serve here, or use --config)", demoSocket, defaultConfig)
	}
	return socketOf(defaultConfig)
}

// socketOf reads where the control socket lies. Problems elsewhere in the file
// do not matter for that: the running server has its own, working copy.
func socketOf(path string) (string, error) { return config.ControlPath(path) }

// call asks the running server and decodes into result.
func (e *env) call(ctx context.Context, verb string, args, result any) error {
	c, err := e.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Call(ctx, verb, args, result)
}
