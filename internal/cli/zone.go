package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"postern/internal/manage"
)

func (e *env) zone() *cobra.Command {
	return group("zone", "Zones", e.zoneApply(), e.zoneCheck(), e.zoneExport(), e.zoneHistory(), e.zoneList(), e.zonePlan(), e.zoneRemove(), e.zoneRollback())
}

func (e *env) zoneExport() *cobra.Command {
	var ref manage.ZoneRef
	c := &cobra.Command{
		Use:   "export ZONE [--view V]",
		Short: "Print a zone as it is served",
		Args:  exactly(1, "a zone"),
		RunE: func(c *cobra.Command, args []string) error {
			ref.Zone = args[0]
			return e.text(c, manage.VerbZoneExport, ref)
		},
	}
	c.Flags().StringVar(&ref.View, "view", "", "the `view`, where several have the zone")
	return c
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
