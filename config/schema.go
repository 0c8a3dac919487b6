package config

import "slices"

// section is a table of the file. In its path "*" stands for a name that the
// admin chooses.
type section struct {
	path string
	list bool   // [[path]]
	doc  string // one line
	soon bool   // known, but not available yet
	knob bool   // only on a server that runs with test knobs
	mute bool   // stands in comments in the reference: it needs a file
	eg   string // what "*" is in the reference
	keys []key
}

// key is one key of a section. This table is the only place that knows a key:
// checks, defaults, hints, the reference and the effective configuration are
// made from it.
type key struct {
	name  string
	kind  kind
	list  bool     // a list of such values
	def   any      // string, bool, int, or []string; nil: none
	eg    any      // what the reference shows where there is no default
	doc   string   // one line
	words []string // what a word may be
	later []string // words that are known, but not available yet
	only  any      // the one value that is available today: string, bool or []string
	soon  bool     // not available yet at all
	need  bool
	shown bool  // stands in the reference like one that is needed
	min   int64 // of a count or a size
	max   int64 // 0: none
}

// schema is the whole file, in the order of the reference.
func schema() []section {
	return slices.Concat(namesSchema(), zonesSchema(), resolverSchema(), mailSchema(), restSchema())
}

func namesSchema() []section {
	return []section{
		{path: "server", doc: "Who this server is, and where it keeps things.", keys: []key{
			{name: "hostname", kind: kindHostname(), eg: "edge.example.net", doc: "EHLO and MX name, certificate subject; needed as soon as mail is listened for"},
			{name: "state", kind: kindPath(), def: "/var/lib/postern", doc: "directory of keys, spool, certificates and last good zones; one process at a time"},
			{name: "control", kind: kindPath(), def: "/run/postern/control.sock", doc: "socket of the commands; its directory is made 0700"},
			{name: "admins", kind: kindCount(), list: true, def: []string{}, max: 1<<32 - 2, doc: "uids besides root and Postern's own that may use the control socket"},
		}},
		{path: "networks", doc: `Named client sets. Built in: "any", "loopback", and "self", which is loopback and the addresses listened on.`, keys: []key{
			{name: "*", kind: kindPrefix(), list: true, eg: []string{"10.0.0.0/8", "fd00::/8"}, doc: "the name internal also says which addresses are not public"},
		}},
		{path: "listen", list: true, doc: "Listeners switch parts on. Every transport on every address; several entries for different mixes.", keys: []key{
			{name: "serve", kind: kindWord(), need: true, eg: "dns", words: []string{"dns", "mx", "submission", "relay", "admin"}, later: []string{"web"}, doc: "what it serves"},
			{name: "address", kind: kindAddressPort(), list: true, need: true, eg: []string{"127.0.0.1:53", "[::1]:53"}, doc: "where"},
			{name: "transport", kind: kindWord(), list: true, eg: []string{"udp", "tcp"}, words: []string{"udp", "tcp", "tls", "starttls", "https", "quic"}, doc: "dns: udp, tcp (both unless given), tls and quic (port 853), https (port 443); submission: tls or starttls (unless given tls on port 465, starttls on 587)"},
			{name: "views", kind: kindName(), list: true, eg: []string{"external"}, doc: "dns: only these views; needed on a public address when any view recurses"},
			{name: "clients", kind: kindClient(), list: true, eg: []string{"any"}, doc: "who may connect at all; anyone unless given"},
			{name: "scram", kind: kindFlag(), def: true, doc: "submission: offer SCRAM once any account has an app password; false: PLAIN and LOGIN alone, for programs that choose SCRAM by themselves and have an account's own password"},
			{name: "proxy", kind: kindFlag(), def: false, doc: "mx, submission, relay: every connection comes from a proxy that says by the PROXY protocol, version 2, for whom; only from mail.inbound.trusted_proxies"},
		}},
		{path: "dns", doc: "Our zones.", keys: []key{
			{name: "apply", kind: kindWord(), def: "auto", words: []string{"auto", "manual"}, doc: "auto: an edited zone is published as soon as it is sound; manual: only by postern zone apply"},
			{name: "serial", kind: kindWord(), def: "keep", words: []string{"keep", "counter", "unixtime", "date"}, doc: "keep: the file's if it is ahead, else the last one + 1"},
			{name: "lint", kind: kindWord(), def: "serve", words: []string{"serve", "strict"}, doc: "serve: only what makes a zone unservable blocks it; strict: every ERR blocks"},
			{name: "max_change", kind: kindPercent(), def: "30%", doc: "larger changes of zones from 10 records on wait for postern zone apply --accept, as does losing apex NS, MX or address, and a followed catalog that loses more of its zones"},
			{name: "rrl", kind: kindLimit(), def: "50/s", doc: "equal answers by UDP to one /24 or /56 outside, where no cookie shows that the client is there"},
			{name: "rrl_total", kind: kindLimit(), def: "200/s", doc: "all answers there together, where rrl is not off: the many names of a large zone make many different ones"},
			{name: "updates", kind: kindLimit(), def: "50/s", doc: "updates that one TSIG key may send; for a moment four seconds of these"},
			{name: "cookies", kind: kindFlag(), def: true, doc: "DNS cookies: clients that show one are outside rrl"},
			{name: "source", kind: kindAddress(), list: true, def: []string{}, doc: "own addresses for NOTIFY, SOA polls and transfers"},
		}},
		{path: "view", list: true, doc: "Who sees what. A TSIG key chooses first; else a listener narrows the views, and of these the first whose clients match is taken.", keys: []key{
			{name: "name", kind: kindName(), need: true, eg: "internal", doc: "how others refer to it"},
			{name: "clients", kind: kindClient(), list: true, need: true, eg: []string{"loopback"}, doc: "who belongs to it"},
			{name: "keys", kind: kindDomain(), list: true, def: []string{}, doc: "TSIG keys: requests signed with these belong here, whatever listener and address they came by"},
			{name: "zones", kind: kindPath(), eg: "zones/internal", doc: "a directory: every NAME.zone is a zone"},
			{name: "overlay", kind: kindName(), eg: "external", doc: "the view that its zones lie over"},
			{name: "hide", kind: kindDomain(), list: true, def: []string{}, doc: "names of the overlaid view that do not exist here"},
			{name: "hide_tree", kind: kindDomain(), list: true, def: []string{}, doc: "the same, with all below"},
			{name: "recursion", kind: kindFlag(), def: false, doc: "resolve the names of others for these clients; never for any"},
		}},
	}
}

