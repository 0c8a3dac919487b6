package lab_test

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// hardZone is a zone file that somebody edits by hand, at random: with empty
// non-terminals, wildcards, DNAME, delegations, escapes, mixed case, and
// records as large as a message.
type hardZone struct {
	origin string
	rng    *rand.Rand
	serial uint32
	timers string             // of the SOA
	sets   map[string]rrsetOf // by "OWNER TYPE", the owner as written
	grown  int                // numbers new names
}

type rrsetOf struct {
	ttl  int
	data []string
}

// hardStart is what the zone begins with: lines "OWNER TTL TYPE DATA".
const hardStart = `
@                    300  NS     ns
@                    300  NS     ns.elsewhere.example.
@                    3600 MX     10 MaIl.MixED
@                    3600 MX     20 mail.elsewhere.example.
@                    60   TXT    "v=spf1 -all"
@                    60   CAA    0 issue "ca.example; account=1"
@                    300  HTTPS  1 . alpn=h2,h3 ipv4hint=198.51.100.80 ipv6hint=2001:db8:a::80
ns                   300  A      198.51.100.53
MaIl.MixED           300  A      198.51.100.25
MaIl.MixED           300  AAAA   2001:db8:a::25
www                  5    CNAME  WWW.Deep.b.ent
www.deep.b.ent       300  A      198.51.100.80
x.y.z.empty          300  TXT    "three names above are empty"
*.wild               300  TXT    "covered"
*.wild               300  MX     5 mail.mixed
a.*.wild             300  A      198.51.100.81
star\*               300  A      198.51.100.82
*.*.twice            300  A      198.51.100.83
old                  300  DNAME  new
old                  300  TXT    "beside it"
lost                 300  DNAME  lost.elsewhere.example.
sub                  300  NS     ns.sub
sub                  300  NS     ns.other
sub                  300  DS     12345 13 2 49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC1234
ns.sub               300  A      198.51.100.54
ns.sub               60   AAAA   2001:db8:a::54
other                300  NS     ns.other
ns.other             300  A      198.51.100.55
far                  300  NS     ns1.elsewhere.example.
_svc._tcp            300  SRV    0 5 5060 sip
_dns                 300  SVCB   2 svc.elsewhere.example. alpn=dot port=8530 key667=hello
alias                300  SVCB   0 svc.elsewhere.example.
sip                  300  A      198.51.100.92
sip                  300  NAPTR  100 10 "U" "E2U+sip" "!^.*$!sip:info@example.net!" .
_443._tcp.www2       300  TLSA   3 1 1 0C72AC70B745AC19998811B131D662C9AC69DBDBE7CB23E5B514B56664C5D3D6
host                 300  SSHFP  4 2 0C72AC70B745AC19998811B131D662C9AC69DBDBE7CB23E5B514B56664C5D3D6
where                300  LOC    52 22 23.000 N 4 53 32.000 E -2.00m 10m 10m 10m
rev                  300  PTR    Host.Example.
raw                  300  TYPE65280 \# 5 0001020304
none                 300  TYPE65281 \# 0
dot\.in\.label       300  TXT    "an escaped dot"
sp\032ace\@at\;semi  300  TXT    "quo\"ted" "back\\slash" "\000\001\127\128\255" ""
\000\001\255\010     300  TXT    "octets in a name"
back\\slash          300  A      198.51.100.84
\"quoted\"           300  A      198.51.100.85
(paren)\$            300  A      198.51.100.86
0                    300  A      198.51.100.87
-dash_under          300  A      198.51.100.88
zero                 0    A      198.51.100.89
late                 2147483 A   198.51.100.90
`

// newHardZone is the zone of that name with what it begins with.
func newHardZone(t *testing.T, origin string, seed uint64) *hardZone {
	t.Helper()
	z := &hardZone{
		origin: origin, serial: 7, timers: "3600 600 86400 60",
		rng: rand.New(rand.NewPCG(seed, 4)), sets: map[string]rrsetOf{},
	}
	for line := range strings.Lines(hardStart) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		var ttl int
		if _, err := fmt.Sscan(fields[1], &ttl); err != nil {
			t.Fatal(err)
		}
		_, data, _ := strings.Cut(line, fields[2])
		key := strings.ReplaceAll(fields[0]+" "+fields[2], "(paren)", `\(paren\)`)
		z.sets[key] = rrsetOf{ttl, append(z.sets[key].data, strings.TrimSpace(data))}
	}
	label := strings.Repeat("n", 63)
	long := strings.Repeat(label+".", 3) + strings.Repeat("m", 255-3*64-len(origin)-2)
	z.sets[long+" A"] = rrsetOf{300, []string{"198.51.100.91"}}
	// PowerDNS takes larger ones, but cannot transfer any hundred records on
	// that are more than a message.
	z.sets["large TXT"] = rrsetOf{300, []string{z.text(40000)}}
	// With these the whole is several messages.
	for i := range 1000 {
		z.sets[fmt.Sprintf("bulk-%d A", i)] = rrsetOf{300, []string{fmt.Sprintf("10.7.%d.%d", i/256, i%256)}}
	}
	// BIND takes no more than 100 records of a name and type from a primary.
	var many []string
	for i := range 90 {
		many = append(many, fmt.Sprintf("2001:db8:b::%x", i))
	}
	z.sets["many AAAA"] = rrsetOf{300, many}
	return z
}

