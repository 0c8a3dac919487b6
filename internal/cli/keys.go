package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/dns/keyring"
	"postern/internal/manage"
)

func (e *env) dnssecRoll() *cobra.Command {
	var a manage.RollArgs
	c := &cobra.Command{
		Use:   "roll ZONE",
		Short: "Replace keys of a zone: all, or those that are named",
		Long: "Begin to replace keys of a zone. It takes days: each step waits until no cache can hold what was before, " +
			"and an old key that the parent points at goes only when the DS of the new one was seen there.",
		Args: exactly(1, "a zone"),
		RunE: func(c *cobra.Command, args []string) error {
			a.Zone = args[0]
			return e.keysOrder(c, manage.VerbDNSSECRoll, a)
		},
	}
	c.Flags().BoolVar(&a.KSK, "ksk", false, "those that the parent points at")
	c.Flags().BoolVar(&a.ZSK, "zsk", false, "those that sign the zone")
	c.Flags().StringVar(&a.Algorithm, "algorithm", "", "change all keys to this `algorithm`, which the policy has already")
	c.Flags().BoolVar(&a.Compromised, "compromised", false, "the old keys are not to be trusted: they go as soon as caches allow")
	return c
}

func (e *env) dnssecDisable() *cobra.Command {
	var a manage.DisableArgs
	c := &cobra.Command{
		Use:   "disable ZONE",
		Short: "Let a zone go insecure: first its DS at the parent, then its signatures",
		Long: "Ask the parent for no DS, wait until nobody can have one any more, and then serve the zone unsigned. " +
			"Take the policy off the zone in the configuration after that.",
		Args: exactly(1, "a zone"),
		RunE: func(c *cobra.Command, args []string) error {
			a.Zone = args[0]
			return e.keysOrder(c, manage.VerbDNSSECDisable, a)
		},
	}
	c.Flags().BoolVar(&a.Undo, "undo", false, "sign the zone on, or again")
	return c
}

// keysOrder carries out an order and shows how the zone stands then.
func (e *env) keysOrder(c *cobra.Command, verb string, args any) error {
	zones := []manage.SignedZone{}
	if err := e.call(c.Context(), verb, args, &zones); err != nil {
		return err
	}
	return e.print(zones, func(w io.Writer) { printSigning(w, zones) })
}

func (e *env) dnssecImport() *cobra.Command {
	var a manage.ImportArgs
	c := &cobra.Command{
		Use:   "import ZONE KEYFILE...",
		Short: "Take over the keys that BIND or Knot signs a zone with",
		Long: "Take over keys of another server: of BIND any of K*.private, K*.key and K*.state, of Knot keys/*.pem with the output of \"keymgr -e ZONE list\". " +
			"With --adopt the zone goes on as it is: caches may know the keys, and the parent may point at them.",
		Args: between(2, -1, "a zone, and files of keys"),
		RunE: func(c *cobra.Command, args []string) error {
			sources, err := keyring.ReadSources(args[1:]...)
			if err != nil {
				return fmt.Errorf("dnssec import: %w (hint: BIND has K*.private beside K*.key, Knot keys/*.pem)", err)
			}
			a.Zone = args[0]
			for _, s := range sources {
				a.Files = append(a.Files, manage.KeyFile{Name: s.Name, Text: s.Text.Reveal()})
			}
			var done manage.Imported
			if err := e.call(c.Context(), manage.VerbDNSSECImport, a, &done); err != nil {
				return err
			}
			return e.print(done, func(w io.Writer) { printImported(w, done) })
		},
	}
	c.Flags().BoolVar(&a.Adopt, "adopt", false, "the zone is signed with these keys already")
	return c
}

func printImported(w io.Writer, done manage.Imported) {
	if len(done.Keys) == 0 {
		fmt.Fprintln(w, "these keys are here already")
	} else {
		fmt.Fprintf(w, "%s has now %s\n", done.Zone, keyWords(done.Keys))
	}
	if done.Policy != "" {
		fmt.Fprintf(w, "write this into the configuration, so that the policy is as the keys are:\n\n%s\n", strings.TrimSpace(done.Policy))
	}
	if len(done.Zones) > 0 {
		printSigning(w, done.Zones)
	}
}
