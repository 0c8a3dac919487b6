package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Asker is a DNS client program.
type Asker string

// The clients the lab knows.
const (
	Dig   Asker = "dig"
	Kdig  Asker = "kdig"
	Drill Asker = "drill"
)

// Question is one query of such a program.
type Question struct {
	Server string // its address, port 53
	From   string // the client's own address; "" takes the server's
	Name   string
	Type   string   // A if empty
	Flags  []string // of the program, for what is not said above
}

// Reply is what the program printed, as data.
type Reply struct {
	Output     Output
	Rcode      string   // NOERROR …; "" when there was no reply
	Flags      []string // sorted: aa ad cd qr ra rd tc
	Answer     []string // records in one spelling, sorted; TTLs as sent
	Authority  []string
	Additional []string
}

// String leaves out what differs between the programs.
func (r Reply) String() string {
	return fmt.Sprintf("%s %v\nanswer %q\nauthority %q\nadditional %q", r.Rcode, r.Flags, r.Answer, r.Authority, r.Additional)
}

func (r Reply) agrees(with Reply) bool {
	if !r.Has("aa") && !with.Has("aa") {
		r, with = r.timeless(), with.timeless()
	}
	return r.String() == with.String()
}

// timeless leaves the time to live out of all records.
func (r Reply) timeless() Reply {
	for _, records := range []*[]string{&r.Answer, &r.Authority, &r.Additional} {
		short := make([]string, len(*records))
		for i, record := range *records {
			fields := strings.Fields(record)
			short[i] = strings.Join(slices.Delete(fields, 1, min(2, len(fields))), " ")
		}
		slices.Sort(short)
		*records = short
	}
	return r
}

// Has tells whether a flag is set.
func (r Reply) Has(flag string) bool { return slices.Contains(r.Flags, flag) }

// Ask runs one of the programs and reads what it prints. Recursion is desired,
// as they do by themselves.
func (l *Lab) Ask(with Asker, q Question) Reply {
	l.t.Helper()
	if q.Type == "" {
		q.Type = "A"
	}
	var args []string
	switch with {
	case Dig:
		args = []string{"+tries=2", "+time=3", "+noall", "+comments", "+answer", "+authority", "+additional", "+nocookie", "+nosplit", "+rrcomments"}
	case Kdig:
		args = []string{"+retry=1", "+time=3", "+edns", "+nocookie"}
	case Drill:
		args = []string{"-b", "1232"}
	}
	if q.From != "" {
		args = append(args, map[Asker]string{Dig: "-b", Kdig: "-b", Drill: "-I"}[with], q.From)
	}
	args = append(args, q.Flags...)
	args = append(args, "@"+q.Server)
	if with == Drill {
		args = append(args, q.Name, q.Type)
	} else {
		args = append(args, "-q", q.Name, "-t", q.Type)
	}
	packages := map[Asker]string{Dig: "bind9-dnsutils", Kdig: "knot-dnsutils", Drill: "ldnsutils"}
	return readReply(l.Exec(l.program(string(with), packages[with]), args...))
}

// Agreed asks with all three programs, fails the test unless they got the same
// reply, and returns it. The time to live may differ in what comes from a cache.
func (l *Lab) Agreed(q Question) Reply {
	l.t.Helper()
	first := l.Ask(Dig, q)
	if first.Rcode == "" {
		l.t.Fatalf("no reply:\n%s", first.Output)
	}
	for _, other := range []Asker{Kdig, Drill} {
		if reply := l.Ask(other, q); !reply.agrees(first) {
			l.t.Fatalf("dig and %s got different replies to %s %s:\n%s\n%s\n%s", other, q.Name, q.Type, first, reply, reply.Output)
		}
	}
	return first
}

var (
	statusLine = regexp.MustCompile(`(?i)HEADER.*(?:status|rcode): ([A-Z0-9]+)`)
	flagsLine  = regexp.MustCompile(`(?i)^;; flags:([ a-z]*);`)
)

// readReply reads the print of dig, kdig and drill, which is nearly one form.
func readReply(out Output) Reply {
	r := Reply{Output: out, Answer: []string{}, Authority: []string{}, Additional: []string{}}
	section := &[]string{}
	for line := range strings.Lines(out.Stdout) {
		line = strings.TrimSpace(line)
		switch {
		case statusLine.MatchString(line):
			r.Rcode = statusLine.FindStringSubmatch(line)[1]
		case flagsLine.MatchString(line):
			r.Flags = strings.Fields(flagsLine.FindStringSubmatch(strings.ToLower(line))[1])
			slices.Sort(r.Flags)
		case strings.Contains(line, "ANSWER SECTION"):
			section = &r.Answer
		case strings.Contains(line, "AUTHORITY SECTION"):
			section = &r.Authority
		case strings.Contains(line, "ADDITIONAL SECTION"):
			section = &r.Additional
		case strings.Contains(line, "PSEUDOSECTION"): // a TSIG record is no data
			section = &[]string{}
		case line == "" || strings.HasPrefix(line, ";"):
		default:
			*section = append(*section, spelled(line))
		}
	}
	for _, records := range [][]string{r.Answer, r.Authority, r.Additional} {
		slices.Sort(records)
	}
	return r
}

// spelled prints a record in one way.
func spelled(line string) string {
	rr, err := dns.NewRR(line)
	if err != nil || rr == nil {
		return line
	}
	return strings.Join(strings.Fields(rr.String()), " ")
}
