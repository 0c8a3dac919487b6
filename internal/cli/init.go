package cli

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
	"golang.org/x/net/idna"

	"postern/config"
)

//go:embed initfiles
var initFiles embed.FS

// plan is what init writes, decided from its arguments and the machine's
// addresses.
type plan struct {
	Domain, Hostname string
	Label            string // Hostname relative to Domain
	Dir              string // absolute
	State, Control   string
	Binary           string
	Published        []netip.Addr   // what the zone says our address is
	Outside          []netip.Addr   // where the world reaches us: bound
	Inside           []netip.Addr   // where our own machines ask
	TwoRoles         bool           // an address of Outside is also one of Inside
	Internal         []netip.Prefix // our own networks
	Inner            netip.Addr     // the inner mail server; the zero value if there is none yet
	RelayAt          []netip.Addr
	Files            []string // written
}

func (p plan) InnerHop() string          { return netip.AddrPortFrom(p.Inner, 25).String() }
func (p plan) InnerPrefix() netip.Prefix { return netip.PrefixFrom(p.Inner, p.Inner.BitLen()) }

// initArgs are the flags of init.
type initArgs struct {
	dir, hostname, state, control string
	addresses, internal           []string
	inner                         string
}

func (e *env) initCmd() *cobra.Command {
	var a initArgs
	c := &cobra.Command{
		Use:   "init DOMAIN",
		Short: "Write a working configuration, zones and a systemd unit for a domain",
		Long: `Write a working postern.toml, zones and a hardened systemd unit for DOMAIN, and
print what is left to do. Nothing that exists is overwritten.`,
		Args: exactly(1, "a domain"),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.plan(args[0], machineAddrs)
			if err != nil {
				return err
			}
			if err := p.write(); err != nil {
				return err
			}
			return e.print(p.report(), func(w io.Writer) { _ = p.render(w, "next.tmpl") })
		},
	}
	c.Flags().StringVar(&a.dir, "dir", "/etc/postern", "`directory` to write to")
	c.Flags().StringVar(&a.hostname, "hostname", "", "this machine's `name` (default edge.DOMAIN)")
	c.Flags().StringSliceVar(&a.addresses, "address", nil, "public `address` of this machine (default: those of its interfaces)")
	c.Flags().StringSliceVar(&a.internal, "internal", nil, "own `network`, such as 10.0.0.0/8 (default: the private ones)")
	c.Flags().StringVar(&a.inner, "inner", "", "`address` of the inner mail server")
	c.Flags().StringVar(&a.state, "state", "/var/lib/postern", "state `directory`")
	c.Flags().StringVar(&a.control, "control", "/run/postern/control.sock", "control `socket`")
	return c
}

// privateNets are the networks that are ours by default (RFC 1918, RFC 4193).
const privateNets = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fd00::/8"

// plan decides what to write. own lists the addresses of this machine.
func (a initArgs) plan(domain string, own func() ([]netip.Addr, error)) (plan, error) {
	p := plan{Binary: "/usr/local/bin/postern"}
	if err := p.paths(a); err != nil {
		return p, err
	}
	var err error
	if p.Domain, err = idna.Lookup.ToASCII(strings.TrimSuffix(domain, ".")); err != nil || !strings.Contains(p.Domain, ".") {
		return p, usageError{fmt.Errorf("%q is not a domain name (hint: such as city.example)", domain)}
	}
	if p.Hostname = strings.ToLower(strings.TrimSuffix(a.hostname, ".")); p.Hostname == "" {
		p.Hostname = "edge." + p.Domain
	}
	var below bool
	if p.Label, below = strings.CutSuffix(p.Hostname, "."+p.Domain); !below {
		return p, usageError{fmt.Errorf("--hostname %s: not below %s (hint: such as edge.%[2]s, a name in the zone)", p.Hostname, p.Domain)}
	}
	if err := p.networks(a); err != nil {
		return p, err
	}
	return p, p.addresses(a, own)
}

// paths makes the paths absolute, and plain: they stand in a unit file and in
// commands to copy.
func (p *plan) paths(a initArgs) error {
	for _, f := range []struct {
		flag, path string
		to         *string
	}{{"--dir", a.dir, &p.Dir}, {"--state", a.state, &p.State}, {"--control", a.control, &p.Control}} {
		abs, err := filepath.Abs(f.path)
		if err != nil {
			return err
		}
		if bad := strings.Trim(abs, plainPath); bad != "" {
			return usageError{fmt.Errorf("%s %q: not a plain path (hint: letters, digits and ._/- need no quoting anywhere)", f.flag, f.path)}
		}
		*f.to = abs
	}
	return nil
}

const plainPath = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-"

// StateBelow is the state relative to where systemd makes it, or "".
func (p plan) StateBelow() string { return below(p.State, "/var/lib/") }

// RunBelow is the control socket's directory relative to where systemd makes
// it, or "".
func (p plan) RunBelow() string { return below(filepath.Dir(p.Control), "/run/") }

func below(path, root string) string {
	rest, found := strings.CutPrefix(path, root)
	if !found {
		return ""
	}
	return rest
}

func (p *plan) networks(a initArgs) error {
	if len(a.internal) == 0 {
		a.internal = strings.Split(privateNets, ",")
	}
	for _, s := range a.internal {
		net, err := netip.ParsePrefix(s)
		if err != nil || net.Masked() != net {
			return usageError{fmt.Errorf("--internal %q: not a network (hint: such as 10.0.0.0/8)", s)}
		}
		p.Internal = append(p.Internal, net)
	}
	if a.inner == "" {
		return nil
	}
	var err error
	if p.Inner, err = netip.ParseAddr(a.inner); err != nil {
		return usageError{fmt.Errorf("--inner %q: not an address", a.inner)}
	}
	return nil
}

