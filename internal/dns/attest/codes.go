package attest

// Code is one thing that can be wrong with a signed zone.
type Code struct {
	Code string // a stable reason word
	What string
	Fix  string

	// Breaks says that with it some answer of the zone fails to validate, or
	// a validator is told what is not so; without it the zone merely is not as
	// it should be.
	Breaks bool
}

// Codes returns every code there is, by subject.
func Codes() []Code {
	var all []Code
	breaks := func(code, what, fix string) { all = append(all, Code{code, what, fix, true}) }
	minor := func(code, what, fix string) { all = append(all, Code{code, what, fix, false}) }
	keyCodes(breaks, minor)
	signatureCodes(breaks, minor)
	nsecCodes(breaks, minor)
	nsec3Codes(breaks, minor)
	digestCodes(breaks, minor)
	return all
}

type adder func(code, what, fix string)

func keyCodes(breaks, minor adder) {
	breaks("dnskey-missing", "the zone has no DNSKEY set, or none of its keys can sign", "sign the zone")
	breaks("dnskey-bad", "a DNSKEY record is no zone key, or holds no key of its algorithm (RFC 4034, Section 2.1)", "export the key anew")
	breaks("dnskey-sep", "the DNSKEY set is not signed by a key with the SEP flag", "sign it with the key that the parent's DS points to")
	minor("algorithm-unknown", "a key is of an algorithm that is not judged here", "use 13, ECDSA P-256 (RFC 9904)")
	minor("algorithm-old", "a key is of an algorithm with SHA-1 (RFC 9905)", "use 13, ECDSA P-256 (RFC 9904)")
	minor("key-weak", "an RSA key has fewer than 2048 bits", "use 13, ECDSA P-256 (RFC 9904)")
	breaks("ds-apex", "a DS set stands at the zone's own name (RFC 4035, Section 2.4)", "it belongs into the parent zone")
	breaks("ds-unmatched", "no DS of the parent points to a key that signs the DNSKEY set", "sign with the key that the parent's DS is of, or give the parent a new DS first")
	breaks("ds-algorithm", "the parent's DS set has an algorithm with which the zone is not signed (RFC 6840, Section 5.11)", "take that DS away first")
	minor("cds-missing", "a CDNSKEY set without a CDS set (RFC 7344, Section 4)", "publish both")
	minor("cdnskey-missing", "a CDS set without a CDNSKEY set (RFC 7344, Section 4)", "publish both")
	breaks("cds-unmatched", "CDS and CDNSKEY do not say the same, or lead to no key of the zone (RFC 7344, Section 4.1)", "make them anew from the keys")
	minor("cds-delete", "a CDS or CDNSKEY that asks for removal is not alone, or not in the form that says so (RFC 8078, Section 4)", "publish it alone, as 0 0 0 00 and 0 3 0 AA==")
	minor("cds-signer", "a CDS or CDNSKEY set is not signed by a key that signs the DNSKEY set and that the parent points at (RFC 7344, Section 4.1): the parent will not follow it", "sign it with the key that the parent's DS is of")
}

func signatureCodes(breaks, minor adder) {
	breaks("sig-missing", "an RRset of the zone is not signed (RFC 4035, Section 2.2)", "sign the zone anew")
	breaks("sig-algorithm", "an RRset lacks a signature of an algorithm of which the zone has a key (RFC 4035, Section 2.2; RFC 6840, Section 5.11)", "sign everything with a new algorithm before its key is published")
	breaks("sig-wrong", "a signature does not match the records", "sign the zone anew; nothing may change the records afterwards")
	breaks("sig-key", "a signature is by a key that the zone does not have, or that may not sign", "publish the key for as long as its signatures are there")
	breaks("sig-signer", "a signature's signer is not the zone (RFC 4035, Section 5.3.1)", "sign the zone anew")
	breaks("sig-labels", "a signature's count of labels is not that of the name (RFC 4034, Section 3.1.3)", "sign the zone anew")
	breaks("sig-ttl", "the TTL of a set is not the one that was signed (RFC 4034, Section 3.1.4)", "all records of a set have one TTL; sign anew after changing it")
	breaks("sig-early", "a signature does not hold yet", "look at the clock of who signed")
	breaks("sig-expired", "a signature holds no more", "sign the zone anew")
	minor("sig-short", "a signature will expire while secondaries or caches may still give it out", "sign for longer than SOA expire and the largest TTL together, and sign again in time")
	breaks("sig-orphan", "a signature covers a set that is not there, or other signatures", "sign the zone anew")
	breaks("sig-cut", "NS or glue at a delegation is signed (RFC 4035, Section 2.2)", "sign the zone anew")
	breaks("sig-below", "what lies below a delegation or a DNAME is signed (RFC 4035, Section 2.2)", "sign the zone anew")
}

