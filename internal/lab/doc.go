// Package lab builds a small Internet inside one network namespace and runs a
// test in it: a DNS tree on real name servers, another organisation with
// Postfix, a resolver of somebody else, mail servers that misbehave, and the
// real postern binary. Real port numbers and public-looking addresses work, and
// nothing can leave. Only tests import it.
//
//	func TestMailReachesBeta(t *testing.T) {
//		t.Parallel()
//		lab.In(t, func(l *lab.Lab) {
//			l.Internet(
//				lab.Zone{Name: "beta.lab", Text: "@ MX 10 mx\nmx A 203.0.113.25"},
//				lab.Zone{Name: "alpha.lab", At: "198.51.100.53"}, // Postern answers this one
//			)
//			beta := l.Postfix(lab.PostfixConfig{Host: "mx.beta.lab", Address: "203.0.113.25", Domains: []string{"beta.lab"}})
//			edge := l.Postern(lab.PosternConfig{Config: toml, Files: files})
//			edge.AddUser("ann@alpha.lab", "correct horse battery")
//			l.Swaks("--server", "198.51.100.25", "--tlsc", "--port", "465", …).Want(0)
//			l.WantDKIM(beta.Receive("bob@beta.lab"), "alpha.lab")
//		})
//	}
//
// # How it runs
//
// In starts the test's own binary again, for this test alone, in a child with
// its own network, mount, process and host-name namespaces; a thread of a running Go program
// is never moved. The child is process 1 of its namespace: when it ends, for
// whatever reason, every peer ends with it, and so do the addresses and files
// (Dir is a file system in memory). A failed test prints the log of each peer
// by name; POSTERN_LAB_KEEP=DIR copies all logs there as well.
//
// # Addresses
//
//	192.0.2.0/24      the tree: root at 192.0.2.1, then one address a zone; Unbound at 192.0.2.53
//	198.51.100.0/24   ours (by habit .25 and .53) and Alpha's outside
//	203.0.113.0/24    Beta and everybody else, our secondaries among them
//	10.0.0.0/8        our inner network
//	2001:db8::/32, fd00::/8   the same for IPv6
//
// Every address of these can be bound and reached at once. A client that does
// not choose its source address gets the one it speaks to: give swaks
// --local-interface, dig -b, and Postern its source settings.
//
// # Secondaries
//
// BIND, NSD, Knot and PowerDNS take zones from a primary under test; see
// Lab.Secondary. What was learnt of them: BIND takes no set of more than 100
// records; NSD sends no record of more than 16 KB to others, nor PowerDNS any
// hundred records that exceed a message; NSD reads its own
// file wrongly where a name ends in a backslash, and ends itself over and over on
// a zone with NSEC3 that has a name of 255 octets; PowerDNS looks at what it was
// notified of once a second.
//
// # Signed trees
//
// Lab.SignedTree is a tree that BIND's tools signed, with a validating Unbound
// above it and delv beside: they say what a question's answer is worth. A Cache
// holds what it was told, and another Unbound judges what it holds; with a Clock
// of the test's own the TTLs in both run as the test likes. Without a Cache that
// is warm, a rollover that does not wait passes every test.
//
// # What is missing
//
// The package is for Linux. Without root the test skips and says why, and so it
// does without a peer's Debian package, unless CI=true is in the environment:
// then it fails.
// Top-level names are .lab and .net and the like: a proper resolver refuses
// special-use names such as .test.
package lab