// short leaves out what makes the zone long: the record of which NSD could not
// give more than 16 KB, and most of those that are all alike.
func (z *hardZone) short() *hardZone {
	delete(z.sets, "large TXT")
	maps.DeleteFunc(z.sets, func(key string, _ rrsetOf) bool {
		return strings.HasPrefix(key, "bulk-") && !strings.HasPrefix(key, "bulk-5")
	})
	return z
}

// brief has nothing keep longer in caches than so many seconds, for which a
// first DS waits.
func (z *hardZone) brief(ttl int) *hardZone {
	for key, set := range z.sets {
		z.sets[key] = rrsetOf{min(set.ttl, ttl), set.data}
	}
	return z
}

// text is the data of a TXT record of about that many octets, of any value.
func (z *hardZone) text(octets int) string {
	var b strings.Builder
	for octets > 0 {
		n := min(octets, 255)
		octets -= n
		b.WriteString(`"`)
		for range n {
			switch c := byte(z.rng.IntN(256)); {
			case c == '"' || c == '\\':
				b.WriteString(`\` + string(c))
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, `\%03d`, c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteString(`" `)
	}
	return strings.TrimSpace(b.String())
}

// file is the zone file, its records in some order.
func (z *hardZone) file() string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ORIGIN %s\n@ 300 IN SOA ns HostMaster %d %s\n", z.origin, z.serial, z.timers)
	keys := slices.Sorted(maps.Keys(z.sets))
	z.rng.Shuffle(len(keys), func(i, k int) { keys[i], keys[k] = keys[k], keys[i] })
	for _, key := range keys {
		owner, kind, _ := strings.Cut(key, " ")
		for _, data := range z.sets[key].data {
			fmt.Fprintf(&b, "%s %d IN %s %s\n", owner, z.sets[key].ttl, kind, data)
		}
	}
	return b.String()
}

// records are what a server of the zone must have, with that serial.
func (z *hardZone) records(t *testing.T, serial uint32) []dns.RR {
	t.Helper()
	all := parsed(t, z.file())
	for _, rr := range all {
		if soa, ok := rr.(*dns.SOA); ok {
			soa.Serial = serial
		}
	}
	return all
}

// parsed reads a zone in master-file form.
func parsed(t *testing.T, text string) []dns.RR {
	t.Helper()
	var all []dns.RR
	parser := dns.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		all = append(all, rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// edit changes the file as a person may, and tells how.
func (z *hardZone) edit() string {
	var done []string
	for n := 1 + z.rng.IntN(3); n > 0; n-- {
		edits := []func() string{
			z.addHost, z.addHost, z.drop, z.drop, z.drop, z.change, z.changeTTL, z.flip, z.addCut, z.addDNAME,
			z.resize, z.addOdd, z.addBelow, z.addStar, z.addOne, z.dropOne, z.retime, z.recase, z.service,
		}
		done = append(done, edits[z.rng.IntN(len(edits))]())
	}
	// Most people forget the serial.
	if z.rng.IntN(3) == 0 {
		z.serial += 1 + uint32(z.rng.IntN(5))
		done = append(done, "and the serial")
	}
	return strings.Join(done, ", ")
}

// own are the keys of what edits made or may unmake, of one type or all.
func (z *hardZone) own(kind string) []string {
	var keys []string
	for key := range z.sets {
		if strings.Contains(strings.ToLower(key), "own-") && (kind == "" || strings.HasSuffix(key, " "+kind)) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (z *hardZone) pick(keys []string) string { return keys[z.rng.IntN(len(keys))] }

func (z *hardZone) name() string {
	z.grown++
	return fmt.Sprintf("own-%d", z.grown)
}

func (z *hardZone) address() string { return fmt.Sprintf("203.0.113.%d", z.rng.IntN(256)) }

func (z *hardZone) put(owner, kind string, data ...string) string {
	z.sets[owner+" "+kind] = rrsetOf{60 * (1 + z.rng.IntN(60)), data}
	return "+ " + owner + " " + kind
}

func (z *hardZone) addHost() string { return z.put(z.name(), "A", z.address(), "10.1.2.3") }

func (z *hardZone) addBelow() string { return z.put("a.b."+z.name()+".ent", "A", z.address()) }

func (z *hardZone) addStar() string {
	return z.put("*."+z.name()+".wild", "TXT", z.text(20))
}

// addOdd adds a name with octets of any value. It does not end in a backslash:
// NSD would not read again what it wrote of that.
func (z *hardZone) addOdd() string {
	label := fmt.Sprintf(`own-%d\.\%03d\%03d\\x`, z.grown, z.rng.IntN(256), z.rng.IntN(256))
	z.grown++
	return z.put(label, "TYPE65280", `\# 4 `+hex.EncodeToString([]byte{0, 1, byte(z.rng.IntN(256)), 255}))
}

func (z *hardZone) addCut() string {
	name := z.name()
	z.put("ns."+name, "A", z.address())
	z.put("ns."+name, "AAAA", "2001:db8:c::1")
	if z.rng.IntN(2) == 0 {
		z.put(name, "DS", fmt.Sprintf("%d 13 2 %064x", z.rng.IntN(65536), z.rng.Uint64()))
	}
	return z.put(name, "NS", "ns."+name, "ns.elsewhere.example.")
}

func (z *hardZone) addDNAME() string { return z.put(z.name(), "DNAME", "target.elsewhere.example.") }

func (z *hardZone) service() string {
	return z.put("_own-svc", "SVCB", fmt.Sprintf("%d svc.elsewhere.example. port=%d alpn=dot", 1+z.rng.IntN(9), 1+z.rng.IntN(65535)))
}

// drop removes an owner with all its types, and its glue.
func (z *hardZone) drop() string {
	keys := z.own("")
	if len(keys) == 0 {
		return z.addHost()
	}
	owner, _, _ := strings.Cut(z.pick(keys), " ")
	owner = strings.TrimPrefix(owner, "ns.") // a cut goes with its glue
	maps.DeleteFunc(z.sets, func(key string, _ rrsetOf) bool {
		at, _, _ := strings.Cut(key, " ")
		return strings.EqualFold(at, owner) || strings.EqualFold(at, "ns."+owner)
	})
	return "- " + owner
}

func (z *hardZone) change() string {
	keys := append(z.own("A"), "ns.sub A", "MaIl.MixED A", "a.*.wild A")
	key := z.pick(keys)
	set := z.sets[key]
	z.sets[key] = rrsetOf{set.ttl, []string{z.address()}}
	return "! " + key
}

func (z *hardZone) changeTTL() string {
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(z.sets)), func(key string) bool { return strings.HasPrefix(key, "bulk-") })
	key := z.pick(keys)
	z.sets[key] = rrsetOf{z.rng.IntN(7200), z.sets[key].data}
	return "TTL of " + key
}

// flip makes an address of an alias, or the reverse.
func (z *hardZone) flip() string {
	if _, ok := z.sets["flips A"]; ok {
		delete(z.sets, "flips A")
		return z.put("flips", "CNAME", "www.elsewhere.example.")
	}
	delete(z.sets, "flips CNAME")
	return z.put("flips", "A", z.address())
}

func (z *hardZone) resize() string {
	octets := []int{0, 1, 255, 256, 1232, 5000, 15000}[z.rng.IntN(7)]
	z.put("own-text", "TXT", z.text(max(octets, 1)), `"small"`)
	return fmt.Sprintf("a text of %d", octets)
}

func (z *hardZone) addOne() string {
	set := z.sets["many AAAA"]
	if len(set.data) == 100 {
		return z.dropOne()
	}
	z.grown++
	set.data = append(slices.Clone(set.data), fmt.Sprintf("2001:db8:d::%x", z.grown))
	z.sets["many AAAA"] = set
	return "one more"
}

func (z *hardZone) dropOne() string {
	set := z.sets["many AAAA"]
	at := z.rng.IntN(len(set.data))
	set.data = slices.Delete(slices.Clone(set.data), at, at+1)
	z.sets["many AAAA"] = set
	return "one less"
}

func (z *hardZone) retime() string {
	z.timers = fmt.Sprintf("%d 600 86400 %d", 3600+z.rng.IntN(100), 30+z.rng.IntN(100))
	return "timers of the SOA"
}

// recase writes an owner in other letters, which changes nothing.
func (z *hardZone) recase() string {
	keys := z.own("A")
	if len(keys) == 0 {
		return z.addHost()
	}
	key := z.pick(keys)
	owner, _, _ := strings.Cut(key, " ")
	set := z.sets[key]
	delete(z.sets, key)
	if strings.Contains(owner, "own-") {
		owner = strings.Replace(owner, "own-", "OwN-", 1)
	} else {
		owner = strings.ToLower(owner)
	}
	z.sets[owner+" A"] = set
	return "letters of " + owner
}
