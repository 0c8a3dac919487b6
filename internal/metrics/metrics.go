// Package metrics is counters as plain fields of the struct that counts, and
// the registry that shows them as Prometheus text. The roof registers them;
// nothing registers itself.
package metrics

import (
	"fmt"
	"net/http"
	"regexp"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Counter only grows. The zero value is ready; a Counter must not be copied.
type Counter struct{ n atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Value returns the count.
func (c *Counter) Value() uint64 { return c.n.Load() }

// Labels are a metric's constant labels.
type Labels = prometheus.Labels

// Registry is what /metrics shows.
type Registry struct{ reg *prometheus.Registry }

// NewRegistry returns an empty registry.
func NewRegistry() *Registry { return &Registry{prometheus.NewRegistry()} }

var nameRule = regexp.MustCompile(`^postern_[a-z0-9]+(_[a-z0-9]+)+$`)

// Counter shows c under name, which begins with postern_ and ends with _total.
func (r *Registry) Counter(name, help string, c *Counter, l Labels) error {
	return r.CounterFunc(name, help, c.Value, l)
}

// CounterFunc shows what f returns at the time of asking, for counters whose
// owner may be replaced; f must not block.
func (r *Registry) CounterFunc(name, help string, f func() uint64, l Labels) error {
	if len(name) < 6 || name[len(name)-6:] != "_total" {
		return fmt.Errorf("metric %s: a counter's name ends with _total", name)
	}
	return r.add(name, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: l},
		func() float64 { return float64(f()) }))
}

// Gauge shows what f returns at the time of asking; f must not block.
func (r *Registry) Gauge(name, help string, f func() float64, l Labels) error {
	return r.add(name, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: l}, f))
}

func (r *Registry) add(name string, c prometheus.Collector) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("metric %s: names look like postern_part_thing", name)
	}
	if err := r.reg.Register(c); err != nil {
		return fmt.Errorf("metric %s: %w", name, err)
	}
	return nil
}

// Handler serves the registry as Prometheus text.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.reg, promhttp.HandlerOpts{})
}
