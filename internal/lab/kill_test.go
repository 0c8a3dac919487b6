package lab_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/lab"
)

// TestKill9LosesNothing: users submit without pause while the process is
// killed again and again; what got a 250 arrives at Beta at least once.
func TestKill9LosesNothing(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		const between, submitters = 25, 3
		kills := 3
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			kills = 15
		}
		in := tree(l, "")
		beta := betaPostfix(l)
		edge := alphaPostern(l, in)
		edge.AddUser("ann@alpha.lab", password)

		taken := make(chan string, 1000) // subjects that got a 250
		stop := make(chan struct{})
		var users sync.WaitGroup
		for n := range submitters {
			users.Go(func() {
				s := submitter{name: fmt.Sprintf("u%d", n), from: fmt.Sprintf("203.0.113.%d", 200+n), taken: taken}
				s.run(stop)
			})
		}
		var promised []string
		gather := func(n int) {
			late := time.After(20 * time.Second)
			for range n {
				select {
				case subject := <-taken:
					promised = append(promised, subject)
				case <-late:
					t.Fatalf("only %d mails taken", len(promised))
				}
			}
		}
		for range kills {
			gather(between)
			edge.Kill9()
			edge.Start()
		}
		gather(between)
		close(stop)
		users.Wait()
		close(taken)
		for subject := range taken {
			promised = append(promised, subject)
		}

		l.Eventually("every promised mail arrives", func() error {
			arrived := map[string]bool{}
			for _, m := range beta.All() {
				arrived[m.Header("Subject")] = true
			}
			var missing []string
			for _, subject := range promised {
				if !arrived[subject] {
					missing = append(missing, subject)
				}
			}
			if len(missing) > 0 {
				return fmt.Errorf("%d of %d are missing: %s\n%s", len(missing), len(promised), strings.Join(missing, " "), edge.Run("queue", "list"))
			}
			return nil
		})
		t.Logf("%d promised, %d delivered, %d kills", len(promised), beta.Len(), kills)
	})
}

// submitter is a user's program that sends one mail after the other, and
// connects again whenever that fails.
type submitter struct {
	name, from string
	taken      chan<- string
	count      int
}

func (s *submitter) run(stop <-chan struct{}) {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		// Whatever ended the session, the next one tells whether it matters.
		_ = s.session(stop)
		select {
		case <-stop:
			return
		case <-again.C:
		}
	}
}

// session sends mails over one connection until that breaks.
func (s *submitter) session(stop <-chan struct{}) error {
	dialer := &tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.from)}},
		Config:    &tls.Config{InsecureSkipVerify: true, ServerName: "edge.alpha.lab"},
	}
	conn, err := dialer.Dial("tcp", alphaMX+":465")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	client, err := smtp.NewClient(conn, "edge.alpha.lab")
	if err != nil {
		return err
	}
	if err := client.Auth(smtp.PlainAuth("", "ann@alpha.lab", password, "edge.alpha.lab")); err != nil {
		return err
	}
	for {
		select {
		case <-stop:
			return client.Quit()
		default:
		}
		s.count++
		subject := fmt.Sprintf("%s-%d", s.name, s.count)
		if err := send(client, subject); err != nil {
			return err
		}
		s.taken <- subject
	}
}

// send returns nil only after the 250 of the message.
func send(client *smtp.Client, subject string) error {
	if err := errors.Join(client.Mail("ann@alpha.lab"), client.Rcpt("bob@beta.lab")); err != nil {
		return err
	}
	data, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(data, "From: ann@alpha.lab\r\nTo: bob@beta.lab\r\nSubject: %s\r\n\r\n%s", subject, strings.Repeat("All work and no play.\r\n", 100)); err != nil {
		return err
	}
	return data.Close()
}
