package zonelint

import "postern/internal/dns/zonefile"

// Code is one thing that can be wrong with a zone: what the manual and
// `postern help lint` say about it.
type Code struct {
	Code     string // a stable reason word
	Severity string
	Blocks   bool   // an ERR with which the zone is not served
	From     string // file: its text; zone: its records; views: the overlay
	What     string
	Fix      string
}

// The sources of a Code.
const (
	fromFile  = "file"
	fromZone  = "zone"
	fromViews = "views"
)

// Codes returns every code there is, by source and subject. It is the one
// table: Check takes severity and fix from here.
func Codes() []Code {
	var all []Code
	from, severity, blocks := "", "", false
	group := func(f, s string, b bool) { from, severity, blocks = f, s, b }
	add := func(code, what, fix string) {
		all = append(all, Code{code, severity, blocks, from, what, fix})
	}
	fileCodes(group, add)
	zoneCodes(group, add)
	nameCodes(group, add)
	mailCodes(group, add)
	viewCodes(group, add)
	return all
}

// byCode returns the table as a map.
func byCode() map[string]Code {
	m := map[string]Code{}
	for _, c := range Codes() {
		m[c.Code] = c
	}
	return m
}

type (
	grouper func(from, severity string, blocks bool)
	adder   func(code, what, fix string)
)

// fileCodes are those of package zonefile, whose hints are made for the place.
func fileCodes(group grouper, add adder) {
	group(fromFile, zonefile.ERR, true)
	add("syntax", "quotes, parentheses or a directive are not as RFC 1035, Section 5.1 has them", "the hint says what is missing")
	add("bad-name", "a name cannot be read", "labels of 1 to 63 octets, 255 in all")
	add("bad-ttl", "a TTL cannot be read, or is above 2147483647 (RFC 2181, Section 8)", "seconds, or numbers with s, m, h, d, w")
	add("bad-type", "a word that stands for the type is none", "types not known by name are written TYPE and their number")
	add("bad-class", "a class that is not IN", "leave the class out")
	add("bad-data", "the data does not fit the type", "the hint shows the form")
	add("no-data", "a record without data", "write the data behind the type")
	add("no-type", "a record without a type", "name, TTL, class, type, data")
	add("no-owner", "a line that begins with a blank has no owner name before it", "begin it with a name, or @ for the zone itself")
	add("bad-generate", "a $GENERATE line cannot be read", "$GENERATE FIRST-LAST[/STEP] OWNER [TTL] [IN] TYPE DATA")
	add("include", "$INCLUDE cannot be followed", "paths are relative to the zone's directory and stay below it")
	add("too-large", "a limit is reached: size, records, $GENERATE", "the message names the limit")
	add("too-many", "too many problems: the rest is not read", "put these right first")
	add("unreadable", "the file cannot be read", "look at its owner and mode")
	group(fromFile, zonefile.WARN, false)
	add("txt-cut", "an unquoted semicolon cuts a text", "put the whole text in quotes")
	add("txt-quotes", "a text in typographic quotes, which are part of it", "write straight ones")
	add("no-ttl", "no TTL is given anywhere", "begin the file with $TTL")
	add("origin-outside", "$ORIGIN leads out of the zone", "add or remove the final dot")
}

