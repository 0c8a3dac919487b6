package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"postern/config"
)

// Options is what the command line says.
type Options struct {
	Config    string // path; "" runs the demo
	Invoked   string // how the command was called; "" for postern
	Version   string
	Stderr    io.Writer // log, problems and the line "ready"
	JSON      bool      // log in JSON
	TestKnobs bool
	TestClock string // path of a file of Unix seconds; "" for the machine's clock

	// Hashing is the program, and its arguments, that comes to argon.Serve. nil:
	// passwords are hashed in this process.
	Hashing []string
}

// stopWithin is how long a stop may take: CONTRACT.md promises five seconds.
const stopWithin = 4500 * time.Millisecond

// ErrConfig is a configuration that cannot be used; its problems have been
// printed.
var ErrConfig = errors.New("the configuration cannot be used")

// Run runs the appliance until ctx ends. It prints "ready" when every part
// works.
func Run(ctx context.Context, o Options) error {
	cfg, err := o.load()
	if err != nil {
		return err
	}
	if o.Config != "" { // named in full from here on: whoever asks may stand elsewhere
		if o.Config, err = filepath.Abs(o.Config); err != nil {
			return err
		}
	}
	a, err := newApp(o, cfg)
	if err != nil {
		return err
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	err = a.start(ctx)
	if err == nil {
		if o.Config == "" {
			greetDemo(o.Stderr, o.Invoked)
		}
		fmt.Fprintln(o.Stderr, "ready")
		a.wait(ctx, hangup)
	}
	// Background: the run's context has ended, and stopping needs time.
	stop, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	stopErr := a.stop(stop)
	if ctx.Err() != nil && err != nil && errors.Is(err, context.Canceled) {
		err = nil // told to stop while starting
	}
	return errors.Join(err, stopErr)
}

// wait waits for the end, and reloads on request meanwhile.
func (a *App) wait(ctx context.Context, hangup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			a.log.Info("stopping")
			return
		case <-hangup:
			_, _ = a.reload(ctx) // it has logged what is wrong
		}
	}
}

// load reads the configuration and prints its problems.
func (o Options) load() (*config.Checked, error) {
	c, problems := LoadConfig(o.Config, o.TestKnobs)
	for _, p := range problems {
		fmt.Fprintln(o.Stderr, p.String())
	}
	if config.Failed(problems) || c == nil {
		return nil, ErrConfig
	}
	return c, nil
}

// LoadConfig reads a configuration file as serve does; "" is the demo's.
func LoadConfig(path string, testKnobs bool) (*config.Checked, []config.Problem) {
	if path == "" {
		return demoConfig()
	}
	return config.Options{TestKnobs: testKnobs, OwnAddrs: interfaceAddrs()}.Load(path)
}

// logger writes one line an event, and remembers the bad ones for status.
func (o Options) logger(f *failures) *slog.Logger {
	var h slog.Handler
	if o.JSON {
		h = slog.NewJSONHandler(o.Stderr, nil)
	} else {
		h = slog.NewTextHandler(o.Stderr, nil)
	}
	return slog.New(f.remember(h))
}

// clock is what tells the time.
func (o Options) clock() (func() time.Time, error) {
	if o.TestClock == "" {
		return time.Now, nil
	}
	path, err := filepath.Abs(o.TestClock)
	if err != nil {
		return nil, err
	}
	c, err := openTestClock(path)
	if err != nil {
		return nil, err
	}
	return c.Now, nil
}
