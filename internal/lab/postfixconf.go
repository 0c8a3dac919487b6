package lab

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// makeConfig writes main.cf and master.cf.
func (p *Postfix) makeConfig(cfg PostfixConfig) {
	p.l.t.Helper()
	certificate(p.l, filepath.Join(p.dir, "tls.pem"), cfg.Host)
	settings := p.settings(cfg)
	for key, value := range cfg.Settings {
		settings[key] = value
	}
	var main strings.Builder
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&main, "%s = %s\n", key, settings[key])
	}
	// Postfix waits two seconds before it reads a file written just now.
	past := time.Now().Add(-time.Hour)
	for name, text := range map[string]string{"main.cf": main.String(), "master.cf": fmt.Sprintf(services, cfg.Address)} {
		file := p.l.Write(filepath.Join(p.dir, "etc", name), text)
		if err := os.Chtimes(file, past, past); err != nil {
			p.l.t.Fatal(err)
		}
	}
}

// settings is main.cf but for what the test adds.
func (p *Postfix) settings(cfg PostfixConfig) map[string]string {
	return map[string]string{
		"compatibility_level":  "3.6",
		"queue_directory":      p.dir + "/queue",
		"data_directory":       p.dir + "/data",
		"command_directory":    "/usr/sbin",
		"daemon_directory":     "/usr/lib/postfix/sbin",
		"shlib_directory":      "/usr/lib/postfix",
		"meta_directory":       "/etc/postfix",
		"mail_owner":           "postfix",
		"setgid_group":         "postdrop",
		"maillog_file":         "/dev/stdout",
		"alias_maps":           "",
		"alias_database":       "",
		"mydestination":        "",
		"local_recipient_maps": "",

		"myhostname": cfg.Host,
		"myorigin":   "$myhostname",
		// Only what an interface lists may stand here; master.cf has the rest.
		"inet_interfaces":   "127.0.0.1",
		"proxy_interfaces":  cfg.Address,
		"smtp_bind_address": cfg.Address,
		"smtp_host_lookup":  "dns",
		"relayhost":         cfg.Relayhost,
		"mynetworks":        strings.Join(append([]string{cfg.Address + "/32"}, cfg.Networks...), " "),

		"virtual_mailbox_domains": strings.Join(cfg.Domains, " "),
		"virtual_mailbox_base":    p.dir + "/mail",
		"virtual_mailbox_maps":    "static:all/",
		"virtual_uid_maps":        "static:" + strconv.Itoa(p.id("nobody", false)),
		"virtual_gid_maps":        "static:" + strconv.Itoa(p.id("nogroup", true)),

		"smtpd_tls_chain_files":              p.dir + "/tls.pem",
		"smtpd_tls_security_level":           "may",
		"smtpd_tls_received_header":          "yes",
		"smtp_tls_security_level":            "may",
		"smtpd_client_connection_rate_limit": "0",

		// A deferred mail is tried again while a test still waits.
		"queue_run_delay":      "1s",
		"minimal_backoff_time": "1s",
		"maximal_backoff_time": "2s",
	}
}

// services is master.cf: what an SMTP server, an SMTP client and mailboxes
// need, nothing in a chroot.
const services = `
	%s:25     inet  n  -  n  -     -  smtpd
	pickup    unix  n  -  n  60    1  pickup
	cleanup   unix  n  -  n  -     0  cleanup
	qmgr      unix  n  -  n  300   1  qmgr
	tlsmgr    unix  -  -  n  1000? 1  tlsmgr
	rewrite   unix  -  -  n  -     -  trivial-rewrite
	bounce    unix  -  -  n  -     0  bounce
	defer     unix  -  -  n  -     0  bounce
	trace     unix  -  -  n  -     0  bounce
	verify    unix  -  -  n  -     1  verify
	flush     unix  n  -  n  1000? 0  flush
	proxymap  unix  -  -  n  -     -  proxymap
	proxywrite unix -  -  n  -     1  proxymap
	smtp      unix  -  -  n  -     -  smtp
	relay     unix  -  -  n  -     -  smtp
	showq     unix  n  -  n  -     -  showq
	error     unix  -  -  n  -     -  error
	retry     unix  -  -  n  -     -  error
	discard   unix  -  -  n  -     -  discard
	virtual   unix  -  n  n  -     -  virtual
	lmtp      unix  -  -  n  -     -  lmtp
	anvil     unix  -  -  n  -     1  anvil
	scache    unix  -  -  n  -     1  scache
	postlog   unix-dgram n - n -   1  postlogd
	`
