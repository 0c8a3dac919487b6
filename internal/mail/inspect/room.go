package inspect

import (
	"context"
	"net/netip"
	"sync"
)

// room is the evaluations that may run at once, and what of it one network may
// have: a stranger whose DNS is slow on purpose makes others of its network
// wait, and nobody else. It is as large as the evaluations begun and not ended,
// which connections bound.
type room struct {
	all   chan struct{} // a token for each evaluation that runs
	share int           // of one network

	mu       sync.Mutex // guards networks
	networks map[netip.Prefix]*network
}

// network is one with evaluations.
type network struct {
	tokens chan struct{}
	users  int // that run or wait
}

func newRoom(size int) *room {
	return &room{all: make(chan struct{}, size), share: max(size/8, 1), networks: make(map[netip.Prefix]*network)}
}

// networkOf is what one stranger commands without effort: a /24 of IPv4, a /48
// of IPv6.
func networkOf(client netip.Addr) netip.Prefix {
	bits := 48
	if client.Is4() {
		bits = 24
	}
	p, _ := client.Prefix(bits) // cannot fail; of no address it is no prefix, which is one network too
	return p
}

// enter takes a place, first of the network's and then of all, or gives up with
// ctx. The caller leaves unless it was refused.
func (i *Inspector) enter(ctx context.Context, client netip.Addr) (leave func(), ok bool) {
	r, prefix := i.room, networkOf(client)
	n := r.join(prefix)
	if !acquire(ctx, n.tokens, &i.Counters.WaitedNetwork) {
		r.part(prefix, n)
		return nil, false
	}
	if !acquire(ctx, r.all, &i.Counters.Waited) {
		<-n.tokens
		r.part(prefix, n)
		return nil, false
	}
	return func() {
		<-r.all
		<-n.tokens
		r.part(prefix, n)
	}, true
}

func (r *room) join(prefix netip.Prefix) *network {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.networks[prefix]
	if n == nil {
		n = &network{tokens: make(chan struct{}, r.share)}
		r.networks[prefix] = n
	}
	n.users++
	return n
}

func (r *room) part(prefix netip.Prefix, n *network) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n.users--; n.users == 0 {
		delete(r.networks, prefix)
	}
}