// zonesSchema is what zones have, and those whom they go to.
func zonesSchema() []section {
	return []section{
		{path: "zone_default", doc: "For all zones, but where one says otherwise.", keys: []key{
			{name: "dnssec", kind: kindName(), eg: "standard", doc: "the policy that signs them, or off; without it they are served as the files are, signatures and all"},
			{name: "secondaries", kind: kindName(), list: true, eg: []string{"isp1"}, doc: "peers that are told of changes and may transfer; with several views write it in [zone_default.view.NAME]"},
			{name: "catalog", kind: kindDomain(), eg: "cat.example.net", doc: "a catalog zone that Postern makes of them; with several views write it in [zone_default.view.NAME]"},
		}},
		{path: "zone_default.view.*", eg: "external", mute: true, doc: "For all zones of one view.", keys: []key{
			{name: "secondaries", kind: kindName(), list: true, eg: []string{"isp1"}, doc: "peers that are told of changes and may transfer"},
			{name: "catalog", kind: kindDomain(), eg: "cat.example.net", doc: "a catalog zone that Postern makes of them, for its own secondaries, which then need no list of zones"},
		}},
		{path: "zone.*", eg: "example.test", doc: "What one zone has in all its views. A zone needs no entry.", keys: []key{
			{name: "file", kind: kindZoneFile(), eg: "rev-64-26.zone", doc: "its file, where that is not NAME.zone; relative to the zones directory of the view"},
			{name: "dnssec", kind: kindName(), eg: "standard", doc: "a policy, or off"},
			{name: "secondaries", kind: kindName(), list: true, eg: []string{"isp1"}, doc: "as in a view, where one alone holds the zone"},
			{name: "primaries", kind: kindName(), list: true, eg: []string{"hidden"}, doc: "as in a view, where there is only one"},
			{name: "members", kind: kindFlag(), def: false, doc: "as in a view, where there is only one"},
			{name: "catalog", kind: kindDomain(), eg: "cat.example.net", doc: "as in a view, where one alone holds the zone"},
		}},
		{path: "zone.*.view.*", eg: "internal", doc: "What one zone has in one view.", keys: []key{
			{name: "overlay", kind: kindWord(), words: []string{"none"}, doc: "none: the zone of this view is a full copy, not laid over another"},
			{name: "secondaries", kind: kindName(), list: true, eg: []string{"isp1"}, doc: "peers that are told of changes and may transfer, in place of those of all zones; [] for none"},
			{name: "primaries", kind: kindName(), list: true, eg: []string{"hidden"}, doc: "a secondary zone: peers it is transferred from, tried in turn; it has no file here"},
			{name: "members", kind: kindFlag(), def: false, doc: "with primaries: it is a catalog zone, and whatever zones it lists come from the same primaries"},
			{name: "catalog", kind: kindDomain(), eg: "cat.example.net", doc: "the catalog zone that lists it, in place of that of all zones; none for none"},
		}},
		{path: "zone.*.view.*.dynamic", list: true, mute: true, eg: "internal", doc: "Who may update what (RFC 2136): nobody, but for these. What updates changed is kept beside the zone's file.", keys: []key{
			{name: "key", kind: kindDomain(), need: true, eg: "dhcp.", doc: "the TSIG key that signs the updates; it also says which view of the zone is meant"},
			{name: "names", kind: kindPattern(), list: true, need: true, eg: []string{"*.dyn.example.test"}, doc: "exact names, the zone's own among them, or all hosts below one: not names with a label that begins with _, unless that stands after the *."},
			{name: "types", kind: kindType(), list: true, need: true, eg: []string{"A", "AAAA", "DHCID", "PTR"}, doc: "of the records; never what signing makes"},
		}},
		{path: "peer.*", mute: true, eg: "isp1", doc: "Other name servers.", keys: []key{
			{name: "address", kind: kindAddressPort(), list: true, eg: []string{"198.51.100.1:53"}, doc: "of a primary: where zones are transferred from, tried in turn; it may tell of changes from there without a key"},
			{name: "notify", kind: kindAddressPort(), list: true, eg: []string{"198.51.100.53:53"}, doc: "told of changes, and asked which serial it has"},
			{name: "transfer_from", kind: kindClient(), list: true, eg: []string{"198.51.100.0/28"}, doc: "where it transfers from; without keys needed, else anywhere unless given"},
			{name: "keys", kind: kindDomain(), list: true, eg: []string{"partner-2026."}, doc: "TSIG keys: the first signs, all verify; it is served only what is signed"},
			{name: "insecure_by_address", kind: kindFlag(), def: false, doc: "no keys: whoever has, or forges, its address gets the zones"},
			{name: "transport", kind: kindWord(), def: "tcp", words: []string{"tcp", "tls"}, doc: "of transfers; tls: within TLS 1.3 and never otherwise, on a dns listener with transport tls"},
			{name: "client_cert", kind: kindFilePath(), eg: "file:isp1.pem", doc: "with tls: it gets nothing unless it shows the certificate in this PEM file, or one of the authority there; it then needs no keys"},
			{name: "client_name", kind: kindHostname(), eg: "ns1.isp1.test", doc: "a name that must stand in the certificate that it shows"},
			{name: "server_name", kind: kindHostname(), eg: "ns0.hidden.test", doc: "with tls, of a primary: the name in its certificate"},
			{name: "server_ca", kind: kindFilePath(), eg: "file:hidden-ca.pem", doc: "a PEM file of the authorities that vouch for that name; unless given, those of the system"},
			{name: "server_pin", kind: kindPin(), list: true, eg: []string{"sha256/YLh1dUR9y6Kja30RrAn7JKnbQG/uEtLMkBgFF2Fuihg="}, doc: "with tls, of a primary: its public key is one of these, whatever its name, or beside that"},
			{name: "verify", kind: kindWord(), def: "strict", words: []string{"strict", "none"}, doc: "none: with tls, any server that answers at the primary's address is believed to be it"},
			{name: "source", kind: kindAddress(), list: true, def: []string{}, doc: "own addresses for this peer, in place of those of [dns]"},
		}},
		{path: "key.*", mute: true, eg: "partner-2026.", doc: "TSIG keys, shared with those who sign their requests. The name is part of it: both sides write the same.", keys: []key{
			{name: "algorithm", kind: kindWord(), def: "hmac-sha256", words: []string{"hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1"}, doc: "the hash of the signature"},
			{name: "secret", kind: kindSecret(), need: true, eg: "file:secrets/partner-2026.key", doc: "base64; postern key generate makes one"},
		}},
		{path: "dnssec.*", mute: true, eg: "standard", doc: "DNSSEC policies. The name standard is built in: these defaults, unless it is written.", keys: []key{
			{name: "algorithm", kind: kindWord(), def: "ecdsap256sha256", words: []string{"ecdsap256sha256", "ecdsap384sha384", "ed25519", "rsasha256"}, doc: "of keys and signatures"},
			{name: "keys", kind: kindWord(), def: "csk", words: []string{"csk", "ksk+zsk"}, doc: "csk: one key for all; ksk+zsk: one that the parent names, and one that signs the zone"},
			{name: "csk_lifetime", kind: kindLifetime(), def: "manual", doc: "of keys = csk: how long a key is used before it is replaced; manual: until somebody says postern dnssec roll"},
			{name: "ksk_lifetime", kind: kindLifetime(), def: "manual", doc: "of keys = ksk+zsk: the same for the key that the parent names"},
			{name: "zsk_lifetime", kind: kindLifetime(), def: "90d", doc: "of keys = ksk+zsk: the same for the key that signs the zone"},
			{name: "standby", kind: kindFlag(), def: false, doc: "one more key of each kind is published, and known to the parent, so that a key can be replaced at once"},
			{name: "denial", kind: kindWord(), def: "nsec", words: []string{"nsec", "nsec3"}, doc: "proofs of what does not exist; nsec3: with hashed names, no salt and no further iterations"},
			{name: "opt_out", kind: kindFlag(), def: false, doc: "of nsec3: unsigned delegations are left out"},
			{name: "validity", kind: kindValidity(), def: "auto", doc: "of signatures; auto: at least 14 days, and as long as secondaries and caches may keep them"},
			{name: "zonemd", kind: kindWord(), def: "auto", words: []string{"auto", "on", "off"}, doc: "a digest of the whole zone; auto: on, but off where updates are allowed"},
			{name: "cds", kind: kindFlag(), def: true, doc: "CDS and CDNSKEY records tell the parent of keys; they appear only once every secondary serves the key"},
			{name: "check_ds", kind: kindFlag(), def: true, doc: "look for the zone's DS at its parent: before it is signed first, and before a key goes; false: no parent delegates it, or none can be asked"},
		}},
	}
}