func zoneCodes(group grouper, add adder) {
	group(fromZone, zonefile.ERR, true)
	add("soa-missing", "the zone has no SOA", "@ SOA ns1 hostmaster 1 2h 1h 14d 5m")
	add("soa-several", "the zone has several SOA records", "leave one of them")
	add("soa-below", "a SOA that is not at the zone's name", "is this the file of another zone?")
	add("ns-missing", "the zone has no NS at its apex", "@ NS ns1")
	add("cname-other", "a CNAME beside other data", "RFC 1034, Section 3.6.2: a CNAME stands alone")
	add("cname-several", "several CNAMEs at one name", "RFC 2181, Section 10.1: leave one of them")
	add("dname-several", "several DNAMEs at one name", "RFC 6672, Section 2.4: leave one of them")
	add("outside", "a record outside the zone", "a name without its final dot is relative to $ORIGIN")
	group(fromZone, zonefile.ERR, false)
	add("dname-below", "data below a DNAME is never seen", "RFC 6672, Section 2.4: remove the data or the DNAME")
	add("dname-ns", "a DNAME beside NS below the apex", "RFC 6672, Section 2.3: only the apex may have both")
	add("ds-apex", "a DS at the zone's own apex", "a DS belongs into the parent zone")
	add("ds-digest", "the digest of a DS has not the length of its type", "copy it again: SHA-1 has 40 hexadecimal digits, SHA-256 64, SHA-384 96")
	add("tlsa-digest", "the digest of a TLSA or SMIMEA has not the length of its matching type", "copy it again: matching type 1 has 64 hexadecimal digits, 2 has 128")
	add("sshfp-digest", "the fingerprint of an SSHFP has not the length of its type", "run ssh-keygen -r again: type 1 has 40 hexadecimal digits, type 2 has 64")
	group(fromZone, zonefile.WARN, false)
	add("ds-alone", "a DS where nothing is delegated", "RFC 4035, Section 2.4: give the name its NS, or remove the DS")
	add("ds-weak", "a DS with a digest that validators no longer take", "RFC 4509, Section 3: use digest type 2, SHA-256")
	add("occluded", "data at or below a delegation is never answered", "it belongs into the zone that is delegated")
	add("ttl-mixed", "records of one set with several TTLs", "RFC 2181, Section 5.2: give them one TTL")
	add("ttl-large", "a TTL above a week", "a mistake would be remembered that long: a day is enough")
	add("soa-retry", "retry is not below refresh", "RFC 1912, Section 2.2: a fraction of refresh, such as 1h with 2h")
	add("soa-expire", "expire is below a week or below refresh and retry", "RFC 1912, Section 2.2: two to four weeks")
	add("soa-mailbox", "the mailbox of the SOA has an @", "write hostmaster.example.org. for hostmaster@example.org")
	add("wildcard-inner", "a * that is not the first label", "RFC 4592, Section 2.1.1: it stands for itself there")
	add("cname-dangling", "a CNAME to a name that this zone does not have", "add the name, or remove the CNAME")
	add("svcb-alias-params", "an SVCB or HTTPS in alias mode with parameters", "RFC 9460, Section 2.4.2: they are ignored; give it a priority above 0")
	group(fromZone, zonefile.NOTE, false)
	add("ns-single", "the zone has one name server", "RFC 2182, Section 5: two or more, in different networks")
	add("record-twice", "the same record twice", "leave one of them")
	add("glue-unused", "an address below a delegation whose NS do not name it", "remove it, or add the NS")
	add("soa-refresh", "refresh is below 20 minutes or above a day", "RFC 1912, Section 2.2: between 20 minutes and 12 hours")
	add("soa-minimum", "the SOA's minimum is below 5 minutes or above a day", "RFC 2308, Section 5: one to three hours is usual")
	add("soa-primary", "the SOA's primary is no host of this zone that has an address", "name the primary server, one of the NS as a rule")
	add("caa-tag", "a CAA tag that is not known", "known are issue, issuewild, issuemail, issuevmc, iodef, contactemail, contactphone")
}

func nameCodes(group grouper, add adder) {
	group(fromZone, zonefile.ERR, false)
	add("ns-address", "an NS names an address", "give the host a name with an A record")
	add("ns-cname", "an NS names a CNAME", "RFC 2181, Section 10.3: name the canonical name")
	add("ns-lame", "an NS names a host of this zone without an address", "add an A or AAAA record")
	add("ns-chars", "the name of a server has characters that no host name has", "RFC 1123, Section 2.1: letters, digits and hyphens")
	add("mx-address", "an MX names an address", "give the host a name with an A record")
	add("mx-cname", "an MX names a CNAME", "RFC 2181, Section 10.3: name the canonical name")
	add("mx-lame", "an MX names a host of this zone without an address", "add an A or AAAA record")
	add("srv-lame", "an SRV names a host of this zone without an address", "add an A or AAAA record")
	group(fromZone, zonefile.WARN, false)
	add("srv-cname", "an SRV names a CNAME", "RFC 2782: name the canonical name")
	add("srv-address", "an SRV names an address", "give the host a name with an A record")
	add("svcb-lame", "an SVCB or HTTPS names a host of this zone without an address", "add an A or AAAA record")
	add("mx-chars", "the name of a mail host has characters that no host name has", "RFC 1123, Section 2.1: letters, digits and hyphens")
	add("mx-null-mixed", "a null MX beside others", "RFC 7505, Section 3: it stands alone, or goes")
	add("mx-twice", "a mail host with two preferences", "leave one of them")
	add("name-twice", "a name that ends in the zone's name twice", "a final dot is missing?")
	add("private-address", "a private address in a zone that the world sees", "RFC 1918, RFC 4193: give it in the internal view only")
	add("special-address", "an address that no host of this name can have", "such as 0.0.0.0, link-local, multicast or loopback")
	add("documentation-address", "an address of the documentation ranges", "RFC 5737, RFC 3849: put the real one in")
	group(fromZone, zonefile.NOTE, false)
	add("mixed-addresses", "private and public addresses in one file", "fine inside; where the world sees the zone, move the private ones to the internal view")
	add("host-chars", "a host name with characters that RFC 1123 does not have, such as an underscore", "letters, digits and hyphens")
	add("label-hyphens", "a label with hyphens in the third and fourth place that does not begin with xn--", "RFC 5891, Section 4.2.3.1: such labels are reserved")
	add("mx-null-preference", "a null MX with a preference other than 0", "RFC 7505, Section 3: MX 0 .")
}