func nsecCodes(breaks, minor adder) {
	breaks("denial-none", "the zone has neither NSEC nor NSEC3 records", "sign the zone anew")
	breaks("denial-both", "the zone has both NSEC and NSEC3 records", "sign the zone anew with one of them")
	breaks("nsec-missing", "a name has no NSEC record (RFC 4035, Section 2.3)", "sign the zone anew")
	breaks("nsec-extra", "a name that has no records, or no authority, has an NSEC record", "sign the zone anew")
	breaks("nsec-several", "a name has several NSEC records", "sign the zone anew")
	breaks("nsec-next", "an NSEC record does not lead to the name that follows, the last one to the first", "sign the zone anew")
	breaks("nsec-bitmap", "an NSEC record does not tell of the types that the name has", "sign the zone anew")
	minor("nsec-ttl", "the TTL of an NSEC record is not the lesser of SOA MINIMUM and the SOA's TTL (RFC 9077, Section 3.2)", "sign the zone anew")
}

func nsec3Codes(breaks, minor adder) {
	breaks("nsec3-missing", "a name has no NSEC3 record, and none that opts out covers it (RFC 5155, Section 7.1)", "sign the zone anew")
	breaks("nsec3-extra", "an NSEC3 record is of no name of the zone", "sign the zone anew")
	breaks("nsec3-several", "a name has several NSEC3 records with the same parameters", "sign the zone anew")
	breaks("nsec3-next", "an NSEC3 record does not lead to the hash that follows, the last one to the first", "sign the zone anew")
	breaks("nsec3-bitmap", "an NSEC3 record does not tell of the types that the name has", "sign the zone anew")
	minor("nsec3-ttl", "the TTL of an NSEC3 record is not the lesser of SOA MINIMUM and the SOA's TTL (RFC 9077, Section 3.3)", "sign the zone anew")
	breaks("nsec3-owner", "an NSEC3 record's owner or next name is no hash", "sign the zone anew")
	breaks("nsec3-mixed", "the owner of an NSEC3 record has other records", "give these another name")
	breaks("nsec3-param", "NSEC3 and NSEC3PARAM records do not fit together (RFC 5155, Section 4)", "sign the zone anew")
	breaks("nsec3-flags", "an NSEC3 record has flags that do not exist (RFC 5155, Section 3.1.2)", "sign the zone anew")
	minor("nsec3-optout", "an NSEC3 record opts out, which was not asked for", "sign the zone anew")
	minor("nsec3-iterations", "NSEC3 with iterations (RFC 9276, Section 3.1): validators may treat the zone as insecure", "sign with 0 iterations")
	minor("nsec3-salt", "NSEC3 with a salt (RFC 9276, Section 3.1)", "sign with no salt")
}

func digestCodes(breaks, minor adder) {
	minor("zonemd-missing", "the zone has no ZONEMD record", "sign the zone anew")
	breaks("zonemd-digest", "the digest is not that of the zone (RFC 8976, Section 4)", "make it anew")
	breaks("zonemd-serial", "the digest is of another serial", "make it anew with each version")
	breaks("zonemd-repeated", "several digests of one scheme and hash (RFC 8976, Section 2)", "keep one")
	minor("zonemd-unknown", "no digest is of a scheme and a hash that are known", "use SIMPLE with SHA-384")
}
