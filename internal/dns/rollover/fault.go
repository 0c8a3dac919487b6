package rollover

// fault is a bit for each wait or guard that tests take out of the machine, to
// see whether they would notice.
type fault uint32

const (
	noGuard       fault = 1 << iota // steps are not held against what caches have
	noSecondaries                   // what we serve, everybody does
	noPatience                      // a secondary that does not have it is not waited for
	noTTL                           // caches of the zone's sets are not waited for
	noMarks                         // a TTL that was lowered is forgotten at once
	noDSTTL                         // caches of DS sets are not waited for
	noLag                           // the parent's other servers are not waited for
	noDSGone                        // an old key does not wait for its DS
	noFresh                         // any look at the parent is good enough
	noBogus                         // looks that do not validate are believed
	noOrphans                       // DS that lead nowhere are passed over
	noStrict                        // one algorithm of many is enough
	noClock                         // clocks that jump are believed
	noCDSWait                       // CDS that secondaries still serve are not waited for
	noMending                       // what failed before keeps steps from being taken
)

// String names the first fault, for who reads the test.
func (f fault) String() string {
	for i, name := range []string{"guard", "secondaries", "patience", "TTL", "marks", "DS TTL", "parent lag", "DS gone", "fresh look", "bogus", "orphans", "strict", "clock", "CDS wait", "mending"} {
		if f == 1<<i {
			return "no " + name
		}
	}
	return "none"
}
