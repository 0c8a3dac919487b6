package app

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

// The root's keys of 2017 and 2024, as its servers give them.
const rootKeys = `
. IN DNSKEY 257 3 8 AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3+/4RgWOq7HrxRixHlFlExOLAJr5emLvN7SWXgnLh4+B5xQlNVz8Og8kvArMtNROxVQuCaSnIDdD5LKyWbRd2n9WGe2R8PzgCmr3EgVLrjyBxWezF0jLHwVN8efS3rCj/EWgvIWgb9tarpVUDK/b58Da+sqqls3eNbuv7pr+eoZG+SrDK6nWeL3c6H5Apxz7LjVc1uTIdsIXxuOLYA4/ilBmSVIzuDWfdRUfhHdY6+cn8HFRm+2hM8AnXGXws9555KrUB5qihylGa8subX2Nn6UwNR1AkUTV74bU=
. IN DNSKEY 257 3 8 AwEAAa96jeuknZlaeSrvyAJj6ZHv28hhOKkx3rLGXVaC6rXTsDc449/cidltpkyGwCJNnOAlFNKF2jBosZBU5eeHspaQWOmOElZsjICMQMC3aeHbGiShvZsx4wMYSjH8e7Vrhbu6irwCzVBApESjbUdpWWmEnhathWu1jo+siFUiRAAxm9qyJNg/wOZqqzL/dL/q8PkcRU5oUKEpUge71M3ej2/7CPqpdVwuMoTvoB+ZOT4YeGyxMvHmbrxlFzGOHOijtzN+u1TQNatX2XBuzZNQ1K+s2CXkPIZo7s6JgZyvaBevYtxPvYLw4z9mR7K2vaF18UYH9Z9GNUUeayffKC73PYc=`

// TestBuiltInAnchors holds the embedded DS records against the root's keys.
func TestBuiltInAnchors(t *testing.T) {
	t.Parallel()
	anchors, err := anchorsOf(nil)
	if err != nil || len(anchors) != 1 || anchors[0].Zone != name.Root || len(anchors[0].Keys) != 0 {
		t.Fatal(anchors, err)
	}
	want := anchors[0].DS
	keys, err := anchorsOf(strings.Split(rootKeys, "\n"))
	if err != nil || len(keys) != 1 || len(keys[0].Keys) != len(want) {
		t.Fatal(keys, err)
	}
	for i, k := range keys[0].Keys {
		ds, err := dnssec.DS(name.Root, k, dns.SHA256)
		if err != nil || ds.KeyTag != want[i].KeyTag || !strings.EqualFold(ds.Digest, want[i].Digest) {
			t.Errorf("key %d has DS %v, built in is %v (%v)", i, ds, want[i], err)
		}
	}
}

func TestAnchorsByZone(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"x", ". IN A 192.0.2.1", ". IN DS 1 8 2 zz"} {
		if got, err := anchorsOf([]string{bad}); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
	got, err := anchorsOf([]string{". IN DS 1 8 2 AA", "LAB. IN DS 2 8 2 AA", ". IN DS 3 8 2 AA"})
	if err != nil || len(got) != 2 || len(got[0].DS) != 2 || got[1].Zone.String() != "lab." {
		t.Error(got, err)
	}
}