func mailCodes(group grouper, add adder) {
	group(fromZone, zonefile.ERR, false)
	add("spf-several", "several SPF records at one name", "RFC 7208, Section 4.5: receivers take that for an error and no policy: merge them")
	add("spf-syntax", "an SPF record that cannot be read", "RFC 7208, Section 4.6: receivers take that for an error and no policy")
	add("spf-joined", "an SPF record of several strings without blanks between them", "RFC 7208, Section 3.3: put the whole text in quotes")
	add("spf-lookups", "an SPF record that takes more than ten look-ups", "RFC 7208, Section 4.6.4: replace include, a and mx by ip4 and ip6")
	add("spf-loop", "an SPF record that includes itself", "RFC 7208, Section 5.2: remove the include")
	add("spf-target", "include or redirect names a host of this zone without an SPF record", "RFC 7208, Section 5.2: add the record, or remove the term")
	add("spf-all-pass", "an SPF record that lets everybody pass", "end it with -all or ~all")
	add("dkim-key", "a DKIM record whose key cannot be read", "copy it again as one text in quotes")
	add("dkim-cut", "a DKIM record that ends before its key", "put the whole text in quotes: a semicolon begins a comment")
	add("dkim-short", "a DKIM key below 1024 bits", "RFC 8301, Section 3.2: nobody takes it; make one of 2048")
	add("dkim-several", "several DKIM records at one selector", "RFC 6376, Section 3.6.2.2: give each key a selector of its own")
	add("dmarc-syntax", "a DMARC record that cannot be read", "v=DMARC1; p=reject; rua=mailto:dmarc@example.org")
	add("dmarc-cut", "a DMARC record that ends behind its version", "put the whole text in quotes: a semicolon begins a comment")
	add("dmarc-several", "several DMARC records at one name", "RFC 9989: receivers take that for none: merge them")
	add("dmarc-place", "a DMARC record that is not at _dmarc", "move it to _dmarc below the domain")
	add("mta-sts-record", "the MTA-STS record cannot be read, or there are several", "RFC 8461, Section 3.1: v=STSv1; id=20260101")
	add("tlsrpt-record", "the TLS reporting record cannot be read, or there are several", "RFC 8460, Section 3: v=TLSRPTv1; rua=mailto:tls@example.org")
	group(fromZone, zonefile.WARN, false)
	add("spf-end", "an SPF record that does not say what becomes of the rest", "end it with -all or ~all")
	add("spf-after-all", "terms behind all are never looked at", "move all to the end")
	add("spf-ptr", "an SPF record with ptr", "RFC 7208, Section 5.5: do not use it")
	add("spf-long", "an SPF record above 450 octets", "RFC 7208, Section 3.4: the answer may not fit a packet")
	add("dkim-weak", "an RSA key for DKIM below 2048 bits", "RFC 8301, Section 3.2: make one of 2048")
	add("dkim-tag", "a tag of a DKIM record has a value that nobody takes", "RFC 6376, Section 3.6.1")
	add("dmarc-policy", "a DMARC record without p", "RFC 9989: it counts as p=none")
	add("dmarc-uri", "an address for DMARC reports that is no mailto", "rua=mailto:dmarc@example.org")
	group(fromZone, zonefile.NOTE, false)
	add("spf-type", "an SPF policy in a record of type SPF", "RFC 7208, Section 3.1: only TXT is read")
	add("spf-missing", "a domain that takes mail has no SPF record", `@ TXT "v=spf1 mx -all"`)
	add("dkim-testing", "a DKIM key in testing", "remove t=y when the tests are done")
	add("dmarc-missing", "a domain that takes mail has no DMARC record", `_dmarc TXT "v=DMARC1; p=reject; rua=mailto:dmarc@example.org"`)
	add("dmarc-none", "a DMARC policy that only watches", "p=quarantine or p=reject when the reports look right")
	add("dmarc-obsolete", "a DMARC tag that is no longer read", "RFC 9989 has no pct, rf and ri: remove it")
}

// viewCodes are those of package view.
func viewCodes(group grouper, add adder) {
	group(fromViews, zonefile.ERR, true)
	add("below-cut", "internal data at or below an inherited delegation", "restate the NS in the internal file, or hide the name")
	add("below-dname", "internal data below an inherited DNAME", "give the name records of its own, or hide it")
	group(fromViews, zonefile.ERR, false)
	add("view-unsigned", "a zone that is signed in the view below is not signed in this one", "sign a full copy with the same keys, and give the zone overlay = \"none\" in this view")
	add("view-keys", "a zone has other keys than in the view below", "sign it with the same keys: there is one DS for both")
	group(fromViews, zonefile.WARN, false)
	add("hide-nothing", "a hide entry that hides nothing", "remove it from the configuration")
	add("hide-apex", "a hide entry that names the zone itself", "remove it from the configuration")
	add("hide-wildcard", "a wildcard answers for a hidden name", "hide the wildcard too, or give the name a record of its own")
	add("wildcard-shadowed", "an inherited wildcard no longer covers names that internal data makes exist", "add a wildcard there if they are needed")
	add("leak-address", "a private address of the internal file stands in the external zone", "remove it there, or give the public one")
	add("leak-target", "an external record names a host that exists only inside", "add the name outside, or remove the record")
	group(fromViews, zonefile.NOTE, false)
	add("view-same", "an internal name holds what the view below has anyway", "remove it: it would not follow a change")
	add("view-loses", "an internal name does without types that the view below has there", "a name replaces all types: restate those that are needed")
}
