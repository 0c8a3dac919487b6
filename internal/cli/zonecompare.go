package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/manage"
)

func (e *env) zoneCompare() *cobra.Command {
	var a manage.CompareArgs
	c := &cobra.Command{
		Use:   "compare ZONE --against @SERVER [--view V] [--key NAME] [--signed]",
		Short: "Show what a zone has beside the same zone on another server, record by record",
		Long: `Show what a zone, as it is served here, has beside the same zone on another
server: before a move, or where a secondary is doubted. The running server asks,
from dns.source. SERVER is an address, with a port if it is not 53, or a host's
name, whose first address is taken.

The zone is transferred. Where the other server gives no transfer, it is asked,
by UDP and TCP, for every set that is here, for common types at the same names,
and for some names that nobody likes to forget; what it has elsewhere is not
seen then. At most 1,000,000 records or 20,000 questions, four minutes, one
comparison at a time; of each kind of difference the first 1,000 are listed.

The serial, and what signing makes (keys, signatures, proofs, digest), are told
apart and are no difference, but with --signed, which needs a transfer. It exits
with 0 where both hold the same, and with 1 where they do not or where that is
not known.`,
		Args: exactly(1, "a zone"),
		RunE: func(c *cobra.Command, args []string) error {
			a.Zone = args[0]
			if a.Against == "" {
				return usageError{fmt.Errorf("zone compare: say with whom (hint: --against @192.0.2.53, the other server)")}
			}
			server, err := e.serverOf(c.Context(), strings.TrimPrefix(a.Against, "@"))
			if err != nil {
				return err
			}
			a.Against = server
			var found manage.Comparison
			if err := e.call(c.Context(), manage.VerbZoneCompare, a, &found); err != nil {
				return err
			}
			if err := e.print(found, func(w io.Writer) { printComparison(w, found) }); err != nil {
				return err
			}
			if !found.Equal {
				return errFound
			}
			return nil
		},
	}
	c.Flags().StringVar(&a.Against, "against", "", "the other `server`: @ADDRESS, @ADDRESS:PORT or @HOST")
	c.Flags().StringVar(&a.View, "view", "", "the `view`, where several have the zone")
	c.Flags().StringVar(&a.Key, "key", "", "sign what is asked with the TSIG key of this `name`, and want the answers signed")
	c.Flags().BoolVar(&a.Signed, "signed", false, "compare what signing made too: keys, signatures, proofs and digest")
	return c
}

// serverOf looks a host's name up; an address is left as it is.
func (e *env) serverOf(ctx context.Context, text string) (string, error) {
	if _, err := netip.ParseAddrPort(text); err == nil {
		return text, nil
	}
	if _, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return text, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = text, "53"
	}
	if host == "" || strings.ContainsAny(host, "@/: ") {
		return "", usageError{fmt.Errorf("--against %q: neither an address nor a host's name (hint: such as @192.0.2.53, @[2001:db8::53]:5353 or @ns1.city.example)", text)}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", fmt.Errorf("--against %q: %w (hint: give its address)", text, err)
	}
	return net.JoinHostPort(addrs[0].Unmap().String(), port), nil
}

func printComparison(w io.Writer, c manage.Comparison) {
	view := ""
	if c.View != "" {
		view = " view " + c.View
	}
	how := "by transfer"
	if !c.Transfer {
		how = fmt.Sprintf("by %d questions", c.Asked)
	}
	fmt.Fprintf(w, "zone %s%s: serial %d here, %d at %s, seen %s\n", c.Zone, view, c.HereSerial, c.ThereSerial, c.Against, how)
	for _, t := range []struct {
		sign   string
		listed []string
		all    int
	}{{"here ", c.Here, c.OnlyHere}, {"there", c.There, c.OnlyThere}} {
		printRecords(w, t.sign, t.listed, t.all)
	}
	for _, t := range c.TTLs {
		fmt.Fprintf(w, "  TTL   %s %s: %d here, %d there\n", t.Owner, t.Type, t.Here, t.There)
	}
	if more := c.OtherTTLs - len(c.TTLs); more > 0 {
		fmt.Fprintf(w, "  TTL   and %d more\n", more)
	}
	for _, o := range c.Open {
		fmt.Fprintf(w, "  ?     %s\n", o)
	}
	fmt.Fprintf(w, "%d records only here, %d only there, %d sets with another TTL, %d records alike\n", c.OnlyHere, c.OnlyThere, c.OtherTTLs, c.Same)
	if c.HereMade.Records+c.ThereMade.Records > 0 {
		fmt.Fprintf(w, "signing, not compared: %s here, %s there\n", madeBy(c.HereMade), madeBy(c.ThereMade))
	}
	if !c.Transfer {
		fmt.Fprintf(w, "no transfer (%s): what is only there, at names that are not here, was not seen\n", c.NotTransfer)
	}
	if c.Unseen > 0 {
		fmt.Fprintf(w, "%d records here are not known there: below a delegation, or not answered\n", c.Unseen)
	}
}

func madeBy(m manage.SigningMade) string {
	if m.Records == 0 {
		return "none"
	}
	text := fmt.Sprintf("%d records", m.Records)
	if len(m.Keys) > 0 {
		text += " with " + strings.Join(m.Keys, " ")
	}
	return text
}
