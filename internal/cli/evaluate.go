package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"

	"postern/internal/dns/resolver"
	"postern/internal/lookup"
	"postern/internal/mail/address"
	"postern/internal/mail/dkim"
	"postern/internal/mail/inspect"
	"postern/internal/mail/message"
	"postern/internal/mail/spf"
	"postern/internal/mail/spool"
	"postern/internal/mail/verdict"
)

// maxEvaluated is how large a message may be that a command evaluates.
const maxEvaluated = 100 << 20

// oneCase is what "postern test" evaluates, from its flags.
type oneCase struct {
	ip, helo, from, message, resolver, now string
}

func (e *env) test() *cobra.Command {
	return group("test", "Evaluate one case, with the DNS and the clock you say", e.testSPF(), e.testDKIM(), e.testDMARC())
}

// flags adds those of the flags that the command knows.
func (o *oneCase) flags(c *cobra.Command, sender, msg bool) {
	if sender {
		c.Flags().StringVar(&o.ip, "ip", "", "the client's `address`")
		c.Flags().StringVar(&o.helo, "helo", "", "the `name` it says it has")
		c.Flags().StringVar(&o.from, "from", "", "the envelope sender's `address`; without it, or <>, the null sender")
	}
	if msg {
		c.Flags().StringVar(&o.message, "message", "", "the `file` of the message; - for standard input")
		c.Flags().StringVar(&o.now, "now", "", "the `time` it is: 2026-08-01T12:00:00Z, or Unix seconds; without it the clock's")
	}
	c.Flags().StringVar(&o.resolver, "resolver", "", "the `address` of the DNS server to ask; without it the first of /etc/resolv.conf")
}

func (e *env) testSPF() *cobra.Command {
	var o oneCase
	c := &cobra.Command{
		Use:   "spf --ip IP [--helo NAME] [--from ADDRESS]",
		Short: "Say whether a host may send for a domain (RFC 7208)",
		Args:  exactly(0, "no arguments; flags say the case"),
		RunE: func(c *cobra.Command, _ []string) error {
			client, from, err := o.sender()
			if err != nil {
				return err
			}
			r, err := o.dns()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), evaluationTime)
			defer cancel()
			results := []spfJSON{jsonOfSPF(spf.CheckHELO(ctx, r, client, o.helo))}
			if o.from != "" && o.from != "<>" {
				results = append(results, jsonOfSPF(spf.CheckMailFrom(ctx, r, client, o.helo, from)))
			}
			if err := e.print(results, func(w io.Writer) { printSPF(w, results) }); err != nil {
				return err
			}
			return wrongUnless(results[len(results)-1].good())
		},
	}
	o.flags(c, true, false)
	return c
}

func (e *env) testDKIM() *cobra.Command {
	var o oneCase
	c := &cobra.Command{
		Use:   "dkim --message FILE",
		Short: "Verify the signatures of a message (RFC 6376)",
		Args:  exactly(0, "no arguments; flags say the case"),
		RunE: func(c *cobra.Command, _ []string) error {
			msg, err := e.readMessage(o.message)
			if err != nil {
				return err
			}
			r, now, err := o.world()
			if err != nil {
				return err
			}
			header, body, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
			ctx, cancel := context.WithTimeout(c.Context(), evaluationTime)
			defer cancel()
			got, err := dkim.Verify(ctx, r, now, append(header, '\r', '\n'), bytes.NewReader(body))
			if err != nil {
				return err
			}
			sigs := jsonOfDKIM(got.Signatures)
			if err := e.print(sigs, func(w io.Writer) { printDKIM(w, sigs) }); err != nil {
				return err
			}
			good := len(sigs) == 0
			for _, s := range sigs {
				good = good || s.Result == dkim.Pass.String()
			}
			return wrongUnless(good)
		},
	}
	o.flags(c, false, true)
	return c
}

func (e *env) testDMARC() *cobra.Command {
	var o oneCase
	c := &cobra.Command{
		Use:   "dmarc --message FILE --ip IP [--helo NAME] [--from ADDRESS]",
		Short: "Say what becomes of a message: SPF, DKIM, and the policy of its author (RFC 9989)",
		Args:  exactly(0, "no arguments; flags say the case"),
		RunE: func(c *cobra.Command, _ []string) error {
			client, from, err := o.sender()
			if err != nil {
				return err
			}
			msg, err := e.readMessage(o.message)
			if err != nil {
				return err
			}
			r, now, err := o.world()
			if err != nil {
				return err
			}
			f, err := evaluate(c.Context(), r, now, client, o.helo, from, msg)
			if err != nil {
				return err
			}
			out := jsonOfFacts(client, f)
			if err := e.print(out, func(w io.Writer) { out.print(w) }); err != nil {
				return err
			}
			return wrongUnless(out.Action == verdict.Accept.String())
		},
	}
	o.flags(c, true, true)
	return c
}

