package spf

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "blitiri.com.ar/go/spf" // its sources carry the suites
	"go.yaml.in/yaml/v3"

	"postern/internal/lookup"
	"postern/internal/mail/address"
)

// scenario is one document of the SPF community's suites.
type scenario struct {
	Description string
	Tests       map[string]struct {
		Helo     string
		Host     string
		MailFrom string `yaml:"mailfrom"`
		Result   words
	}
	ZoneData map[string][]yaml.Node `yaml:"zonedata"`
}

// words is a list that may be written as a single word.
type words []string

func (w *words) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		return n.Decode((*[]string)(w))
	}
	*w = words{n.Value}
	return nil
}

// TestSuites runs every case of the RFC 7208 suite and of pyspf's, which another
// evaluator of this module's tests carries, through our own entry points and our
// own resolver interface.
func TestSuites(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "blitiri.com.ar/go/spf").Output()
	dir := filepath.Join(strings.TrimSpace(string(out)), "testdata")
	if err != nil || len(out) < 2 {
		t.Skipf("the library's sources are not at hand: %v", err)
	}
	for name, cases := range map[string]int{"rfc7208-tests.yml": 203, "pyspf-tests.yml": 16} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if ran := runSuite(t, filepath.Join(dir, name)); ran != cases {
				t.Errorf("%d cases, want %d", ran, cases)
			}
		})
	}
}

// departures are cases of pyspf's own modes: a modifier of a draft before RFC 4408,
// "default=-all", and a result that no RFC has. RFC 7208, Section 6: what is not
// known is passed over.
var departures = map[string]words{"default-modifier": {"neutral"}, "default-modifier-harsh": {"neutral"}}

func runSuite(t *testing.T, path string) (ran int) {
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("suite is absent: %v", err)
	}
	defer f.Close()
	dec := yaml.NewDecoder(f)
	for {
		var s scenario
		if err := dec.Decode(&s); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		world := readZone(t, s.ZoneData)
		for name, c := range s.Tests {
			ran++
			if other, ok := departures[name]; ok {
				c.Result = other
			}
			got := evaluate(t, world, c.Host, c.Helo, c.MailFrom)
			if !slices.Contains(c.Result, got.Status.String()) {
				t.Errorf("%s, %s: %s (%s), want %v", s.Description, name, got.Status, got.Explain, c.Result)
			}
		}
	}
	return ran
}

func evaluate(t *testing.T, r lookup.Resolver, host, helo, from string) Result {
	t.Helper()
	client := netip.MustParseAddr(host)
	if from == "" {
		return CheckMailFrom(t.Context(), r, client, helo, address.Address{})
	}
	at := strings.LastIndexByte(from, '@')
	if at < 0 {
		return CheckMailFrom(t.Context(), r, client, helo, address.Address{Local: "postmaster", Domain: from})
	}
	local := from[:at]
	if local == "" { // RFC 7208, Section 4.3
		local = "postmaster"
	}
	return CheckMailFrom(t.Context(), r, client, helo, address.Address{Local: local, Domain: strings.ToLower(from[at+1:])})
}

// zone is a world as the suites write it: absent types of a name marked
// TIMEOUT or SERVFAIL fail for a while.
type zone struct {
	records map[string][]lookup.Record
	failing map[string]bool
	names   map[string]bool
	alias   map[string]string
}

func (z *zone) Query(_ context.Context, name string, t lookup.Type) (lookup.Answer, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for range 10 {
		if to, ok := z.alias[name]; ok {
			name = to
		}
	}
	if got := z.records[name+" "+t.String()]; len(got) > 0 {
		return lookup.Answer{Status: lookup.Found, Records: got}, nil
	}
	_, loop := z.alias[name]
	switch {
	case z.failing[name] || loop:
		return lookup.Answer{}, &lookup.Error{Name: name, Type: t, Temporary: true, Cause: errors.New("TIMEOUT")}
	case strings.Contains(name, "..") || slices.ContainsFunc(strings.Split(name, "."), func(l string) bool { return len(l) > 63 }):
		return lookup.Answer{}, &lookup.Error{Name: name, Type: t, Cause: errors.New("not a name")}
	case z.names[name]:
		return lookup.Answer{Status: lookup.NoData}, nil
	}
	return lookup.Answer{Status: lookup.NXDomain}, nil
}

func readZone(t *testing.T, data map[string][]yaml.Node) *zone {
	t.Helper()
	z := &zone{map[string][]lookup.Record{}, map[string]bool{}, map[string]bool{}, map[string]string{}}
	for name, nodes := range data {
		name = strings.ToLower(name)
		z.names[name] = true
		var policies []lookup.Record // type SPF stands for TXT where there is none
		for _, n := range nodes {
			if n.Kind != yaml.MappingNode {
				z.failing[name] = true
				continue
			}
			for i := 0; i+1 < len(n.Content); i += 2 {
				kind, value := n.Content[i].Value, n.Content[i+1]
				if kind == "SPF" {
					policies = append(policies, lookup.Record{Text: text(t, value)})
					continue
				}
				z.add(t, name, kind, value)
			}
		}
		if len(z.records[name+" TXT"]) == 0 {
			z.records[name+" TXT"] = policies
		}
		z.records[name+" TXT"] = slices.DeleteFunc(z.records[name+" TXT"], func(r lookup.Record) bool { return r.Text == "NONE" })
	}
	return z
}

func text(t *testing.T, n *yaml.Node) string {
	t.Helper()
	var w words
	if err := n.Decode(&w); err != nil {
		t.Fatal(err)
	}
	return strings.Join(w, "")
}

func (z *zone) add(t *testing.T, name, kind string, value *yaml.Node) {
	t.Helper()
	key := name + " " + kind
	switch kind {
	case "TIMEOUT", "SERVFAIL":
		z.failing[name] = true
	case "CNAMELOOP":
		z.alias[name] = name
	case "CNAME":
		z.alias[name] = strings.ToLower(strings.TrimSuffix(value.Value, "."))
	case "A", "AAAA":
		var w words
		if err := value.Decode(&w); err != nil {
			t.Fatal(err)
		}
		for _, ip := range w {
			z.records[key] = append(z.records[key], lookup.Record{Addr: netip.MustParseAddr(ip)})
		}
	case "TXT":
		z.records[key] = append(z.records[key], lookup.Record{Text: text(t, value)})
	case "MX":
		z.records[key] = append(z.records[key], lookup.Record{Host: value.Content[1].Value})
	case "PTR":
		z.records[key] = append(z.records[key], lookup.Record{Host: value.Value})
	}
}
