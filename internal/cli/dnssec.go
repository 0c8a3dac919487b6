package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/manage"
)

func (e *env) dnssec() *cobra.Command {
	return group("dnssec", "Signed zones", e.dnssecDS(), e.dnssecDisable(), e.dnssecImport(), e.dnssecRoll(), e.dnssecStatus())
}

func (e *env) dnssecStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status [ZONE]",
		Short: "Say how each zone is signed, with which keys, until when, and what happens next",
		Args:  between(0, 1, "one zone, or none for all"),
		RunE: func(c *cobra.Command, args []string) error {
			zones := []manage.SignedZone{}
			if err := e.call(c.Context(), manage.VerbDNSSECStatus, manage.DNSSECArgs{Zone: strings.Join(args, "")}, &zones); err != nil {
				return err
			}
			if err := e.print(zones, func(w io.Writer) { printSigning(w, zones) }); err != nil {
				return err
			}
			if slices.ContainsFunc(zones, manage.SignedZone.Failed) {
				return errFound
			}
			return nil
		},
	}
}

func printSigning(w io.Writer, zones []manage.SignedZone) {
	if len(zones) == 0 {
		fmt.Fprintln(w, "no zones (hint: put NAME.zone into a view's directory)")
	}
	table(w, "", "ZONE\tVIEW\tPOLICY\tKEYS\tPARENT\tSIGNED UNTIL\tWHAT NEXT", len(zones), func(w io.Writer) {
		for _, z := range zones {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", z.Zone, z.View, dash(z.Policy), dash(keyWords(z.Keys)), dash(z.Parent), until(z.Expires), next(z))
		}
	})
	for _, z := range zones {
		for _, a := range z.Alarms {
			fmt.Fprintf(w, "%s %s: %s\n", z.Zone, z.View, a)
		}
	}
}

func keyWords(keys []manage.ZoneKey) string {
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = k.String()
	}
	return strings.Join(all, " ")
}

// next says what happens next with a zone's signatures.
func next(z manage.SignedZone) string {
	switch {
	case z.Failed():
		return fmt.Sprintf("%s: %s; it is tried again every minute", z.Reason, z.Problem)
	case z.Signing == manage.SignedBy && z.Next != "":
		return "next: " + z.Next
	case z.Next != "" && z.Signing == manage.Unsigned:
		return "not signed; next: " + z.Next
	case z.Signing == manage.SignedBy && !z.Renews.IsZero():
		return "next: signatures are made anew on " + z.Renews.Format(time.DateTime)
	case z.Signing == manage.SignedBy:
		return "next: the signatures are looked through"
	case z.Signing == manage.Presigned:
		return "signed by its file: whoever made it signs it anew"
	}
	return "not signed"
}

func (e *env) dnssecDS() *cobra.Command {
	var ref manage.ZoneRef
	c := &cobra.Command{
		Use:   "ds ZONE [--view V]",
		Short: "Print what the registrar is told: DS and DNSKEY",
		Long:  "Print the DS records and the DNSKEY of the keys that a zone shows, for the registrar. Give them to him once every secondary serves the signed zone.",
		Args:  exactly(1, "a zone"),
		RunE: func(c *cobra.Command, args []string) error {
			ref.Zone = args[0]
			var to manage.Delegation
			if err := e.call(c.Context(), manage.VerbDNSSECDS, ref, &to); err != nil {
				return err
			}
			return e.print(to, func(w io.Writer) { printDelegation(w, to) })
		},
	}
	c.Flags().StringVar(&ref.View, "view", "", "the `view`, where they show different keys")
	return c
}

func printDelegation(w io.Writer, to manage.Delegation) {
	for _, k := range to.Keys {
		fmt.Fprint(w, k.Text)
	}
	if to.Wait != "" {
		fmt.Fprintf(w, "; WAIT: %s\n", to.Wait)
	}
	for _, zone := range to.Above {
		fmt.Fprintf(w, "; the DS is derived into zone %s: nobody need be told\n", zone)
	}
	for _, b := range to.Behind {
		fmt.Fprintf(w, "; WAIT: %s: without the signed zone there, a DS makes its answers bogus\n", b)
	}
}

// until is when something ends, if it does.
func until(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(time.DateTime)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
