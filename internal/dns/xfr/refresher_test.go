package xfr

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestRefresherFollows: the whole zone first, then differences when it is time
// or when told.
func TestRefresherFollows(t *testing.T) {
	t.Parallel()
	for _, keyed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r, s, origins := feedOf(t, keyed)
			o := origins[0]
			o.publish(zoneOf(t, 1, odd))
			origins[1].publish(zoneOf(t, 1, odd))
			running(t, r)
			synctest.Wait()
			if got := s.said(); !slices.Equal(got, []string{"full 1"}) {
				t.Fatal(got)
			}
			if got := o.asked(); !slices.Equal(got, []string{"AXFR tcp"}) {
				t.Error(got)
			}
			time.Sleep(time.Hour) // refresh: 3600
			synctest.Wait()
			if got := s.said(); !slices.Equal(got, []string{"fresh 1"}) {
				t.Error(got)
			}
			o.publish(zoneOf(t, 2, odd+"new A 192.0.2.1\n"))
			o.asked()
			r.Notified(mustName(t, "example."), "external", one.Addr())
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if got := s.said(); !slices.Equal(got, []string{"steps 2"}) {
				t.Error(got)
			}
			if got := o.asked(); !slices.Equal(got, []string{"SOA udp", "IXFR tcp"}) {
				t.Error(got)
			}
			if !slices.Equal(content(s.z), content(o.z)) {
				t.Error("not the same")
			}
			st := r.Standing()
			if len(st) != 1 || st[0].State != Fresh || st[0].Serial != 2 || st[0].Primary != "first" || st[0].Address != one || st[0].Reason != "" {
				t.Errorf("%+v", st)
			}
			if len(origins[1].asked()) > 0 {
				t.Error("the second primary was asked for nothing")
			}
		})
	}
}
