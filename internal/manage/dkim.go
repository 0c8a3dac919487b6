package manage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"postern/internal/mail/selector"
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
	Began     time.Time `json:"began,omitzero"`    // to sign
	Next      time.Time `json:"next,omitzero"`     // when it begins to sign, or is withdrawn
}

// DKIMArgs names a mail domain.
type DKIMArgs struct {
	Domain string `json:"domain"`
}

// rotateTime bounds the making of new keys.
const rotateTime = time.Minute

func (d *Desk) dkimRotate(ctx context.Context, a DKIMArgs) ([]DKIMKey, error) {
	ctx, cancel := context.WithTimeout(ctx, rotateTime)
	defer cancel()
	domain := strings.ToLower(strings.TrimSuffix(a.Domain, "."))
	if err := d.cfg.DKIM.Rotate(ctx, domain); err != nil {
		e := &Error{Reason: ReasonFailed, Text: "dkim rotate: " + err.Error(), Hint: "postern dkim list shows how the keys stand"}
		if errors.Is(err, selector.ErrForeign) {
			e.Reason, e.Hint = ReasonUnknown, "mail.domains has ours"
		}
		return nil, e
	}
	all, err := d.dkimList(ctx, none{})
	return slices.DeleteFunc(all, func(k DKIMKey) bool { return k.Domain != domain }), err
}

func (d *Desk) dkimList(context.Context, none) ([]DKIMKey, error) {
	keys := []DKIMKey{}
	for _, s := range d.cfg.DKIM.List() {
		keys = append(keys, DKIMKey{
			Domain: s.Domain, Selector: s.Selector, Algorithm: s.Algorithm, Created: s.Created,
			Published: s.Published, Signs: s.Signs, Owner: s.Owner(), Record: s.Record, Problem: s.Problem, Began: s.Began, Next: s.Next,
		})
	}
	return keys, nil
}
