package authority

import (
	"time"

	"postern/internal/dns/zone"
)

// SerialPolicy says how the served serial is chosen. Whatever the policy, a
// changed zone never goes out with a serial that is not ahead of the last
// one, by RFC 1982.
type SerialPolicy string

// The policies.
const (
	Keep     SerialPolicy = "keep"     // the file's if it is ahead, else the last served plus one
	Counter  SerialPolicy = "counter"  // the last served plus one; the file's at first
	UnixTime SerialPolicy = "unixtime" // seconds since 1970
	Date     SerialPolicy = "date"     // YYYYMMDDnn
)

func (p SerialPolicy) valid() bool {
	return p == "" || p == Keep || p == Counter || p == UnixTime || p == Date
}

// next returns the serial for changed content; file is the serial the source
// has, last the highest ever served (known says whether there is one).
func (p SerialPolicy) next(file, last uint32, known bool, now time.Time) uint32 {
	want := file
	switch p {
	case Counter:
		if known {
			return zone.NextSerial(last)
		}
	case UnixTime:
		want = uint32(now.Unix())
	case Date:
		y, m, d := now.UTC().Date()
		want = uint32(((y*100+int(m))*100+d)*100 + 1)
	}
	if known && !zone.SerialLess(last, want) {
		return zone.NextSerial(last)
	}
	return want
}

// bump reports whether unchanged content goes out again because the admin
// moved the serial in the file ahead.
func (p SerialPolicy) bump(file, served uint32) bool {
	return (p == Keep || p == "") && zone.SerialLess(served, file)
}
