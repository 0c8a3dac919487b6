package manage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestZoneChanges(t *testing.T) {
	t.Parallel()
	o := open(t)
	_, e := do[ZonePlans](o, VerbZoneApply, ApplyArgs{})
	o.refused(e, ReasonUsage, "say which zones")
	_, e = do[ZonePlans](o, VerbZoneApply, ApplyArgs{Zones: []string{"a..b"}})
	o.refused(e, ReasonUsage, "a..b")
	_, e = do[ZonePlans](o, VerbZoneApply, ApplyArgs{All: true, Accept: []string{"loses-mx", "looses-ns"}, Reason: "x"})
	o.refused(e, ReasonUsage, `"looses-ns" is no danger`)
	_, e = do[ZonePlans](o, VerbZonePlan, PlanArgs{Zone: "none.example"})
	o.refused(e, ReasonUnknown, "none.example")
	_, e = do[[]ZoneVersion](o, VerbZoneHistory, ZoneRef{Zone: "none.example"})
	o.refused(e, ReasonUnknown, "none.example")
	both, e := do[[]ZoneVersion](o, VerbZoneHistory, ZoneRef{Zone: "City.example."})
	if e != nil || len(both) != 2 || both[0].View != "in" || both[1].View != "out" {
		t.Errorf("every view has a history: %v %+v", e, both)
	}
	_, e = do[ZonePlans](o, VerbZoneRollback, RollbackArgs{Zone: "alone.example"})
	o.refused(e, "no-version", "alone.example")
	_, e = do[RemovedZone](o, VerbZoneRemove, PlanArgs{})
	o.refused(e, ReasonUsage, "not a zone")
	_, e = do[RemovedZone](o, VerbZoneRemove, PlanArgs{Zone: "alone.example"})
	o.refused(e, "file-present", "alone.example")

	o.write("out/alone.example.zone", cityZone+"@ A 192.0.2.9\n")
	if _, e = do[ReloadReport](o, VerbReload, nil); e != nil {
		t.Fatal(e)
	}
	o.write("out/alone.example.zone", cityZone)
	plans, e := do[ZonePlans](o, VerbZonePlan, PlanArgs{})
	if e != nil || len(plans.Zones) != 1 || plans.Plan == "" {
		t.Fatalf("%v %+v", e, plans)
	}
	p := plans.Zones[0]
	if p.Removed != 1 || p.Added != 0 || p.OldSerial != 8 || p.NewSerial != 9 || strings.Join(p.Needs, ",") != "loses-address" ||
		p.Gone[0] != "alone.example. 300 IN A 192.0.2.9" || p.FileHash == "" {
		t.Errorf("%+v", p)
	}
	_, e = do[ZonePlans](o, VerbZoneApply, ApplyArgs{Zones: []string{"alone.example"}, Plan: "x"})
	o.refused(e, "plan-moved", "nothing changed")
	_, e = do[ZonePlans](o, VerbZoneApply, ApplyArgs{All: true, Plan: plans.Plan})
	o.refused(e, "needs-accept", "loses-address")
	done, e := do[ZonePlans](o, VerbZoneApply, ApplyArgs{All: true, Plan: plans.Plan, Accept: p.Needs, Reason: "moved"})
	if e != nil || done.Plan != plans.Plan {
		t.Errorf("%v %+v", e, done)
	}
	history, e := do[[]ZoneVersion](o, VerbZoneHistory, ZoneRef{Zone: "alone.example", View: "out"})
	if e != nil || len(history) != 3 || history[0].Why != "moved" || !strings.HasPrefix(history[0].Who, "uid ") || !history[0].Present {
		t.Errorf("%v %+v", e, history)
	}
	if done, e = do[ZonePlans](o, VerbZoneRollback, RollbackArgs{Zone: "alone.example", Reason: "no"}); e != nil || len(done.Zones) != 1 || done.Zones[0].Added != 1 {
		t.Errorf("%v %+v", e, done)
	}
	_, e = do[ZonePlans](o, VerbZoneApply, ApplyArgs{Zones: []string{"alone.example"}})
	o.refused(e, "still-pinned", "rolled back to version 2")
	if err := os.Remove(filepath.Join(o.dir, "out/alone.example.zone")); err != nil {
		t.Fatal(err)
	}
	if gone, e := do[RemovedZone](o, VerbZoneRemove, PlanArgs{Zone: "alone.example"}); e != nil || strings.Join(gone.Views, ",") != "out" {
		t.Errorf("%v %+v", e, gone)
	}
}
