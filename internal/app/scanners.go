package app

import (
	"fmt"
	"slices"

	"postern/config"
	"postern/internal/mail/envelope"
	"postern/internal/mail/scan"
)

// scanCounts is what scanners of each kind counted; a reload does not change it.
type scanCounts struct{ clamd, rspamd scan.Counters }

// scannersOf makes those of the configuration, in its order.
func (a *App) scannersOf(cfg *config.Checked) (scan.Scanners, error) {
	kinds := map[string]scan.Kind{"clamd": scan.Clamd, "rspamd": scan.Rspamd}
	counts := map[string]*scan.Counters{"clamd": &a.scans.clamd, "rspamd": &a.scans.rspamd}
	doors := map[string]envelope.Origin{"mx": envelope.MX, "submission": envelope.Submission, "relay": envelope.Relay}
	var all scan.Scanners
	for _, c := range cfg.Mail.Scanners {
		sc := scan.Config{
			Kind: kinds[c.Kind], Network: c.Network, Address: c.Address, Open: c.Accept, Timeout: c.Timeout,
			Count: counts[c.Kind], Log: a.log,
		}
		for _, d := range c.Doors {
			sc.Doors = append(sc.Doors, doors[d])
		}
		s, err := scan.New(sc)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// standingScanners adds them, for a reload to tell.
func standingScanners(all map[string]string, cfg *config.Checked) {
	for i, c := range cfg.Mail.Scanners {
		fail := "defer"
		if c.Accept {
			fail = "accept"
		}
		all[fmt.Sprintf("scanner %d", i+1)] = fmt.Sprintf("%s at %s, fail %s, timeout %s, doors %v", c.Kind, c.Address, fail, c.Timeout, slices.Sorted(slices.Values(c.Doors)))
	}
}
