package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/app"
	"postern/internal/dns/authority"
	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
	"postern/internal/dns/zonelint"
)

func (e *env) zoneCheck() *cobra.Command {
	var origin, over string
	c := &cobra.Command{
		Use:   "check FILE…",
		Short: "Show every problem of zone files, as FILE:LINE:COL: SEVERITY CODE message (hint)",
		Long: `Show every problem of zone files. The zone's name is the file's, NAME.zone,
unless --origin says otherwise. A file of a view that lies over another is
judged together with the file it changes, where the configuration names both, or
with that of --over. Works without a running server. The codes: postern help lint.`,
		Args: between(1, -1, "zone files"),
		RunE: func(_ *cobra.Command, files []string) error {
			where := e.zonePlaces()
			problems := []zonefile.Problem{}
			var verdicts []string
			for _, file := range files {
				found, err := where.check(file, origin, over)
				if err != nil {
					return err
				}
				problems = append(problems, found...)
				verdicts = append(verdicts, judgement(file, found))
			}
			err := e.print(problems, func(w io.Writer) {
				for _, p := range problems {
					fmt.Fprintln(w, p.String())
				}
				for _, v := range verdicts {
					fmt.Fprintln(w, v)
				}
				fmt.Fprintln(w, summary(len(files), problems))
			})
			if err == nil && count(problems, isERR) > 0 {
				err = errFound
			}
			return err
		},
	}
	c.Flags().StringVar(&origin, "origin", "", "the zone's `name`, where the file is not NAME.zone")
	c.Flags().StringVar(&over, "over", "", "the `file` of the view below, which this one changes")
	return c
}

func isERR(p zonefile.Problem) bool { return p.Severity == zonefile.ERR }

func count(problems []zonefile.Problem, is func(zonefile.Problem) bool) int {
	n := 0
	for _, p := range problems {
		if is(p) {
			n++
		}
	}
	return n
}

// judgement says what becomes of a zone with these problems, and of its clients
// meanwhile.
func judgement(file string, problems []zonefile.Problem) string {
	errs, block := count(problems, isERR), count(problems, zonefile.Problem.Blocks)
	switch {
	case block > 0:
		return fmt.Sprintf("%s: cannot be served: %d of %d ERR must be put right first; until then the last good state goes on being served", file, block, errs)
	case errs > 0:
		return fmt.Sprintf("%s: can be served, but clients will notice its %d ERR; lint = \"strict\" would not serve it", file, errs)
	}
	return file + ": can be served"
}

func summary(files int, problems []zonefile.Problem) string {
	of := func(severity string) int {
		return count(problems, func(p zonefile.Problem) bool { return p.Severity == severity })
	}
	word := "files"
	if files == 1 {
		word = "file"
	}
	return fmt.Sprintf("%d %s: %d ERR, %d WARN, %d NOTE", files, word, of(zonefile.ERR), of(zonefile.WARN), of(zonefile.NOTE))
}

// zonePlaces knows of which view a file is, where a configuration says so.
type zonePlaces struct{ cfg *config.Checked }

// zonePlaces reads the configuration that is meant. One with problems says
// nothing: it is not what is asked about.
func (e *env) zonePlaces() zonePlaces {
	c, _ := e.load(true)
	return zonePlaces{c}
}

// check judges one file as the view that holds it would.
func (z zonePlaces) check(file, origin, over string) ([]zonefile.Problem, error) {
	zone, err := z.zoneOf(file, origin)
	if err != nil {
		return nil, err
	}
	if over != "" {
		_, problems := authority.CheckOver(file, zone, authority.Below{File: over})
		return problems, nil
	}
	below, has := z.below(file, zone)
	if !has {
		_, problems := authority.CheckFile(file, zone, z.exposure(file))
		return append(z.passed(file, zone), problems...), nil
	}
	_, problems := authority.CheckOver(file, zone, below)
	return append(z.passed(file, zone), problems...), nil
}

// exposure is who sees the file's zone, where the configuration says so.
func (z zonePlaces) exposure(file string) zonelint.Exposure {
	v := z.viewOf(file)
	switch {
	case v == nil:
		return zonelint.Unknown
	case v.Name == app.ExternalView(z.cfg):
		return zonelint.Public
	}
	return zonelint.Inside
}

// passed tells of other files of the zone in a view's directory.
func (z zonePlaces) passed(file string, zone name.Name) []zonefile.Problem {
	if z.viewOf(file) == nil {
		return nil
	}
	files := map[string]string{}
	for _, conf := range z.cfg.Zones {
		if conf.File != "" {
			files[conf.Name] = conf.File
		}
	}
	return authority.CheckPlace(file, zone, files)
}

// zoneOf is the zone that the file holds.
func (z zonePlaces) zoneOf(file, origin string) (name.Name, error) {
	if origin != "" {
		zone, err := name.Parse(origin)
		if err != nil {
			return "", usageError{fmt.Errorf("--origin %q: %w (hint: the zone's name, such as city.example)", origin, err)}
		}
		return zone, nil
	}
	if z.cfg != nil {
		for _, conf := range z.cfg.Zones {
			if conf.File != "" && filepath.Base(conf.File) == filepath.Base(file) && z.viewOf(file) != nil {
				return name.Parse(conf.Name)
			}
		}
	}
	if info, err := os.Stat(file); file == "" || err == nil && info.IsDir() {
		return "", usageError{fmt.Errorf("%q is no file (hint: name the files: %s)", file, filepath.Join(file, "*.zone"))}
	}
	zone, err := authority.ZoneOfFile(filepath.Base(file))
	if err != nil {
		return "", usageError{fmt.Errorf("%s: %w (hint: --origin gives the zone's name)", file, err)}
	}
	return zone, nil
}

// viewOf is the view in whose directory the file lies; nil: none.
func (z zonePlaces) viewOf(file string) *config.View {
	if z.cfg == nil {
		return nil
	}
	here, err := os.Stat(filepath.Dir(file))
	if err != nil {
		return nil
	}
	for i, v := range z.cfg.Views {
		if dir, err := os.Stat(v.Zones); v.Zones != "" && err == nil && os.SameFile(here, dir) {
			return &z.cfg.Views[i]
		}
	}
	return nil
}

// below finds the file that this one changes, view by view down.
func (z zonePlaces) below(file string, zone name.Name) (authority.Below, bool) {
	v := z.viewOf(file)
	if v == nil || v.Overlay == "" || z.standsAlone(v.Name, zone) {
		return authority.Below{}, false
	}
	below := authority.Below{Hide: v.Hide, HideTree: v.HideTree}
	for at := v.Overlay; at != ""; {
		base := z.view(at)
		if base == nil {
			break
		}
		below.File = filepath.Join(base.Zones, filepath.Base(file))
		if _, err := os.Stat(below.File); base.Zones != "" && err == nil {
			if next, has := z.below(below.File, zone); has {
				below.Below = &next
			}
			return below, true
		}
		at = base.Overlay
	}
	return authority.Below{}, false
}

func (z zonePlaces) view(called string) *config.View {
	for i, v := range z.cfg.Views {
		if v.Name == called {
			return &z.cfg.Views[i]
		}
	}
	return nil
}

// standsAlone reports overlay = "none".
func (z zonePlaces) standsAlone(view string, zone name.Name) bool {
	for _, conf := range z.cfg.Zones {
		if n, err := name.Parse(conf.Name); err != nil || n != zone {
			continue
		}
		for _, v := range conf.Views {
			if v.View == view && v.NoOverlay {
				return true
			}
		}
	}
	return false
}
