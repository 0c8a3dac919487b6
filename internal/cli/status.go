package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/manage"
)

func (e *env) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the running server on one screen",
		Args:  exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			var s manage.Status
			if err := e.call(c.Context(), manage.VerbStatus, nil, &s); err != nil {
				return err
			}
			if err := e.print(s, func(w io.Writer) { printStatus(w, s) }); err != nil {
				return err
			}
			if !s.Ready || !allGood(s.Zones) || slices.ContainsFunc(s.Faults, isError) || slices.ContainsFunc(s.Secondaries, isLost) || slices.ContainsFunc(s.Recipients, isUnknowing) {
				return errFound
			}
			return nil
		},
	}
}

// allGood reports whether every zone is served as its file says, or as an
// operator wants it: one that waits for zone apply because everything does, or
// was rolled back, is not wrong. Of a secondary zone a primary must have said so.
func allGood(zones []manage.Zone) bool {
	return !slices.ContainsFunc(zones, func(z manage.Zone) bool {
		return z.State != "ok" && z.Reason != "planned" && z.Reason != "pinned" || z.Upstream != nil && z.Upstream.State != manage.UpstreamFresh ||
			z.Lists != nil && (z.Lists.Broken != "" || len(z.Lists.Refused)+len(z.Lists.Held) > 0)
	})
}

// isLost is a secondary that somebody should look after. One that lags may have
// been told a second ago; one that was not asked yet will be.
func isLost(s manage.Secondary) bool { return s.State == manage.SecondaryUnreachable }

// isUnknowing is a domain whose recipients are not known as configured.
func isUnknowing(r manage.Recipients) bool {
	return r.State == manage.RecipientsAnything || r.State == manage.RecipientsSilent || r.State == manage.RecipientsStale || r.State == manage.RecipientsEvasive
}

func isError(fault string) bool { return strings.Contains(fault, ": ERR ") }

func printStatus(w io.Writer, s manage.Status) {
	state := "ready"
	if !s.Ready {
		state = "NOT READY: " + s.NotReady
	}
	if s.Test {
		state += "  TEST: test knobs are on"
	}
	fmt.Fprintf(w, "%s  postern %s  config %s  up since %s  %s\n", s.Hostname, s.Version, s.Config, s.Started.Format(time.DateTime), state)
	table(w, "\nLISTENERS", "SERVE\tTRANSPORT\tADDRESS", len(s.Listeners), func(w io.Writer) {
		for _, l := range s.Listeners {
			fmt.Fprintf(w, "%s\t%s\t%s\n", l.Serve, l.Transport, l.Address)
		}
	})
	printZones(w, s.Zones)
	printSecondaries(w, s)
	for _, f := range s.Faults {
		fmt.Fprintf(w, "  %s\n", f)
	}
	fmt.Fprintf(w, "\nQUEUE  mode %s, %d active, %d waiting, %d held\n", s.Queue.Mode, s.Queue.Active, s.Queue.Waiting, s.Queue.Held)
	table(w, "\nRECIPIENTS", "DOMAIN\tKNOWN BY\tSTATE\tKNOWN", len(s.Recipients), func(w io.Writer) {
		for _, r := range s.Recipients {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", r.Domain, r.Mode, r.State, r.Known)
		}
	})
	for _, c := range s.Certificates {
		fmt.Fprintf(w, "\nCERTIFICATE  %s, from %s, until %s\n", strings.Join(c.Names, " "), c.Issuer, c.Until.Format(time.DateOnly))
	}
	if len(s.Failures) > 0 {
		fmt.Fprintf(w, "\nLAST FAILURES\n")
	}
	for _, f := range s.Failures {
		fmt.Fprintf(w, "%s %s %s\n", f.At.Format(time.DateTime), f.Level, shortened(f.Text))
	}
}

// shortened cuts a line of the log that would fill the screen by itself; the
// log and --json have all of it.
func shortened(text string) string {
	const most = 300
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " ..."
}

