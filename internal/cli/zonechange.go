package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/manage"
)

func (e *env) zonePlan() *cobra.Command {
	return &cobra.Command{
		Use:   "plan [ZONE]",
		Short: "Show which changes wait to be applied, record by record",
		Long:  "Show which changes of zone files wait to be applied, and why: under apply = \"manual\" all, else those that are too large or lose name servers, mail or addresses.",
		Args:  between(0, 1, "one zone, or none for all"),
		RunE: func(c *cobra.Command, args []string) error {
			var plans manage.ZonePlans
			if err := e.call(c.Context(), manage.VerbZonePlan, manage.PlanArgs{Zone: strings.Join(args, "")}, &plans); err != nil {
				return err
			}
			err := e.print(plans, func(w io.Writer) {
				if len(plans.Zones) == 0 {
					fmt.Fprintln(w, "nothing waits to be applied")
					return
				}
				printPlans(w, plans)
				if slices.ContainsFunc(plans.Zones, func(p manage.ZonePlan) bool { return p.Reason == "" }) {
					exactly := ""
					if plans.Plan != "" {
						exactly = " --plan " + plans.Plan
					}
					fmt.Fprintf(w, "\n%s does exactly this\n", e.again("zone apply "+toApply(args)+accepting(plans)+exactly))
				}
			})
			for _, p := range plans.Zones {
				if err == nil && p.Reason != "" {
					err = errFound
				}
			}
			return err
		},
	}
}

func toApply(zones []string) string {
	if len(zones) == 0 {
		return "--all"
	}
	return strings.Join(zones, " ")
}

// accepting is what has to be said besides, for plans that hold dangers.
func accepting(plans manage.ZonePlans) string {
	var codes []string
	for _, p := range plans.Zones {
		codes = append(codes, p.Needs...)
	}
	if len(codes) == 0 {
		return ""
	}
	slices.Sort(codes)
	return " --accept " + strings.Join(slices.Compact(codes), ",") + " --reason TEXT"
}

// again is a command of ours to copy, for the same server.
func (e *env) again(command string) string {
	if e.config != "" {
		command += " --config " + e.config
	}
	return "postern " + command
}

func printPlans(w io.Writer, plans manage.ZonePlans) {
	for _, p := range plans.Zones {
		switch {
		case p.Reason != "":
			fmt.Fprintf(w, "zone %s view %s: cannot be applied (%s)\n", p.Zone, p.View, p.Reason)
		case p.Catalog:
			fmt.Fprintf(w, "catalog %s view %s: %d of %d zones go\n", p.Zone, p.View, p.Removed, p.OldRecords)
		default:
			fmt.Fprintf(w, "zone %s view %s: serial %d -> %d, %d removed, %d added", p.Zone, p.View, p.OldSerial, p.NewSerial, p.Removed, p.Added)
			if p.OldSerial == 0 && p.OldRecords == 0 {
				fmt.Fprint(w, ", a new zone")
			} else {
				fmt.Fprintf(w, " of %d (%d %%)", p.OldRecords, p.Percent)
			}
			if p.Follows {
				fmt.Fprint(w, ", since the view below changes")
			}
			fmt.Fprintln(w)
		}
		if p.Dynamic > 0 {
			fmt.Fprintf(w, "  %d sets stay as updates made them\n", p.Dynamic)
		}
		if p.Derived > 0 {
			fmt.Fprintf(w, "  %d records are derived: postern zone export names them\n", p.Derived)
		}
		if len(p.Needs) > 0 {
			fmt.Fprintf(w, "  needs --accept %s --reason TEXT\n", strings.Join(p.Needs, ","))
		}
		printRecords(w, "-", p.Gone, p.Removed)
		printRecords(w, "+", p.Come, p.Added)
		for _, problem := range p.Problems {
			fmt.Fprintf(w, "  %s\n", problem)
		}
	}
}

func printRecords(w io.Writer, sign string, listed []string, all int) {
	for _, rr := range listed {
		fmt.Fprintf(w, "  %s %s\n", sign, rr)
	}
	if all > len(listed) {
		fmt.Fprintf(w, "  %s and %d more\n", sign, all-len(listed))
	}
}

