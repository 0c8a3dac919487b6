package roster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"postern/internal/dns/catalog"
	"postern/internal/dns/name"
)

// file is what is written down.
type file struct {
	Members []member `json:"members"`
	Made    []made   `json:"made"`
}

type member struct {
	Zone    string `json:"zone"`
	View    string `json:"view"`
	Catalog string `json:"catalog"`
	ID      string `json:"id"`
}

type made struct {
	Zone string `json:"zone"`
	View string `json:"view"`
}

func (r *Roster) load() error {
	r.members = map[string][]catalog.Assigned{}
	text, err := os.ReadFile(r.config.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("roster of catalogs: %w", err)
	}
	if err := r.read(text); err != nil {
		aside := r.config.Path + ".bad"
		r.config.Log.Error("roster of catalogs cannot be read; it is made anew", "file", r.config.Path, "aside", aside, "err", err)
		r.members, r.made = map[string][]catalog.Assigned{}, nil
		if err := os.Rename(r.config.Path, aside); err != nil {
			return fmt.Errorf("roster of catalogs: %w", err)
		}
	}
	return nil
}

func (r *Roster) read(text []byte) error {
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return err
	}
	for _, m := range f.Members {
		zone, err := name.Parse(m.Zone)
		if err != nil {
			return fmt.Errorf("zone %q: %w", m.Zone, err)
		}
		of, err := name.Parse(m.Catalog)
		if err != nil {
			return fmt.Errorf("catalog %q: %w", m.Catalog, err)
		}
		r.members[m.View] = append(r.members[m.View], catalog.Assigned{Zone: zone, ID: m.ID, Catalog: of})
	}
	for _, m := range f.Made {
		zone, err := name.Parse(m.Zone)
		if err != nil {
			return fmt.Errorf("catalog %q: %w", m.Zone, err)
		}
		r.made = append(r.made, Place{zone, m.View})
	}
	return nil
}

func (r *Roster) save() error {
	f := file{Members: []member{}, Made: []made{}}
	var views []string
	for view := range r.members {
		views = append(views, view)
	}
	slices.Sort(views)
	for _, view := range views {
		for _, a := range r.members[view] {
			f.Members = append(f.Members, member{a.Zone.String(), view, a.Catalog.String(), a.ID})
		}
	}
	for _, at := range r.made {
		f.Made = append(f.Made, made{at.Zone.String(), at.View})
	}
	text, err := json.MarshalIndent(f, "", "\t")
	if err != nil {
		return fmt.Errorf("roster of catalogs: %w", err)
	}
	if err := r.config.Writer.Write(r.config.Path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("roster of catalogs: %w", err)
	}
	return nil
}
