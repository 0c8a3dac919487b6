package app

import (
	"context"
	"net/netip"

	"postern/internal/dns/contrast"
	"postern/internal/dns/name"
	"postern/internal/dns/xfr"
	"postern/internal/dns/zone"
)

// others is the inquirer as operators use it.
type others struct{ *App }

// See implements manage.Others. It asks from where secondaries are asked.
func (a others) See(ctx context.Context, z *zone.Zone, server netip.AddrPort, key name.Name, ask bool) (*contrast.Seen, error) {
	p := &xfr.Primary{Name: server.String(), Addr: []netip.AddrPort{server}, Key: key, Source: onePerFamily(a.inForce().DNS.Source)}
	return a.inquirer.See(ctx, z, p, ask)
}
