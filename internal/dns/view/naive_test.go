package view

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"postern/internal/dns/zonefile"
)

// naive is the second opinion on the overlay: the table of VIEWS taken row by
// row, over text. It shares nothing with Materialise.
type naive struct {
	external, internal map[string][]string // owner -> types; "" is the apex
	hide, hideTree     []string
}

// up lists the owner and all above it, the apex last.
func up(owner string) []string {
	out := []string{owner}
	for owner != "" {
		_, owner, _ = strings.Cut(owner, ".")
		out = append(out, owner)
	}
	return out
}

func (n naive) hidden(owner string) bool {
	if owner == "" {
		return false
	}
	return slices.Contains(n.hide, owner) || slices.ContainsFunc(up(owner), func(a string) bool { return a != "" && slices.Contains(n.hideTree, a) })
}

func has(m map[string][]string, owner, rtype string) bool { return slices.Contains(m[owner], rtype) }

// coveredInside: an internal NS or DNAME above hides the external subtree.
func (n naive) coveredInside(owner string) bool {
	return slices.ContainsFunc(up(owner)[1:], func(a string) bool {
		return has(n.internal, a, "DNAME") || a != "" && has(n.internal, a, "NS")
	})
}

func (n naive) belowHiddenCut(owner string) bool {
	return slices.ContainsFunc(up(owner), func(a string) bool { return a != "" && has(n.external, a, "NS") && n.hidden(a) })
}

func (n naive) merged() []string {
	var out []string
	group := []string{"A", "AAAA"}
	for owner, types := range n.external {
		for _, t := range types {
			switch {
			case owner == "":
				replaced := has(n.internal, "", t) || slices.Contains(group, t) && (has(n.internal, "", "A") || has(n.internal, "", "AAAA"))
				if !replaced {
					out = append(out, "@ "+t)
				}
			case len(n.internal[owner]) > 0, n.hidden(owner), n.coveredInside(owner), n.belowHiddenCut(owner):
			default:
				out = append(out, owner+" "+t)
			}
		}
	}
	for owner, types := range n.internal {
		for _, t := range types {
			if owner == "" {
				out = append(out, "@ "+t)
			} else {
				out = append(out, owner+" "+t)
			}
		}
	}
	slices.Sort(out)
	return out
}

// refused: internal data at or below an inherited delegation, or below an
// inherited DNAME.
func (n naive) refused() bool {
	for owner := range n.internal {
		if owner == "" {
			continue
		}
		for _, a := range up(owner) {
			inherited := !n.hidden(a) && !n.coveredInside(a) && !n.belowHiddenCut(a)
			if a != "" && has(n.external, a, "NS") && inherited && !has(n.internal, a, "NS") && !has(n.internal, a, "DNAME") {
				return true
			}
			replaced := a != "" && len(n.internal[a]) > 0 || has(n.internal, a, "DNAME")
			if a != owner && has(n.external, a, "DNAME") && inherited && !replaced {
				return true
			}
		}
	}
	return false
}

func randomOverlay(r *rand.Rand) naive {
	owner := func() string {
		parts := make([]string, 1+r.IntN(3))
		for i := range parts {
			parts[i] = []string{"a", "b", "*"}[r.IntN(3)]
		}
		return strings.Join(parts, ".")
	}
	fill := func(max int) map[string][]string {
		m := map[string][]string{}
		for range r.IntN(max) {
			n := owner()
			if r.IntN(8) == 0 {
				n = ""
			}
			t := []string{"A", "AAAA", "TXT", "NS", "DNAME", "MX"}[r.IntN(6)]
			if n == "" && t == "NS" || has(m, n, t) {
				continue
			}
			m[n] = append(m[n], t)
		}
		return m
	}
	n := naive{external: fill(8), internal: fill(5)}
	for range r.IntN(3) {
		n.hide = append(n.hide, owner())
	}
	if r.IntN(3) == 0 {
		n.hideTree = append(n.hideTree, owner())
	}
	return n
}

func (n naive) text(m map[string][]string) string {
	data := map[string]string{"A": "192.0.2.1", "AAAA": "2001:db8::1", "TXT": "t", "NS": "ns.else.test.", "DNAME": "else.test.", "MX": "1 mx.else.test."}
	var b strings.Builder
	for owner, types := range m {
		for _, t := range types {
			fmt.Fprintf(&b, "%s %s %s\n", strings.TrimPrefix(owner+".example.", "."), t, data[t])
		}
	}
	return b.String()
}

// Random zones with few names, so that cuts, DNAMEs, wildcards, hidden names and
// what replaces them meet in every way.
func TestMaterialiseAgreesWithTheTable(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5_000) {
		n := randomOverlay(rand.New(rand.NewPCG(seed, 1)))
		names := func(owners []string) (out []string) {
			for _, o := range owners {
				out = append(out, o+".example")
			}
			return out
		}
		got, problems := Materialise(Overlay{
			Origin: parsed(t, "example."), External: records(t, "ext", n.text(n.external)), Internal: records(t, "int", n.text(n.internal)),
			Hide: parsedAll(t, names(n.hide)), HideTree: parsedAll(t, names(n.hideTree)),
		})
		refused := slices.ContainsFunc(problems, zonefile.Problem.Blocks)
		if refused != n.refused() {
			t.Fatalf("seed %d: refused %v\n%+v\n%v", seed, refused, n, problems)
		}
		var kinds []string
		for _, line := range lines(got) {
			f := strings.Fields(line)
			kinds = append(kinds, f[0]+" "+f[1])
		}
		if slices.Sort(kinds); !refused && !slices.Equal(kinds, n.merged()) {
			t.Fatalf("seed %d: %+v\n got %q\nwant %q", seed, n, kinds, n.merged())
		}
	}
}
