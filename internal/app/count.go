package app

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"postern/internal/metrics"
)

// count shows every counter of a room's Counters struct as
// postern_PART_FIELD_total, so that a counter added to a room is seen without
// another line here. of returns the structs to add up, all of one type: the
// owner of a counter may change with the configuration.
func count[T any](reg *metrics.Registry, part string, of func() []*T, labels metrics.Labels) error {
	kind := reflect.TypeFor[T]()
	var errs []error
	for i := range kind.NumField() {
		if kind.Field(i).Type != reflect.TypeFor[metrics.Counter]() {
			continue
		}
		field := kind.Field(i).Name
		name := "postern_" + part + "_" + snake(field) + "_total"
		help := fmt.Sprintf("%s of %s; see postern help limits.", words(field), strings.ReplaceAll(part, "_", " "))
		errs = append(errs, reg.CounterFunc(name, help, func() uint64 { return sum(of(), i) }, labels))
	}
	return errors.Join(errs...)
}

func sum[T any](all []*T, field int) uint64 {
	var n uint64
	for _, one := range all {
		n += reflect.ValueOf(one).Elem().Field(field).Addr().Interface().(*metrics.Counter).Value()
	}
	return n
}

// add adds every counter of from to that of to.
func add[T any](to, from *T) {
	sum := reflect.ValueOf(to).Elem()
	for i := range sum.NumField() {
		if c, ok := sum.Field(i).Addr().Interface().(*metrics.Counter); ok {
			c.Add(reflect.ValueOf(from).Elem().Field(i).Addr().Interface().(*metrics.Counter).Value())
		}
	}
}

// one is a room whose counters never change hands.
func one[T any](counters *T) func() []*T { return func() []*T { return []*T{counters} } }

// snake turns RefusedPerAddr into refused_per_addr and TLSFailed into
// tls_failed.
func snake(field string) string {
	var b strings.Builder
	runes := []rune(field)
	for i, r := range runes {
		startsWord := unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if startsWord {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func words(field string) string {
	s := strings.ReplaceAll(snake(field), "_", " ")
	return strings.ToUpper(s[:1]) + s[1:]
}
