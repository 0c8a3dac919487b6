package queue

import (
	"slices"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
)

// isForeign reports that none of the recipients has a configured route.
func (q *Queue) isForeign(env *envelope.Envelope) bool {
	return !slices.ContainsFunc(env.To, func(to address.Address) bool { return q.cfg.Router.Static(to.Domain) })
}

// line is where a waiting message stands.
func (q *Queue) line(it *item) *byTime {
	if it.foreign {
		return &q.abroad
	}
	return &q.due
}

// full reports that nobody of a line may be taken up.
func (q *Queue) full(line *byTime) bool {
	return q.active >= q.cfg.Active || line == &q.abroad && q.foreignFull()
}

// foreignFull keeps the last tenth of the active messages for those with a
// configured route, as nextReady does with the attempts.
func (q *Queue) foreignFull() bool { return q.foreign >= q.cfg.Active-q.cfg.Active/10 }

// nextLine is the line whose first message is due first, of those that are not
// full.
func (q *Queue) nextLine() *byTime {
	var next *byTime
	for _, line := range [...]*byTime{&q.due, &q.abroad} {
		if len(*line) > 0 && !q.full(line) && (next == nil || (*line)[0].next.Before((*next)[0].next)) {
			next = line
		}
	}
	return next
}

// countForeign takes room for a message with jobs outside, if there is any.
func (q *Queue) countForeign(it *item) bool {
	if !it.counted && q.foreignFull() {
		return false
	}
	if !it.counted {
		it.counted = true
		q.foreign++
	}
	return true
}

// byTime is a heap of waiting items.
type byTime []*item

func (h byTime) Len() int { return len(h) }

func (h byTime) Less(i, j int) bool {
	if h[i].next.Equal(h[j].next) {
		return h[i].id < h[j].id
	}
	return h[i].next.Before(h[j].next)
}

func (h byTime) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *byTime) Push(x any) {
	it := x.(*item)
	it.index = len(*h)
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *byTime) Pop() any {
	last := len(*h) - 1
	it := (*h)[last]
	(*h)[last] = nil
	*h = slices.Delete(*h, last, last+1)
	return it
}