func printZones(w io.Writer, zones []manage.Zone) {
	table(w, "\nZONES", "ZONE\tVIEW\tFILE SERIAL\tSERVED\tRECORDS\tSTATE\tSINCE\tSIGNED UNTIL\tDS", len(zones), func(w io.Writer) {
		for _, z := range zones {
			state := z.State
			if z.Reason != "" && z.Reason != state {
				state += " (" + z.Reason + ")"
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", z.Zone, z.View, z.FileSerial, z.Serial, z.Records, state, z.Since.Format(time.DateTime), until(z.SignedUntil), dash(z.Parent))
		}
	})
	printUpstreams(w, zones)
	printCatalogs(w, zones)
	for _, z := range zones {
		if z.Dynamic > 0 {
			fmt.Fprintf(w, "  zone %s view %s: updates changed %d sets of the file's (postern zone export %[1]s --view %[2]s --dynamic)\n", z.Zone, z.View, z.Dynamic)
		}
	}
	const few = 5 // of a zone: the rest is not for one screen
	for _, z := range zones {
		for _, p := range z.Problems[:min(few, len(z.Problems))] {
			fmt.Fprintf(w, "  %s\n", p)
		}
		if more := len(z.Problems) - few; more > 0 {
			fmt.Fprintf(w, "  and %d more of zone %s", more, z.Zone)
			if z.File != "" {
				fmt.Fprintf(w, ": postern zone check %s", z.File)
			}
			fmt.Fprintln(w)
		}
	}
}

// printUpstreams shows how secondary zones stand with their primaries.
func printUpstreams(w io.Writer, zones []manage.Zone) {
	zones = slices.DeleteFunc(slices.Clone(zones), func(z manage.Zone) bool { return z.Upstream == nil })
	when := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Format(time.DateTime)
	}
	table(w, "\nSECONDARY ZONES", "ZONE\tVIEW\tCATALOG\tPRIMARY\tSERIAL\tCHECKED\tNEXT\tEXPIRES\tSTATE", len(zones), func(w io.Writer) {
		for _, z := range zones {
			u := z.Upstream
			primary, serial, state := "-", "-", string(u.State)
			if u.Primary != "" {
				primary = u.Primary + " " + u.Address
			}
			if !u.Expires.IsZero() {
				serial = fmt.Sprint(u.Serial)
			}
			if u.Running != "" {
				state += ", " + u.Running + " runs"
			}
			if u.Reason != "" {
				state += ": " + u.Reason
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", z.Zone, z.View, cmp.Or(z.Catalog, "-"), primary, serial, when(u.Checked), when(u.Next), when(u.Expires), state)
		}
	})
}

// printCatalogs shows the zones that list zones, and what is wrong with them.
func printCatalogs(w io.Writer, zones []manage.Zone) {
	zones = slices.DeleteFunc(slices.Clone(zones), func(z manage.Zone) bool { return z.Lists == nil })
	table(w, "\nCATALOGS", "CATALOG\tVIEW\tOF\tZONES\tSTATE", len(zones), func(w io.Writer) {
		for _, z := range zones {
			c := z.Lists
			of, state := "others", "ok"
			if c.Made {
				of = "us"
			}
			switch {
			case c.Broken != "":
				state = "broken: " + c.Broken
			case !c.Known:
				state = "not known: what followed from it stays"
			case len(c.Held) > 0:
				state = fmt.Sprintf("%d zones go only when that is accepted", len(c.Held))
			case len(c.Refused) > 0:
				state = fmt.Sprintf("%d zones refused", len(c.Refused))
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", z.Zone, z.View, of, c.Members, state)
		}
	})
	const few = 5
	for _, z := range zones {
		if held := z.Lists.Held; len(held) > 0 {
			fmt.Fprintf(w, "  catalog %s lists no more, or with another label: %s", z.Zone, strings.Join(held[:min(few, len(held))], " "))
			if more := len(held) - few; more > 0 {
				fmt.Fprintf(w, " and %d more", more)
			}
			fmt.Fprintf(w, " (if it is meant: postern zone apply %s --accept loses-zones --reason TEXT)\n", z.Zone)
		}
		for _, r := range z.Lists.Refused[:min(few, len(z.Lists.Refused))] {
			fmt.Fprintf(w, "  catalog %s: %s\n", z.Zone, r)
		}
		if more := len(z.Lists.Refused) - few; more > 0 {
			fmt.Fprintf(w, "  catalog %s: and %d more\n", z.Zone, more)
		}
	}
}

// printSecondaries shows who has which serial; one that cannot be asked has no
// more to say than why.
func printSecondaries(w io.Writer, s manage.Status) {
	table(w, "\nSECONDARIES", "ZONE\tVIEW\tPEER\tADDRESS\tSERIAL\tSTATE", len(s.Secondaries), func(w io.Writer) {
		for _, x := range s.Secondaries {
			serial, state := "-", string(x.State)
			if !x.Asked.IsZero() {
				serial = fmt.Sprint(x.Serial)
			}
			if !x.Since.IsZero() {
				state += " since " + x.Since.Format(time.DateTime)
			}
			if x.Reason != "" {
				state += ": " + x.Reason
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", x.Zone, x.View, x.Peer, x.Address, serial, state)
		}
	})
}

// table prints a title and aligned columns; nothing when there are no rows.
func table(w io.Writer, title, head string, rows int, body func(io.Writer)) {
	if rows == 0 {
		return
	}
	if title != "" {
		fmt.Fprintln(w, title)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	body(t)
	_ = t.Flush() // w reports its own errors
}

func (e *env) reload() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Read the configuration and the zones again",
		Long:  "Read the configuration and the zones again. Everything new is prepared first, then swapped; if anything is wrong nothing changes and it says why.",
		Args:  exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			var r manage.ReloadReport
			if err := e.call(c.Context(), manage.VerbReload, nil, &r); err != nil {
				return err
			}
			if err := e.print(r, func(w io.Writer) { printReload(w, r) }); err != nil {
				return err
			}
			if len(r.Kept) > 0 {
				return errFound
			}
			return nil
		},
	}
}

func printReload(w io.Writer, r manage.ReloadReport) {
	for _, c := range r.Changes {
		fmt.Fprintln(w, c)
	}
	for _, k := range r.Kept {
		fmt.Fprintln(w, k)
	}
	if len(r.Changes)+len(r.Kept) == 0 {
		fmt.Fprintln(w, "nothing changed")
	}
}
