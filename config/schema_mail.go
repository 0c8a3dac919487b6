package config

func mailSchema() []section {
	return []section{
		{path: "mail", doc: "The organisation's mail.", keys: []key{
			{name: "domains", kind: kindHostname(), list: true, def: []string{}, doc: "what port 25 takes mail for; each needs a [mail.route]"},
		}},
		{path: "mail.route.*", eg: "example.test", doc: "Where mail for one domain goes, in place of its MX.", keys: []key{
			{name: "next_hop", kind: kindNextHop(), list: true, need: true, eg: []string{"smtp://10.0.0.5:25"}, doc: "tried in order: smtp://HOST:PORT, smtps://, lmtp://, lmtp:SOCKET, maildir:PATH"},
			{name: "tls", kind: kindWord(), def: "opportunistic", words: []string{"opportunistic", "required"}, doc: "required: no TLS with the right name, no mail"},
			{name: "name", kind: kindHostname(), doc: "the name in its certificate, where that is not the name of the hop"},
			{name: "ca", kind: kindFilePath(), doc: "a PEM file of authorities, in place of the system's"},
			{name: "user", kind: kindText(), eg: "postern", doc: "to log in with, over verified TLS only"},
			{name: "secret", kind: kindSecret(), eg: "file:secrets/inner", doc: "its password"},
			{name: "recipients", kind: kindRecipients(), def: "any", doc: "who exists behind it; any: every recipient is taken, and the hop decides; verify: the hop is asked at RCPT; file:PATH: who is listed there; ldap:NAME: the directory [mail.ldap.NAME] is asked at RCPT"},
		}},
		{path: "mail.ldap.*", mute: true, eg: "inner", doc: "Directories that know who exists, for recipients = \"ldap:NAME\". They are searched, and never written to.", keys: []key{
			{name: "servers", kind: kindDirectory(), list: true, need: true, eg: []string{"ldaps://ldap.inner.test"}, doc: "tried in order: ldaps://HOST:PORT (port 636 unless given), ldap://HOST:PORT (389)"},
			{name: "tls", kind: kindWord(), def: "required", words: []string{"required", "none"}, doc: "required: nothing is asked without TLS with the right name, on ldap:// by StartTLS; none: ldap:// in the clear, and nobody logs in"},
			{name: "name", kind: kindHostname(), doc: "the name in its certificate, where that is not the name of the server"},
			{name: "ca", kind: kindFilePath(), doc: "a PEM file of authorities, in place of the system's"},
			{name: "user", kind: kindText(), eg: "cn=postern,dc=inner,dc=test", doc: "a DN to log in with (a simple bind), over TLS only; without it nobody does"},
			{name: "secret", kind: kindSecret(), eg: "file:secrets/ldap", doc: "its password"},
			{name: "base", kind: kindText(), need: true, eg: "ou=people,dc=inner,dc=test", doc: "a DN: entries at and below it are searched"},
			{name: "filter", kind: kindFilter(), def: "(mail={address})", doc: "whom it fits, exists (RFC 4515); {address}, {local} and {domain} stand for the recipient's, whatever is in them; a brace itself is \\7b or \\7d"},
			{name: "timeout", kind: kindSpan("1s", "15s"), def: "5s", doc: "for a connection to be ready, and for an answer"},
		}},
		{path: "mail.inbound", doc: "What strangers bring to port 25.", keys: []key{
			{name: "max_size", kind: kindSize(), def: "25MB", min: 64 << 10, max: 1 << 30, doc: "largest message, also for submission and relay"},
			{name: "checks", kind: kindWord(), list: true, def: []string{"spf", "dkim", "dmarc"}, words: []string{"spf", "dkim", "dmarc"}, doc: "[] for none; dmarc needs the other two"},
			{name: "dmarc", kind: kindWord(), def: "enforce", words: []string{"enforce", "monitor"}, doc: "enforce: do what the author domain's policy asks"},
			{name: "quarantine", kind: kindWord(), def: "hold", words: []string{"hold", "tag"}, doc: "what a policy of quarantine does here: hold keeps the message in the queue, tag delivers it marked"},
			{name: "dnsbl", kind: kindBlocklist(), list: true, def: []string{}, doc: "block lists, each with the replies by which it lists, ZONE=PREFIX[,PREFIX]; whom one has is refused, but for postmaster and abuse"},
			{name: "trusted_proxies", kind: kindClient(), list: true, def: []string{}, doc: "who may say by the PROXY protocol whose connection it is, on listeners with proxy = true; never any"},
			{name: "trusted_xclient", kind: kindClient(), list: true, def: []string{}, doc: "who may say by XCLIENT whose mail it is, on mx listeners; it gives no right to relay; never any"},
			{name: "chunking", kind: kindFlag(), def: false, doc: "take messages in chunks (BDAT); what they hold must be lines all the same"},
		}},
		{path: "mail.inbound.exceptions", doc: "Who breaks DMARC on the way without evil intent: their mail is taken in spite of its author's policy.", keys: []key{
			{name: "forwarders", kind: kindForwarder(), list: true, def: []string{}, doc: "hosts that forward: addresses, networks, or domains that they prove to be of; block lists do not count for them"},
			{name: "lists", kind: kindHostname(), list: true, def: []string{}, doc: "domains of mailing lists: both List-Id and a good signature must be theirs"},
			{name: "arc_sealers", kind: kindHostname(), list: true, def: []string{}, doc: "domains whose ARC seals are believed: all sealers of a chain must be named"},
		}},
		{path: "mail.scanner", list: true, mute: true, doc: "Scanners, asked in turn before a message is taken.", keys: []key{
			{name: "kind", kind: kindWord(), need: true, eg: "clamd", words: []string{"clamd", "rspamd"}, doc: "what it is"},
			{name: "address", kind: kindSocket(), need: true, eg: "unix:/run/clamav/clamd.ctl", doc: "unix:PATH, or an address and port"},
			{name: "fail", kind: kindWord(), def: "defer", words: []string{"defer", "accept"}, doc: "what becomes of mail that it does not scan"},
			{name: "timeout", kind: kindDuration(), def: "30s", doc: "for one message; 1s to 2m"},
			{name: "doors", kind: kindWord(), list: true, def: []string{"mx", "submission", "relay"}, words: []string{"mx", "submission", "relay"}, doc: "whose messages it scans"},
		}},
		{path: "mail.relay", list: true, doc: "The third door: named hosts that cannot log in. It needs a relay listener on a private address.", keys: []key{
			{name: "name", kind: kindName(), need: true, eg: "printers", doc: "what log and trace call it"},
			{name: "clients", kind: kindClient(), list: true, shown: true, eg: []string{"10.0.0.5/32"}, doc: "never any"},
			{name: "client_cert", kind: kindFilePath(), doc: "a PEM file in place of addresses, or beside them: the certificate that it shows under TLS, or the authority that issued it"},
			{name: "client_name", kind: kindHostname(), doc: "of client_cert: a name in the certificate, for authorities that issue to others too"},
			{name: "senders", kind: kindSender(), list: true, need: true, eg: []string{"@example.test", "<>"}, doc: "envelope senders it may use"},
			{name: "recipients", kind: kindRecipient(), list: true, def: []string{}, doc: "whom it may write to; [] for anyone"},
			{name: "foreign_from", kind: kindWord(), def: "refuse", words: []string{"refuse", "srs", "keep"}, doc: "mail whose header From is not ours: srs makes its envelope sender ours, and bounces find back; keep lets it pass as it is"},
			{name: "rate", kind: kindRate(), def: "20000/h", doc: "messages"},
		}},
		{path: "mail.outbound", doc: "What goes out to the world.", keys: []key{
			{name: "mode", kind: kindWord(), def: "deliver", words: []string{"deliver", "hold"}, doc: "hold: everything for the world waits in the queue"},
			{name: "smarthost", kind: kindText(), soon: true, doc: "send all through one host"},
			{name: "secret", kind: kindSecret(), soon: true, doc: "its password"},
			{name: "source", kind: kindAddress(), list: true, def: []string{}, doc: "own addresses to send from"},
			{name: "per_account_per_day", kind: kindCount(), def: 1000, min: 1, max: 1e9, doc: "recipients one account may write to in a day"},
			{name: "messages_per_account_per_day", kind: kindCount(), def: 1000, min: 1, max: 1e9, doc: "messages one account may send in a day"},
			{name: "new_per_account_per_day", kind: kindCount(), def: 200, min: 1, max: 1e9, doc: "recipients one account may write to in a day that it has never written to before"},
		}},
		{path: "mail.dkim", doc: "Signatures of our own domains.", keys: []key{
			{name: "algorithms", kind: kindWord(), list: true, def: []string{"rsa2048", "ed25519"}, words: []string{"rsa2048", "ed25519"}, doc: "one selector of each; [] signs nothing"},
			{name: "rotate", kind: kindDuration(), soon: true, doc: "how often a selector is replaced"},
		}},
	}
}