// evaluationTime is that of a message at the door.
const evaluationTime = 20 * time.Second

// evaluate runs a message through what port 25 runs it through.
func evaluate(ctx context.Context, r lookup.Resolver, now time.Time, client netip.Addr, helo string, from address.Address, msg []byte) (_ verdict.Facts, err error) {
	dir, err := os.MkdirTemp("", "postern-test")
	if err != nil {
		return verdict.Facts{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	room, err := spool.Open(spool.Config{Dir: dir, MinFree: -1})
	if err != nil {
		return verdict.Facts{}, err
	}
	defer func() { err = errors.Join(err, room.Close()) }()
	draft, err := room.Create()
	if err != nil {
		return verdict.Facts{}, err
	}
	defer draft.Abort()
	if _, err := draft.Write(msg); err != nil {
		return verdict.Facts{}, err
	}
	h, err := message.Parse(draft.Header())
	if err != nil {
		return verdict.Facts{}, err
	}
	i := inspect.New(inspect.Config{Resolver: r, Rules: inspect.Rules{Checks: verdict.Checks{SPF: true, DKIM: true, DMARC: true}}, Timeout: evaluationTime, Now: func() time.Time { return now }})
	defer func() { err = errors.Join(err, i.Stop(context.WithoutCancel(ctx))) }()
	p := i.Begin(client)
	defer p.Close()
	p.Hello(helo)
	p.Mail(from)
	return p.Await(ctx, draft, h)
}

func wrongUnless(good bool) error {
	if !good {
		return errFound
	}
	return nil
}

func (o *oneCase) sender() (netip.Addr, address.Address, error) {
	var from address.Address
	ip, err := netip.ParseAddr(o.ip)
	if err != nil {
		return ip, from, usageError{fmt.Errorf("--ip %q is not an address (hint: like --ip 192.0.2.1)", o.ip)}
	}
	if o.from != "" && o.from != "<>" {
		if from, err = address.Parse(o.from); err != nil {
			// What SPF says of a sender that no door would take can be asked, too
			// (RFC 7208, Section 4.3).
			at := strings.LastIndexByte(o.from, '@')
			if at < 0 {
				return ip, from, usageError{fmt.Errorf("--from %q: %w", o.from, err)}
			}
			from = address.Address{Local: cmp.Or(o.from[:at], "postmaster"), Domain: strings.ToLower(o.from[at+1:])}
		}
	}
	return ip.Unmap(), from, nil
}

// world is the DNS and the clock.
func (o *oneCase) world() (lookup.Resolver, time.Time, error) {
	now := time.Now()
	if o.now != "" {
		seconds, err := strconv.ParseInt(o.now, 10, 64)
		if now = time.Unix(seconds, 0); err != nil {
			if now, err = time.Parse(time.RFC3339, o.now); err != nil {
				return nil, now, usageError{fmt.Errorf("--now %q is not a time (hint: like 2026-08-01T12:00:00Z)", o.now)}
			}
		}
	}
	r, err := o.dns()
	return r, now, err
}

func (o *oneCase) dns() (lookup.Resolver, error) {
	server := o.resolver
	if server == "" {
		conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil || len(conf.Servers) == 0 {
			return nil, errors.New("no DNS server in /etc/resolv.conf (hint: name one with --resolver)")
		}
		server = conf.Servers[0]
	}
	if ap, err := netip.ParseAddrPort(server); err == nil {
		return resolver.Stub{Server: ap}, nil
	}
	ip, err := netip.ParseAddr(server)
	if err != nil {
		return nil, usageError{fmt.Errorf("--resolver %q is not an address (hint: like 192.0.2.53, or 127.0.0.1:5300)", server)}
	}
	return resolver.Stub{Server: netip.AddrPortFrom(ip, 53)}, nil
}

// readMessage reads a message as a mail program keeps it: with CRLF or LF at the
// end of lines, never both.
func (e *env) readMessage(name string) ([]byte, error) {
	in := e.in
	switch name {
	case "":
		return nil, usageError{errors.New("--message says which message (hint: - for standard input)")}
	case "-":
	default:
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	msg, err := io.ReadAll(io.LimitReader(in, maxEvaluated+1))
	if err != nil {
		return nil, err
	}
	if len(msg) > maxEvaluated {
		return nil, fmt.Errorf("%s is larger than %d octets", name, maxEvaluated)
	}
	if !bytes.Contains(msg, []byte("\r\n")) {
		msg = bytes.ReplaceAll(msg, []byte("\n"), []byte("\r\n"))
	}
	return msg, nil
}
