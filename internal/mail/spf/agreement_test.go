package spf

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/address"
)

//go:embed testdata/pyspf.py
var pyspf string

// trial is a case that several evaluators judge.
type trial struct {
	World              lookuptest.Map
	Client, Helo, From string
}

// dice makes up cases.
type dice struct{ *rand.Rand }

func (d dice) of(words string) string {
	all := strings.Fields(words)
	return all[d.IntN(len(all))]
}

func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

const (
	domains = "a.example b.example c.example d.example e.example absent.example"
	hosts   = "h1.example h2.example h3.example h4.a.example absent.example"
)

func (d dice) prefix4() string {
	s := fmt.Sprintf("192.0.2.%d", d.IntN(8))
	if d.chance(50) {
		s += d.of("/0 /8 /24 /30 /31 /32")
	}
	return s
}

func (d dice) prefix6() string {
	return "2001:db8::" + d.of("1 2 3") + d.of("/0 /32 /126 /128 /127")
}

func (d dice) lengths() string {
	if d.chance(70) {
		return ""
	}
	return d.of("/24 /31 /32 //64 //128 /30//126 /0 //0")
}

func (d dice) spec() string {
	if d.chance(80) {
		return d.of(domains + " " + hosts)
	}
	return d.of("%{d} %{o} h%{l1r}.example %{d2} %{h} %{ir}.%{v}.a.example %{i}.b.example %{l}.a.example " +
		"%{L}.a.example %{d1r}.example %{s1-}.a.example %{l1r-}.a.example a%%b.example %{dr}.a.example %{P}.a.example %{p}")
}

func (d dice) term() string {
	qualifier := ""
	if d.chance(40) {
		qualifier = d.of("+ - ~ ?")
	}
	switch d.IntN(12) {
	case 0, 1:
		return qualifier + "ip4:" + d.prefix4()
	case 2:
		return qualifier + "ip6:" + d.prefix6()
	case 3:
		return qualifier + "a" + d.lengths()
	case 4:
		return qualifier + "a:" + d.spec() + d.lengths()
	case 5:
		return qualifier + "mx" + d.lengths()
	case 6:
		return qualifier + "mx:" + d.spec() + d.lengths()
	case 7, 8:
		return qualifier + "include:" + d.spec()
	case 9:
		return qualifier + "exists:" + d.spec()
	case 10:
		return qualifier + d.of("ptr ptr:a.example ptr:example")
	}
	return d.of("exp=a.example unknown=%{d}")
}

func (d dice) record() string {
	terms := []string{"v=spf1"}
	for range d.IntN(4) {
		terms = append(terms, d.term())
	}
	if d.chance(25) {
		terms = append(terms, "redirect="+d.spec())
	} else if d.chance(80) {
		terms = append(terms, d.of("+ - ~ ?")+"all")
	}
	s := strings.Join(terms, " ")
	if d.chance(12) { // one fault of the pen
		at := 6 + d.IntN(len(s)-5)
		s = s[:at] + d.of("= : / . % %{ } %{x} %{d0} - _ 0 a all ip4 mx: V [ ( ;") + s[at:]
	}
	return s
}

func (d dice) trial() trial {
	w := lookuptest.Map{}
	for name := range strings.FieldsSeq(domains + " " + hosts) {
		if strings.HasPrefix(name, "absent") {
			continue
		}
		w[name+" A"] = []string{fmt.Sprintf("192.0.2.%d", d.IntN(8))}
		w[name+" AAAA"] = []string{"2001:db8::" + d.of("1 2 3")}
		if d.chance(90) {
			w[name+" TXT"] = []string{"unrelated", d.record()}
		}
		w[name+" MX"] = []string{"10 h1.example.", "20 " + d.of("h2.example. h3.example.")}
	}
	if d.chance(10) {
		w[d.of(domains+" "+hosts)+" "+d.of("A AAAA MX TXT PTR")] = []string{"SERVFAIL"}
	}
	t := trial{World: w, Client: fmt.Sprintf("192.0.2.%d", d.IntN(8)), Helo: d.of("mail.example h1.example a.example"), From: d.of("u 1 a-b x.y") + "@" + d.of("a.example b.example")}
	if d.chance(30) {
		t.Client = "2001:db8::" + d.of("1 2 3 4")
	}
	if d.chance(70) {
		w[ReverseName(netip.MustParseAddr(t.Client))+" PTR"] = []string{d.of(hosts) + "."}
	}
	return t
}

// argued says why we differ from pyspf, if we are meant to.
func argued(ours Result, theirs string) string {
	switch {
	case strings.Contains(theirs, "unknown= MUST appear at most once"):
		return "Section 6 asks that of redirect= and exp= alone"
	case strings.Contains(theirs, "trivial recursion"):
		return "a record that includes itself ends at ten terms, or matches before"
	case strings.Contains(theirs, "Void lookup limit") && ours.Status != PermError:
		return "it counts empty reverse names and hosts of mx without an address"
	case strings.Contains(theirs, "SERVFAIL") && strings.HasPrefix(ours.Explain, "matched"):
		return "a host of mx that matches is enough, if another one cannot be looked up"
	case ours.Status == PermError && strings.Contains(ours.Explain, "not a macro"):
		return "it takes a brace that is never closed"
	}
	return ""
}

// TestEvaluatorsAgree has made-up cases judged by pyspf, too.
func TestEvaluatorsAgree(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3" // Debian's modules belong to Debian's interpreter
	if out, err := exec.Command(python, "-c", "import spf").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("python3-spf is not installed: %s", out)
		}
		t.Skip("python3-spf is not installed")
	}
	d := dice{rand.New(rand.NewChaCha8([32]byte{1}))}
	trials := make([]trial, 2000)
	for i := range trials {
		trials[i] = d.trial()
	}
	seen, differ := map[Status]int{}, map[string]int{}
	for i, theirs := range askPyspf(t, python, trials) {
		c := trials[i]
		from, err := address.Parse(c.From)
		if err != nil {
			t.Fatal(err)
		}
		got := CheckMailFrom(t.Context(), c.World, netip.MustParseAddr(c.Client), c.Helo, from)
		seen[got.Status]++
		if got.Status.String() == theirs[0] {
			continue
		}
		why := argued(got, theirs[1])
		if differ[why]++; why == "" {
			t.Errorf("%s (%s), pyspf says %s\n%s", got.Status, got.Explain, theirs, c)
		}
	}
	t.Log(seen, differ)
	for s := None; s <= PermError; s++ {
		if seen[s] == 0 {
			t.Errorf("no case is %s", s)
		}
	}
	for why, n := range differ {
		if n > len(trials)/100 {
			t.Errorf("%d of %d differ: %s", n, len(trials), why)
		}
	}
}

// askPyspf returns a result and an explanation for each.
func askPyspf(t *testing.T, python string, trials []trial) [][2]string {
	t.Helper()
	in, err := json.Marshal(trials)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", pyspf)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var theirs [][2]string
	if err == nil {
		err = json.Unmarshal(out, &theirs)
	}
	if err != nil || len(theirs) != len(trials) {
		t.Fatalf("%v: %d answers\n%s", err, len(theirs), stderr.String())
	}
	return theirs
}

func (c trial) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\t%s for %s, HELO %s\n", c.Client, c.From, c.Helo)
	for k, v := range c.World {
		fmt.Fprintf(&b, "\t%s: %q\n", k, v)
	}
	return b.String()
}