func restSchema() []section {
	return []section{
		{path: "derived", doc: "Records that Postern makes itself. None ever overrides the admin's.", keys: []key{
			{
				name: "publish", kind: kindWord(), list: true, def: []string{"dkim", "ds", "dsboot"}, words: []string{"dkim", "ds", "dsboot"},
				later: []string{"tlsa", "acme", "mta-sts", "tlsrpt", "dmarc", "spf", "mx", "autoconfig", "caa", "null-mx"}, doc: "the kinds that are published; ds: of signed zones, in the zones above them that are signed here; dsboot: what a zone without a DS asks of its parent, in the zones of its name servers (RFC 9615)",
			},
		}},
		{path: "accounts", doc: "Users of the submission listener.", keys: []key{
			{name: "min_length", kind: kindCount(), def: 12, min: 8, max: 128, doc: "of a password"},
			{name: "lockout", kind: kindRate(), def: "10/10m", doc: "so many wrong passwords in that time, and a login waits"},
			{name: "reuse", kind: kindCount(), def: 3, max: 24, doc: "a new password must be none of the last so many, the current one among them; 0: any"},
			{name: "max_age", kind: kindAge(), def: "off", doc: "an older password is refused, after warnings by mail; those of programs never grow old"},
			{name: "blocklist", kind: kindFilePath(), doc: "a file of passwords that are refused, one a line, in whatever letter case; read again at each reload"},
		}},
		{path: "limits", doc: "Bounds of each mail listener.", keys: []key{
			{name: "exempt", kind: kindClient(), list: true, def: []string{}, doc: "addresses outside the limits that count by address (monitoring, load tests)"},
			{name: "connections", kind: kindCount(), def: 1000, min: 1, max: 1e5, doc: "at once"},
			{name: "connections_per_address", kind: kindCount(), def: 50, min: 1, max: 1e5, doc: "at once from one address"},
			{name: "connections_per_network", kind: kindCount(), def: 200, min: 1, max: 1e5, doc: "at once from one network, a /24 or a /56 of IPv6"},
			{name: "connections_per_account", kind: kindCount(), def: 20, min: 1, max: 1e5, doc: "at once with one login"},
			{name: "connections_per_minute", kind: kindCount(), def: 60, min: 1, max: 1e6, doc: "new ones from one address"},
			{name: "network_connections_per_minute", kind: kindCount(), def: 300, min: 1, max: 1e6, doc: "new ones from one network"},
			{name: "errors_per_minute", kind: kindCount(), def: 60, min: 1, max: 1e6, doc: "refused commands from one address"},
			{name: "network_errors_per_minute", kind: kindCount(), def: 300, min: 1, max: 1e6, doc: "refused commands from one network"},
			{name: "unknown_recipients_per_hour", kind: kindCount(), def: 1000, min: 1, max: 1e6, doc: "tried from one address"},
			{name: "network_unknown_recipients_per_hour", kind: kindCount(), def: 4000, min: 1, max: 1e6, doc: "tried from one network"},
			{name: "bytes_per_hour", kind: kindSize(), def: "20GB", min: 1e6, doc: "of messages from one address"},
			{name: "network_bytes_per_hour", kind: kindSize(), def: "100GB", min: 1e6, doc: "of messages from one network"},
			{name: "account_bytes_per_day", kind: kindSize(), def: "10GB", min: 1e6, doc: "of messages from one login"},
			{name: "session_time", kind: kindSpan("1m", "24h"), def: "1h", doc: "of a connection in all"},
			{name: "greeting_delay", kind: kindSpan("0s", "30s"), def: "0s", doc: "mx: silence asked for before the greeting; with none there is still one look whether the client spoke"},
			{name: "recipients_per_message", kind: kindCount(), def: 1000, min: 100, max: 1e5, doc: "RFC 5321 asks for at least 100"},
			{name: "messages_per_connection", kind: kindCount(), def: 1000, min: 1, max: 1e6, doc: "then the client must connect again"},
			{name: "chunks_per_message", kind: kindCount(), def: 1000, min: 1, max: 1e6, doc: "with mail.inbound.chunking"},
		}},
		{path: "tls", doc: "Certificates.", keys: []key{
			{name: "issuer", kind: kindWord(), def: "local", words: []string{"local", "files"}, later: []string{"acme"}, doc: "local: our own authority, kept in the state; files: cert and key below"},
			{name: "cert", kind: kindFilePath(), doc: "PEM chain, for files"},
			{name: "key", kind: kindSecret(), doc: "its PEM key, file:PATH or cred:NAME, readable by its owner alone"},
			{name: "min_version", kind: kindWord(), def: "1.2", words: []string{"1.2", "1.3"}, doc: "oldest TLS offered"},
		}},
		{path: "tls.acme", soon: true, doc: "Certificates from an ACME authority."},
	}
}