func resolverSchema() []section {
	return []section{
		{path: "resolver", doc: "The resolver always exists, for mail; views open it to clients.", keys: []key{
			{name: "validate", kind: kindFlag(), def: false, only: false, doc: "DNSSEC validation of what clients ask for"},
			{name: "root_hints", kind: kindPath(), eg: "root.hints", doc: "a file in place of the built-in root servers"},
			{name: "trust_anchor", kind: kindPath(), eg: "trust.anchor", doc: "a file of DS or DNSKEY lines in place of the built-in trust anchor"},
			{name: "source", kind: kindAddress(), list: true, def: []string{}, doc: "own addresses to ask from"},
			{name: "qname_minimisation", kind: kindWord(), def: "relaxed", words: []string{"off", "relaxed", "strict"}, doc: "how much of a name upper servers see"},
			{name: "negative_trust_anchor", kind: kindDomain(), list: true, def: []string{}, doc: "names at and below which nothing is validated"},
			{name: "rpz", kind: kindPath(), list: true, def: []string{}, only: []string{}, doc: "response policy zones"},
			{name: "cache_size", kind: kindSize(), def: "256MB", min: 1e6, doc: "bound of the cache"},
		}},
		{path: "resolver.forward", list: true, soon: true, doc: "Names that are asked of given resolvers."},
		{path: "resolver.stub", list: true, soon: true, doc: "Names that are asked of given authorities."},
		{path: "resolver.test", knob: true, doc: "For tests and benchmarks only: refused unless serve runs with --test-knobs.", keys: []key{
			{name: "upstream_map", kind: kindPath(), eg: "upstream.map", doc: "a file of lines IP IP:PORT, applied when dialling"},
			{name: "allow_private_upstream", kind: kindFlag(), def: false, doc: "dial private and loopback addresses"},
			{name: "timeout", kind: kindDuration(), eg: "200ms", doc: "of one try"},
			{name: "skew", kind: kindDuration(), def: "0s", doc: "clock skew allowed in signatures"},
			{name: "ipv4", kind: kindFlag(), def: true, doc: "ask over IPv4"},
			{name: "ipv6", kind: kindFlag(), def: true, doc: "ask over IPv6"},
			{name: "edns_size", kind: kindCount(), def: 1232, min: 512, max: 4096, doc: "UDP size announced upstream"},
			{name: "priming", kind: kindFlag(), def: false, only: false, doc: "ask a root server for the root servers first"},
			{name: "case_randomisation", kind: kindFlag(), def: true, doc: "mix the case of questions"},
			{name: "special_use", kind: kindFlag(), def: true, doc: "treat special-use names as the RFCs say"},
			{name: "prefetch", kind: kindFlag(), def: false, only: false, doc: "renew popular entries early"},
			{name: "stale", kind: kindFlag(), def: false, only: false, doc: "serve stale entries"},
			{name: "aggressive_nsec", kind: kindFlag(), def: false, only: false, doc: "deny from cached proofs"},
			{name: "signalling", kind: kindFlag(), def: false, only: false, doc: "key tag signalling"},
		}},
	}
}