func (e *env) zoneApply() *cobra.Command {
	var a manage.ApplyArgs
	c := &cobra.Command{
		Use:   "apply [ZONE…|--all] [--plan HASH] [--accept CODE --reason TEXT]",
		Short: "Publish what waits: all of it or, if any of it cannot be, nothing",
		Args:  between(0, -1, "zones, or --all"),
		RunE: func(c *cobra.Command, args []string) error {
			a.Zones = args
			if a.All == (len(args) > 0) {
				return usageError{fmt.Errorf("zone apply: say which zones, or --all (hint: postern zone plan shows what waits)")}
			}
			var done manage.ZonePlans
			if err := e.call(c.Context(), manage.VerbZoneApply, a, &done); err != nil {
				return err
			}
			if err := e.print(done, func(w io.Writer) { printDone(w, done, "nothing waited to be applied") }); err != nil {
				return err
			}
			for _, p := range done.Zones {
				if p.Reason != "" && p.Reason != "still-pinned" { // pinned as somebody wanted it
					return errFound
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&a.All, "all", false, "every zone that waits and can be applied")
	c.Flags().StringVar(&a.Plan, "plan", "", "only if it is still exactly this plan, by its `hash`")
	c.Flags().StringSliceVar(&a.Accept, "accept", nil, "a danger that is meant, by its `code`")
	c.Flags().StringVar(&a.Reason, "reason", "", "`why`, for the history")
	return c
}

func printDone(w io.Writer, done manage.ZonePlans, nothing string) {
	if len(done.Zones) == 0 {
		fmt.Fprintln(w, nothing)
	}
	for _, p := range done.Zones {
		if p.Reason != "" {
			fmt.Fprintf(w, "zone %s view %s: left as it is (%s)\n", p.Zone, p.View, p.Reason)
			for _, problem := range p.Problems {
				fmt.Fprintf(w, "  %s\n", problem)
			}
			continue
		}
		if p.Catalog {
			fmt.Fprintf(w, "catalog %s view %s: %d of %d zones gone\n", p.Zone, p.View, p.Removed, p.OldRecords)
			continue
		}
		fmt.Fprintf(w, "zone %s view %s: serial %d is published, %d removed, %d added\n", p.Zone, p.View, p.NewSerial, p.Removed, p.Added)
	}
}

func (e *env) zoneHistory() *cobra.Command {
	var ref manage.ZoneRef
	c := &cobra.Command{
		Use:   "history ZONE [--view V]",
		Short: "List the versions of a zone that are kept",
		Args:  exactly(1, "a zone"),
		RunE: func(c *cobra.Command, args []string) error {
			ref.Zone = args[0]
			versions := []manage.ZoneVersion{}
			if err := e.call(c.Context(), manage.VerbZoneHistory, ref, &versions); err != nil {
				return err
			}
			return e.print(versions, func(w io.Writer) {
				table(w, "", "VIEW\tVERSION\tSERIAL\tFILE SERIAL\tPUBLISHED\tBY\tWHY", len(versions), func(w io.Writer) {
					for _, v := range versions {
						mark := ""
						if v.Present {
							mark = " *"
						}
						fmt.Fprintf(w, "%s\t%d%s\t%d\t%d\t%s\t%s\t%s\n", v.View, v.Version, mark, v.Serial, v.FileSerial, v.Published.Format(time.DateTime), v.Who, v.Why)
					}
				})
			})
		},
	}
	c.Flags().StringVar(&ref.View, "view", "", "the `view`, unless those of all views are wanted")
	return c
}

func (e *env) zoneRollback() *cobra.Command {
	var a manage.RollbackArgs
	c := &cobra.Command{
		Use:   "rollback ZONE [N] [--view V] [--reason TEXT]",
		Short: "Publish a former version again, and pin the zone to it",
		Long:  "Publish what the zone's file held in version N (postern zone history), or in the one before the present, under a new serial. The zone is pinned: its file is published again only once it has changed and postern zone apply is called.",
		Args:  between(1, 2, "a zone, and perhaps a version"),
		RunE: func(c *cobra.Command, args []string) error {
			a.Zone = args[0]
			if len(args) == 2 {
				n, err := strconv.Atoi(args[1])
				if err != nil || n < 1 {
					return usageError{fmt.Errorf("zone rollback: %q is not a version (hint: postern zone history %s lists them)", args[1], a.Zone)}
				}
				a.Version = n
			}
			var done manage.ZonePlans
			if err := e.call(c.Context(), manage.VerbZoneRollback, a, &done); err != nil {
				return err
			}
			return e.print(done, func(w io.Writer) {
				printDone(w, done, "it is served already")
				fmt.Fprintf(w, "the zone is pinned: edit its file, then postern zone apply %s\n", a.Zone)
			})
		},
	}
	c.Flags().StringVar(&a.View, "view", "", "the `view`, where several have the zone")
	c.Flags().StringVar(&a.Reason, "reason", "", "`why`, for the history")
	return c
}

func (e *env) zoneRemove() *cobra.Command {
	dynamic, drop := false, manage.DropArgs{}
	c := &cobra.Command{
		Use:   "remove ZONE [--dynamic [--name NAME] [--view V]]",
		Short: "Stop serving a zone whose file is gone, and forget its history; or give up what updates changed",
		Args:  exactly(1, "a zone"),
		RunE: func(c *cobra.Command, args []string) error {
			if dynamic {
				drop.Zone = args[0]
				return e.zoneDrop(c, drop)
			}
			if drop.View != "" || drop.Name != "" {
				return usageError{fmt.Errorf("zone remove: --name and --view are for --dynamic (hint: a zone is removed from every view where its file is gone)")}
			}
			var gone manage.RemovedZone
			if err := e.call(c.Context(), manage.VerbZoneRemove, manage.PlanArgs{Zone: args[0]}, &gone); err != nil {
				return err
			}
			return e.print(gone, func(w io.Writer) {
				fmt.Fprintf(w, "zone %s is removed from view %s\n", gone.Zone, strings.Join(gone.Views, ", "))
			})
		},
	}
	c.Flags().BoolVar(&dynamic, "dynamic", false, "not the zone, but what updates changed in it: it is as its file has it again")
	c.Flags().StringVar(&drop.Name, "name", "", "with --dynamic: at this `name` only")
	c.Flags().StringVar(&drop.View, "view", "", "with --dynamic: the `view`, where several have a file for the zone")
	return c
}

func (e *env) zoneDrop(c *cobra.Command, a manage.DropArgs) error {
	var gone manage.Dropped
	if err := e.call(c.Context(), manage.VerbZoneDrop, a, &gone); err != nil {
		return err
	}
	return e.print(gone, func(w io.Writer) {
		if len(gone.Sets) == 0 {
			fmt.Fprintln(w, "no update changed anything there")
		}
		for _, s := range gone.Sets {
			fmt.Fprintf(w, "%s %s is as the file has it\n", s.Owner, s.Type)
			printRecords(w, "-", s.Now, len(s.Now))
			printRecords(w, "+", s.Below, len(s.Below))
		}
	})
}
