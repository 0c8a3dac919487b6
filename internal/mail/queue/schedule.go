package queue

import "time"

// delays are the waits after each failed try; the last one repeats.
var delays = [...]time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour,
}

// longest is no wait longer than: the last of the delays and a tenth.
const longest = 4*time.Hour + 24*time.Minute

// Schedule says when to try again after tries failed tries of a message of the
// given age, or to give up. chance in [0,1) spreads the time by a tenth to
// either side, so that what failed together does not come back together. A try
// is due just before the end, so that nobody is told of a failure that a last
// try would have spared (RFC 5321, Section 4.5.4.1: at least 4-5 days).
func Schedule(tries int, age, maxAge time.Duration, now time.Time, chance float64) (next time.Time, giveUp bool) {
	left := maxAge - age
	if left <= 0 {
		return time.Time{}, true
	}
	delay := delays[min(max(tries-1, 0), len(delays)-1)]
	delay = time.Duration(float64(delay) * (0.9 + 0.2*chance))
	return now.Add(min(delay, left)), false
}
