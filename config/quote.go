package config

import (
	"fmt"
	"strconv"
	"strings"
)

// bareOrQuoted writes a key, in quotes where it needs them.
func bareOrQuoted(key string) string {
	bare := key != "" && strings.IndexFunc(key, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
	if bare {
		return key
	}
	return quoted(key)
}

// dotted writes a path of keys as TOML does.
func dotted(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = bareOrQuoted(p)
	}
	return strings.Join(parts, ".")
}

// quoted writes a TOML basic string. What is not UTF-8 cannot be said in TOML
// and becomes U+FFFD.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// tomlOf writes a value of the schema.
func tomlOf(v any) string { return tomlOfNode(nodeOf(v)) }

// nodeOf makes a node of a value of the schema; nil makes nil.
func nodeOf(v any) *node {
	switch v := v.(type) {
	case string:
		return &node{shape: isString, text: v}
	case bool:
		return &node{shape: isBool, truth: v}
	case int:
		return &node{shape: isInt, number: int64(v)}
	case []string:
		n := &node{shape: isArray}
		for _, s := range v {
			n.items = append(n.items, nodeOf(s))
		}
		return n
	}
	return nil
}

// tomlOfNode writes a scalar or a list of them.
func tomlOfNode(n *node) string {
	switch n.shape {
	case isString:
		return quoted(n.text)
	case isBool:
		return strconv.FormatBool(n.truth)
	case isInt:
		return strconv.FormatInt(n.number, 10)
	case isArray:
		items := make([]string, len(n.items))
		for i, e := range n.items {
			items[i] = tomlOfNode(e)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return n.shape.String()
}

// sizeText writes bytes as a person would.
func sizeText(n int64) string {
	for _, u := range []struct {
		unit int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1e9, "GB"}, {1e6, "MB"}, {1 << 10, "KiB"}} {
		if n >= u.unit && n%u.unit == 0 {
			return strconv.FormatInt(n/u.unit, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
