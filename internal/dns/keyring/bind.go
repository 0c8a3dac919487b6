package keyring

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"postern/internal/dns/dnssec"
)

// FieldOrigin is the field that says which server a key comes from; one that was
// made here has none.
const FieldOrigin = "origin"

// bindPrivate begins a K*.private; formats 1.2 and 1.3 differ in the times
// alone.
const bindPrivate = "Private-key-format: v1."

// bindTime is how times stand there, in UTC.
const bindTime = "20060102150405"

// bindTimes are the times that are kept with a key, and as what.
func bindTimes() map[string]string {
	return map[string]string{
		"Publish": "publish", "Activate": "activate", "Revoke": "revoke", "Inactive": "inactive", "Delete": "delete",
		"SyncPublish": "sync-publish", "SyncDelete": "sync-delete",
	}
}

// parseBindPrivate reads a K*.private.
func parseBindPrivate(text string) (foreign, error) {
	f := foreign{times: []Field{{FieldOrigin, "bind"}}}
	values := make(map[string]string)
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		if !ok {
			continue
		}
		if field, is := bindTimes()[key]; is || key == "Created" {
			at, err := time.Parse(bindTime, value)
			if err != nil {
				return foreign{}, fmt.Errorf("%s: %.20q is no time", key, value)
			}
			if !is {
				f.created = at
				continue
			}
			f.times = append(f.times, Field{field, at.Format(time.RFC3339)})
			continue
		}
		values[key] = value
	}
	if values["Engine"] != "" || values["Label"] != "" {
		return foreign{}, errors.New("the private key lies in a hardware token, not in this file")
	}
	number, _, _ := strings.Cut(values["Algorithm"], " ")
	alg, err := strconv.ParseUint(number, 10, 8)
	if err != nil {
		return foreign{}, errors.New("no algorithm in it")
	}
	f.alg = uint8(alg)
	if _, err := algorithmOf(f.alg); err != nil {
		return foreign{}, err
	}
	f.private, err = bindKey(f.alg, values)
	return f, err
}

// bindKey builds the private key of what the file says.
func bindKey(alg uint8, values map[string]string) (crypto.Signer, error) {
	if alg == dnssec.RSASHA256 {
		return bindRSA(values)
	}
	raw, err := base64.StdEncoding.DecodeString(values["PrivateKey"])
	if err != nil || len(raw) == 0 {
		return nil, errors.New("its PrivateKey is missing or no base64")
	}
	if alg == dnssec.ED25519 {
		if len(raw) != ed25519.SeedSize {
			return nil, fmt.Errorf("private key of %d octets: want %d", len(raw), ed25519.SeedSize)
		}
		return ed25519.NewKeyFromSeed(raw), nil
	}
	curve, size := elliptic.P256(), 32
	if alg == dnssec.ECDSAP384SHA384 {
		curve, size = elliptic.P384(), 48
	}
	if len(raw) > size {
		return nil, fmt.Errorf("private key of %d octets: want %d", len(raw), size)
	}
	// Some writers leave zeros in front away.
	private, err := ecdsa.ParseRawPrivateKey(curve, append(make([]byte, size-len(raw)), raw...))
	if err != nil {
		return nil, errors.New("private key is out of the range of its curve")
	}
	return private, nil
}

func bindRSA(values map[string]string) (crypto.Signer, error) {
	var parts [5]*big.Int
	for i, name := range []string{"Modulus", "PublicExponent", "PrivateExponent", "Prime1", "Prime2"} {
		raw, err := base64.StdEncoding.DecodeString(values[name])
		if err != nil || len(raw) == 0 || len(raw) > maxBits/8+1 {
			return nil, fmt.Errorf("its %s is missing, too long or no base64", name)
		}
		parts[i] = new(big.Int).SetBytes(raw)
	}
	if !parts[1].IsInt64() || parts[1].Int64() > 1<<31-1 {
		return nil, errors.New("RSA key with an exponent above 2^31")
	}
	private := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: parts[0], E: int(parts[1].Int64())},
		D:         parts[2], Primes: parts[3:],
	}
	if err := private.Validate(); err != nil {
		return nil, errors.New("the parts of the RSA key do not belong together")
	}
	private.Precompute()
	return private, nil
}

// state is what matters of a K*.state.
type state struct {
	role   Role
	hidden bool // where the key is on its way to
}

func parseState(text string) (state, error) {
	values := make(map[string]string)
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			values[key] = strings.TrimSpace(value)
		}
	}
	st := state{hidden: values["GoalState"] == "hidden"}
	switch values["KSK"] + " " + values["ZSK"] {
	case "yes yes":
		st.role = CSK
	case "yes no":
		st.role = KSK
	case "no yes":
		st.role = ZSK
	default:
		return state{}, errors.New("says neither KSK nor ZSK")
	}
	return st, nil
}

const underWay = "a roll is under way there (hint: let it come to its end, or leave out a key that is no longer published)"

// inForce refuses keys that another server was about to bring in or to take
// out: nothing here would carry that on.
func inForce(e entry, now time.Time) error {
	at := make(map[string]time.Time)
	origin := ""
	for _, f := range e.Fields {
		if f.Name == FieldOrigin {
			origin = f.Value
			continue
		}
		t, err := time.Parse(time.RFC3339, f.Value)
		if err != nil {
			return fmt.Errorf("key %d: %s: %.30q is no time", e.Tag, f.Name, f.Value)
		}
		at[f.Name] = t
	}
	for _, end := range []string{"revoke", "inactive", "delete", "retire-active", "retire", "post-active", "remove"} {
		if t, ok := at[end]; ok && !t.After(now) {
			return fmt.Errorf("key %d: %s since %s: %s", e.Tag, end, t.Format(time.RFC3339), underWay)
		}
	}
	for _, begin := range []string{"publish", "activate", "active"} {
		if t, ok := at[begin]; ok && t.After(now) {
			return fmt.Errorf("key %d: %s only from %s: %s", e.Tag, begin, t.Format(time.RFC3339), underWay)
		}
	}
	_, published := at["publish"]
	_, activated := at["activate"]
	_, active := at["active"]
	_, ready := at["ready"] // of Knot: a first KSK waits so for its DS
	if published && origin == "bind" && !activated || origin == "knot" && !active && (!ready || e.Role == ZSK) {
		return fmt.Errorf("key %d is not in use yet: %s", e.Tag, underWay)
	}
	return nil
}
