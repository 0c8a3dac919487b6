package manage

import (
	"context"
	"time"
)

// DKIMKey is a key that mail of a domain is signed with, without its private
// half.
type DKIMKey struct {
	Domain    string    `json:"domain"`
	Selector  string    `json:"selector"`
	Algorithm string    `json:"algorithm"`
	Created   time.Time `json:"created"`
	Published bool      `json:"published"`
	Signs     bool      `json:"signs"` // what leaves is signed with it
	Owner     string    `json:"owner"` // of its TXT record
	Record    string    `json:"record"`
	Problem   string    `json:"problem,omitempty"` // why it is not published
}

func (d *Desk) dkimList(context.Context, none) ([]DKIMKey, error) {
	keys := []DKIMKey{}
	for _, s := range d.cfg.DKIM() {
		keys = append(keys, DKIMKey{
			Domain: s.Domain, Selector: s.Selector, Algorithm: s.Algorithm, Created: s.Created,
			Published: s.Published, Signs: s.Signs, Owner: s.Owner(), Record: s.Record, Problem: s.Problem,
		})
	}
	return keys, nil
}
