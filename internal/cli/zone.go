package cli

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"postern/internal/dns/authority"
	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
	"postern/internal/manage"
)

func (e *env) zone() *cobra.Command {
	return group("zone", "Zones", e.zoneApply(), e.zoneCheck(), e.zoneExport(), e.zoneHistory(), e.zoneList(), e.zonePlan(), e.zoneRemove(), e.zoneRollback())
}

func (e *env) zoneCheck() *cobra.Command {
	var origin string
	c := &cobra.Command{
		Use:   "check FILE…",
		Short: "Show every problem of zone files, as FILE:LINE:COL: SEVERITY CODE message (hint)",
		Long:  "Show every problem of zone files. The zone's name is the file's, NAME.zone, unless --origin says otherwise. Works without a running server.",
		Args:  between(1, -1, "zone files"),
		RunE: func(_ *cobra.Command, files []string) error {
			problems := []zonefile.Problem{}
			for _, file := range files {
				found, err := checkZone(file, origin)
				if err != nil {
					return err
				}
				problems = append(problems, found...)
			}
			bad := false
			for _, p := range problems {
				bad = bad || p.Severity == zonefile.ERR
			}
			err := e.print(problems, func(w io.Writer) {
				for _, p := range problems {
					fmt.Fprintln(w, p.String())
				}
				if !bad {
					fmt.Fprintf(w, "%d file(s) can be served\n", len(files))
				}
			})
			if err == nil && bad {
				err = errFound
			}
			return err
		},
	}
	c.Flags().StringVar(&origin, "origin", "", "the zone's `name`, where the file is not NAME.zone")
	return c
}

func checkZone(file, origin string) ([]zonefile.Problem, error) {
	zone, err := authority.ZoneOfFile(filepath.Base(file))
	if origin != "" {
		zone, err = name.Parse(origin)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: which zone is it? %w (hint: name the file NAME.zone, or use --origin)", file, err)}
	}
	_, problems := authority.CheckFile(file, zone)
	return problems, nil
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
