package app

import (
	"bytes"
	"fmt"

	"postern/config"
	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
)

// keysOf is the TSIG keys of a configuration.
func keysOf(cfg *config.Checked) (*tsig.Keys, error) {
	var all []tsig.Key
	for _, k := range cfg.Keys {
		n, err := name.Parse(k.Name)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.Name, err)
		}
		algorithm, _ := tsig.ParseAlgorithm(k.Algorithm) // NewKeys refuses none
		all = append(all, tsig.Key{Name: n, Algorithm: algorithm, Secret: k.Secret})
	}
	return tsig.NewKeys(all)
}

// keyNames is the keys of a view.
func keyNames(v config.View) []name.Name {
	var names []name.Name
	for _, written := range v.Keys {
		if n, err := name.Parse(written); err == nil { // keysOf refuses others
			names = append(names, n)
		}
	}
	return names
}

// renewed tells which keys have another secret: nothing else of them shows it.
func renewed(old, next *config.Checked) []string {
	lines := []string{}
	for _, k := range next.Keys {
		for _, was := range old.Keys {
			if was.Name == k.Name && !bytes.Equal(was.Secret.Reveal(), k.Secret.Reveal()) {
				lines = append(lines, "key "+k.Name+": another secret")
			}
		}
	}
	return lines
}