func (p *plan) addresses(a initArgs, own func() ([]netip.Addr, error)) error {
	mine, err := own()
	if err != nil {
		return fmt.Errorf("list this machine's addresses: %w (hint: --address)", err)
	}
	var public, private []netip.Addr
	for _, m := range mine {
		if p.isInternal(m) {
			private = append(private, m)
		} else {
			public = append(public, m)
		}
	}
	p.Published = public
	if len(a.addresses) > 0 {
		p.Published, p.Outside = nil, nil
	}
	for _, s := range a.addresses {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.IsUnspecified() || addr.IsLoopback() {
			return usageError{fmt.Errorf("--address %q: not an address of a machine", s)}
		}
		p.Published = append(p.Published, addr)
	}
	if len(p.Published) == 0 {
		return usageError{errors.New("this machine has no public address of its own (hint: give the one that leads to it with --address)")}
	}
	p.Inside = append([]netip.Addr{netip.MustParseAddr("127.0.0.1")}, private...)
	for _, addr := range p.Published {
		if has(mine, addr) {
			p.Outside = append(p.Outside, addr)
		}
	}
	if len(p.Outside) == 0 {
		// Behind address translation the world arrives at a private address,
		// of the same family, which then has both roles (VIEWS.md).
		for _, addr := range private {
			if slices.ContainsFunc(p.Published, func(given netip.Addr) bool { return given.Is4() == addr.Is4() }) {
				p.Outside = append(p.Outside, addr)
			}
		}
		p.TwoRoles, p.Inside = true, p.Inside[:1]
	}
	if len(p.Outside) == 0 {
		return usageError{errors.New("this machine has none of the addresses given, and no private one that they could lead to (hint: ip address shows what it has)")}
	}
	return p.relay(private)
}

// relay finds the address at which the inner server reaches us: a private one
// that is not the world's, since port 25 there is the MX door.
func (p *plan) relay(private []netip.Addr) error {
	if !p.Inner.IsValid() {
		return nil
	}
	for _, addr := range private {
		if !has(p.Outside, addr) && addr.Is4() == p.Inner.Is4() {
			p.RelayAt = append(p.RelayAt, addr)
		}
	}
	if len(p.RelayAt) == 0 {
		return usageError{errors.New("--inner needs a private address of this machine, beside the one the world arrives at, for the relay door (hint: add one, or leave --inner out and write the relay listener by hand)")}
	}
	return nil
}

func (p *plan) isInternal(a netip.Addr) bool {
	for _, n := range p.Internal {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

func has(list []netip.Addr, a netip.Addr) bool {
	for _, l := range list {
		if l == a {
			return true
		}
	}
	return false
}

// write writes every file, or none if one of them exists or would be of no
// use.
func (p *plan) write() error {
	files := []struct{ path, template string }{
		{filepath.Join(p.Dir, "postern.toml"), "postern.toml.tmpl"},
		{filepath.Join(p.Dir, "postern.service"), "postern.service.tmpl"},
		{filepath.Join(p.Dir, "zones", "external", p.Domain+".zone"), "external.zone.tmpl"},
		{filepath.Join(p.Dir, "zones", "internal", p.Domain+".zone"), "internal.zone.tmpl"},
	}
	for _, f := range files {
		if _, err := os.Lstat(f.path); err == nil {
			return fmt.Errorf("%s exists; nothing was written (hint: use another --dir, or move it away)", f.path)
		}
	}
	if err := p.check(); err != nil {
		return err
	}
	for _, f := range files {
		// Readable for Postern's own user, writable for the admin alone.
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return fmt.Errorf("%w (hint: as root, or with a --dir of your own)", err)
		}
		out, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		if err := errors.Join(p.render(out, f.template), out.Sync(), out.Close()); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
		p.Files = append(p.Files, f.path)
	}
	return nil
}

// check proves that what will be written is what serve will take.
func (p *plan) check() error {
	var text bytes.Buffer
	if err := p.render(&text, "postern.toml.tmpl"); err != nil {
		return err
	}
	_, problems := config.Parse(text.Bytes(), "postern.toml", p.Dir)
	for _, problem := range problems {
		if problem.Blocks() {
			return usageError{fmt.Errorf("nothing was written, since serve would not take it: %s", problem)}
		}
	}
	return nil
}

func (p *plan) render(w io.Writer, name string) error {
	t, err := template.New(name).Funcs(template.FuncMap{
		"quoted": func(nets []netip.Prefix) string { return list(nets, netip.Prefix.String) },
		"ports": func(addrs []netip.Addr, port uint16) string {
			return list(addrs, func(a netip.Addr) string { return netip.AddrPortFrom(a, port).String() })
		},
		"rrtype": func(a netip.Addr) string {
			if a.Is4() {
				return "A   "
			}
			return "AAAA"
		},
		"dir": filepath.Dir,
	}).ParseFS(initFiles, "initfiles/"+name)
	if err != nil {
		return err
	}
	return t.Execute(w, p)
}

func list[T any](items []T, text func(T) string) string {
	var quoted []string
	for _, i := range items {
		quoted = append(quoted, `"`+text(i)+`"`)
	}
	return strings.Join(quoted, ", ")
}

// report is what --json prints.
func (p *plan) report() any {
	return struct {
		Files      []string     `json:"files"`
		NameServer string       `json:"name_server"`
		Glue       []netip.Addr `json:"glue"`
	}{p.Files, p.Hostname, p.Published}
}
