package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/manage"
)

func (e *env) zone() *cobra.Command {
	return group("zone", "Zones", e.zoneApply(), e.zoneCheck(), e.zoneCompare(), e.zoneExport(), e.zoneHistory(), e.zoneList(), e.zoneNotify(), e.zonePlan(), e.zoneRemove(), e.zoneRetransfer(), e.zoneRollback())
}

func (e *env) zoneExport() *cobra.Command {
	var a manage.ExportArgs
	c := &cobra.Command{
		Use:   "export ZONE [--view V] [--signed|--dynamic]",
		Short: "Print a zone as it is served, without what signing it made",
		Args:  exactly(1, "a zone"),
		RunE: func(c *cobra.Command, args []string) error {
			a.Zone = args[0]
			if a.Signed && a.Dynamic {
				return usageError{fmt.Errorf("zone export: --signed or --dynamic, not both (hint: updates are signed with the zone)")}
			}
			return e.export(c, a)
		},
	}
	c.Flags().StringVar(&a.View, "view", "", "the `view`, where several have the zone")
	c.Flags().BoolVar(&a.Dynamic, "dynamic", false, "only what updates changed, and what the file has instead")
	c.Flags().BoolVar(&a.Signed, "signed", false, "with what signing it made: keys, signatures, proofs and digest")
	return c
}

func (e *env) export(c *cobra.Command, a manage.ExportArgs) error {
	text, err := inPages(a, func(a manage.ExportArgs) (p manage.ZonePage, err error) {
		return p, e.call(c.Context(), manage.VerbZoneExport, a, &p)
	})
	if err != nil {
		return err
	}
	return e.print(manage.Text{Text: text}, func(w io.Writer) { _, _ = io.WriteString(w, text) })
}

// inPages asks for a zone page by page; one that changes meanwhile, again from
// the beginning.
func inPages(of manage.ExportArgs, ask func(manage.ExportArgs) (manage.ZonePage, error)) (string, error) {
	const tries = 5
	for range tries {
		var all strings.Builder
		var first uint32
		for a := of; ; {
			p, err := ask(a)
			if err != nil {
				return "", err
			}
			if a.From == "" {
				first = p.Serial
			}
			if p.Serial != first {
				break
			}
			all.WriteString(p.Text)
			if a.From = p.Next; p.Next == "" {
				return all.String(), nil
			}
		}
	}
	return "", fmt.Errorf("zone export: %s changed each of the %d times that it was read (hint: try again when less happens)", of.Zone, tries)
}

func (e *env) zoneList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the zones and how each stands",
		Args:  exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			zones := []manage.Zone{}
			if err := e.call(c.Context(), manage.VerbZoneList, nil, &zones); err != nil {
				return err
			}
			return e.print(zones, func(w io.Writer) {
				if len(zones) == 0 {
					fmt.Fprintln(w, "no zones (hint: put NAME.zone into a view's directory)")
				}
				printZones(w, zones)
			})
		},
	}
}

func (e *env) zoneNotify() *cobra.Command {
	var a manage.NotifyArgs
	c := &cobra.Command{
		Use:   "notify [ZONE] [--view V]",
		Short: "Tell secondaries what is served, and ask them what they have",
		Long:  "Send NOTIFY to the secondaries of a zone, or of all, and ask each for its serial until it has the one that is served. It does not wait for them: postern status shows how they stand.",
		Args:  between(0, 1, "one zone, or none for all"),
		RunE: func(c *cobra.Command, args []string) error {
			a.Zone = strings.Join(args, "")
			told := []manage.Notified{}
			if err := e.call(c.Context(), manage.VerbZoneNotify, a, &told); err != nil {
				return err
			}
			return e.print(told, func(w io.Writer) {
				for _, n := range told {
					fmt.Fprintf(w, "zone %s view %s: serial %d is told to %s\n", n.Zone, n.View, n.Serial, strings.Join(n.Peers, ", "))
				}
			})
		},
	}
	c.Flags().StringVar(&a.View, "view", "", "the `view`, where only one is meant")
	return c
}

func (e *env) zoneRetransfer() *cobra.Command {
	var a manage.RetransferArgs
	c := &cobra.Command{
		Use:   "retransfer ZONE [--view V]",
		Short: "Fetch a secondary zone whole from its primaries, whatever serial they have",
		Long:  "Fetch a secondary zone whole from its primaries, also where their serial is not ahead of what is here: after a primary was set back, say. It does not wait for them: postern status shows what comes of it.",
		Args:  exactly(1, "a zone"),
		RunE: func(c *cobra.Command, args []string) error {
			a.Zone = args[0]
			begun := []manage.Retransferred{}
			if err := e.call(c.Context(), manage.VerbZoneRetransfer, a, &begun); err != nil {
				return err
			}
			return e.print(begun, func(w io.Writer) {
				for _, z := range begun {
					has := "nothing is here yet"
					if z.Serial != 0 {
						has = fmt.Sprintf("serial %d is here", z.Serial)
					}
					fmt.Fprintf(w, "zone %s view %s: is being transferred whole; %s\n", z.Zone, z.View, has)
				}
			})
		},
	}
	c.Flags().StringVar(&a.View, "view", "", "the `view`, where only one is meant")
	return c
}
