package observe

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"
)

// Queues tells about work queues, each under its own name: how long, how long
// things wait, how long they take.
type Queues struct {
	depth, unfinished, longest *prometheus.GaugeVec
	adds, retries              *prometheus.CounterVec
	wait, work                 *prometheus.HistogramVec
}

var _ workqueue.MetricsProvider = (*Queues)(nil)

// NewQueues makes the metrics of a controller's queues: penstock_<what>_queue_….
func (o *Observer) NewQueues(what string) *Queues {
	name := func(s string) string { return "penstock_" + what + "_queue_" + s }
	label := []string{"queue"}
	q := &Queues{
		depth:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("depth"), Help: "Things that wait to be worked on."}, label),
		unfinished: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("unfinished_seconds"), Help: "Time that work under way has taken so far, summed up."}, label),
		longest:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("longest_running_seconds"), Help: "Time that the longest work under way has taken so far."}, label),
		adds:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("adds_total"), Help: "Things that were put in."}, label),
		retries:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("retries_total"), Help: "Things that were put in again after an error."}, label),
		wait:       prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name("wait_seconds"), Help: "Time from being put in to being worked on.", Buckets: buckets}, label),
		work:       prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name("work_seconds"), Help: "Time that the work took.", Buckets: buckets}, label),
	}
	o.registry.MustRegister(q.depth, q.unfinished, q.longest, q.adds, q.retries, q.wait, q.work)
	return q
}

// NewDepthMetric implements workqueue.MetricsProvider, as do the others.
func (q *Queues) NewDepthMetric(name string) workqueue.GaugeMetric {
	return q.depth.WithLabelValues(name)
}

// NewAddsMetric counts what is put in.
func (q *Queues) NewAddsMetric(name string) workqueue.CounterMetric {
	return q.adds.WithLabelValues(name)
}

// NewLatencyMetric times the waiting.
func (q *Queues) NewLatencyMetric(name string) workqueue.HistogramMetric {
	return q.wait.WithLabelValues(name)
}

// NewWorkDurationMetric times the work.
func (q *Queues) NewWorkDurationMetric(name string) workqueue.HistogramMetric {
	return q.work.WithLabelValues(name)
}

// NewUnfinishedWorkSecondsMetric shows work that hangs.
func (q *Queues) NewUnfinishedWorkSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return q.unfinished.WithLabelValues(name)
}

// NewLongestRunningProcessorSecondsMetric shows the work that hangs most.
func (q *Queues) NewLongestRunningProcessorSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return q.longest.WithLabelValues(name)
}

// NewRetriesMetric counts errors.
func (q *Queues) NewRetriesMetric(name string) workqueue.CounterMetric {
	return q.retries.WithLabelValues(name)
}
