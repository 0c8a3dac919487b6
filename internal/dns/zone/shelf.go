package zone

import (
	"iter"
	"slices"

	"postern/internal/dns/name"
)

// shelf holds nodes in canonical order, on boards: the next state of a large
// zone shares all boards but those that an edit touches. It does not change. No
// board is empty.
type shelf struct {
	boards [][]Node
	count  int
	each   int // nodes on a board that is made
}

const boardNodes = 256

// spot is a place on a shelf, or right behind the last one on a board.
type spot struct{ board, at int }

// shelve puts nodes that are in order on a shelf; the list is its from then on.
func shelve(nodes []Node, each int) shelf {
	s := shelf{boards: make([][]Node, 0, (len(nodes)+each-1)/each), each: each}
	s.put(nodes)
	return s
}

// put puts nodes behind all others: on boards of their own of up to twice the
// usual, or, where edits have left few, beside those on the last board.
func (s *shelf) put(nodes []Node) {
	if len(nodes) == 0 {
		return
	}
	s.count += len(nodes)
	if last := len(s.boards) - 1; last >= 0 && len(s.boards[last])+len(nodes) <= s.each && min(len(nodes), len(s.boards[last])) <= max(s.each/8, 1) {
		s.boards[last] = slices.Concat(s.boards[last], nodes) // the board may be another shelf's too
		return
	}
	for len(nodes) > 2*s.each {
		s.boards = append(s.boards, nodes[:s.each:s.each])
		nodes = nodes[s.each:]
	}
	s.boards = append(s.boards, slices.Clip(nodes))
}

// search returns where the name is, or would be.
func (s *shelf) search(n name.Name) (spot, bool) {
	byFirst := func(board []Node, n name.Name) int { return board[0].Name.Compare(n) }
	board, found := slices.BinarySearchFunc(s.boards, n, byFirst)
	if found || board == 0 {
		return spot{board, 0}, found
	}
	board--
	at, found := slices.BinarySearchFunc(s.boards[board], n, func(node Node, n name.Name) int { return node.Name.Compare(n) })
	return spot{board, at}, found
}

func (s *shelf) at(p spot) *Node { return &s.boards[p.board][p.at] }

// from returns the nodes from a place on.
func (s *shelf) from(p spot) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		for ; p.board < len(s.boards); p = (spot{p.board + 1, 0}) {
			for board := s.boards[p.board]; p.at < len(board); p.at++ {
				if !yield(&board[p.at]) {
					return
				}
			}
		}
	}
}

// before returns the nodes before a place, the nearest first.
func (s *shelf) before(p spot) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		for i := min(p.board, len(s.boards)-1); i >= 0; i-- {
			board := s.boards[i]
			if i == p.board {
				board = board[:p.at]
			}
			for j := range slices.Backward(board) {
				if !yield(&board[j]) {
					return
				}
			}
		}
	}
}

// change is the node that a name has from now on; nil: none.
type change struct {
	name name.Name
	node *Node
}

// with returns the shelf after changes, which are in order.
func (s *shelf) with(changes []change) shelf {
	next := shelf{boards: make([][]Node, 0, len(s.boards)+1), each: s.each}
	for i, board := range s.boards {
		here := len(changes)
		if i+1 < len(s.boards) {
			first := s.boards[i+1][0].Name
			for here = 0; here < len(changes) && changes[here].name.Compare(first) < 0; {
				here++
			}
		}
		if here > 0 {
			board = merged(board, changes[:here])
			changes = changes[here:]
		}
		next.put(board)
	}
	next.put(merged(nil, changes)) // of a shelf without boards
	return next
}

// merged returns a board with the changes in place.
func merged(board []Node, changes []change) []Node {
	if len(changes) == 0 {
		return board
	}
	all := make([]Node, 0, len(board)+len(changes))
	for _, c := range changes {
		i, found := slices.BinarySearchFunc(board, c.name, func(node Node, n name.Name) int { return node.Name.Compare(n) })
		all = append(all, board[:i]...)
		if board = board[i:]; found {
			board = board[1:]
		}
		if c.node != nil {
			all = append(all, *c.node)
		}
	}
	return append(all, board...)
}

// cursor goes through a zone's nodes, the apex first.
type cursor struct {
	apex *Node
	shelf
	spot
}

func nodesOf(z *Zone) cursor {
	if z == nil {
		return cursor{}
	}
	return cursor{apex: z.apex, shelf: z.rest}
}

func (c *cursor) next() *Node {
	if n := c.apex; n != nil {
		c.apex = nil
		return n
	}
	if c.board == len(c.boards) {
		return nil
	}
	board := c.boards[c.board]
	n := &board[c.spot.at]
	if c.spot.at++; c.spot.at == len(board) {
		c.spot = spot{c.board + 1, 0}
	}
	return n
}

// passShared moves two cursors past the boards that both have next.
func passShared(a, b *cursor) {
	for a.apex == nil && b.apex == nil && a.spot.at == 0 && b.spot.at == 0 && a.board < len(a.boards) && b.board < len(b.boards) {
		x, y := a.boards[a.board], b.boards[b.board]
		if &x[0] != &y[0] || len(x) != len(y) {
			return
		}
		a.board, b.board = a.board+1, b.board+1
	}
}
