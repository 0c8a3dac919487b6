package main

import "path/filepath"

// edits shows how soon answers come while a zone is edited every second, at
// half of what the server can do, on the machine of total with a second core:
// nobody takes its cores away, so what is late is late by our own doing. Its
// clock counts a nanosecond for an instruction of either core, so that it is a
// slow one.
func (b *bench) edits() error {
	if why := b.cannotTotal(); why != "" {
		b.printf("\nedits under load: not measured, %s\n", why)
		return nil
	}
	initrd := filepath.Join(b.dir, "initrd-edits")
	if err := b.furnishGuest(initrd); err != nil {
		return err
	}
	t, err := b.boot(initrd, "edits", 2)
	if err != nil {
		return err
	}
	b.printf("\nedits under load, by QEMU with %s; one core for the server, one for client and editor; together they have 10^9 instructions a second\n", filepath.Base(b.kernel))
	for _, row := range t.rows {
		b.printf("%s\n", row)
	}
	return nil
}
