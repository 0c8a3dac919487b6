package view

import (
	"fmt"
	"strings"
)

// maxDepth is how many views may lie one over the other, the lowest counted.
const maxDepth = 4

// Order returns the indices of the views so that each comes after the one it
// overlays: overlays maps a view's name to the name below it, "" for none. It
// refuses unknown views, cycles, and chains deeper than four.
func Order(names []string, overlays map[string]string) ([]int, error) {
	index := make(map[string]int, len(names))
	for i, n := range names {
		if _, twice := index[n]; twice {
			return nil, fmt.Errorf("view %q is named twice", n)
		}
		index[n] = i
	}
	depth := make([]int, len(names))
	for i, n := range names {
		d, err := depthOf(n, index, overlays)
		if err != nil {
			return nil, err
		}
		depth[i] = d
	}
	order := make([]int, 0, len(names))
	for d := 1; d <= maxDepth; d++ {
		for i := range names {
			if depth[i] == d {
				order = append(order, i)
			}
		}
	}
	return order, nil
}

func depthOf(n string, index map[string]int, overlays map[string]string) (int, error) {
	path := []string{n}
	for below := overlays[n]; below != ""; below = overlays[below] {
		if _, ok := index[below]; !ok {
			return 0, fmt.Errorf("view %q overlays %q, which is no view", path[len(path)-1], below)
		}
		path = append(path, below)
		if below == n || len(path) > len(index) {
			return 0, fmt.Errorf("views overlay one another in a ring: %s", strings.Join(path, " over "))
		}
	}
	if len(path) > maxDepth {
		return 0, fmt.Errorf("views overlay one another more than %d deep: %s", maxDepth, strings.Join(path, " over "))
	}
	return len(path), nil
}
