package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-dev/penstock/internal/host/gateway/proxy"
)

// noTraces keeps the environment's wish for traces from a process whose spans
// would be those of everybody's requests.
func noTraces(string) string { return "" }

// stats shows the proxy's counts to Prometheus.
type stats struct{ proxy *proxy.Proxy }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("penstock_gateway_"+name, help, labels, nil)
}

var (
	requestsDesc  = desc("requests_total", "Answers, by the class of their status.", "class")
	inFlightDesc  = desc("in_flight", "Requests being answered.")
	upgradedDesc  = desc("upgraded", "Connections that have switched protocols.")
	heldDesc      = desc("held", "Requests that wait for an endpoint.")
	retriesDesc   = desc("retries_total", "Attempts after the first.")
	connectDesc   = desc("connect_failures_total", "Endpoints that could not be reached.")
	brokenOffDesc = desc("broken_off_total", "Answers that ended early.")
	goneDesc      = desc("client_gone_total", "Clients that left before the answer.")
	refusedDesc   = desc("refused_total", "Requests that the gateway itself answered with an error.")
)

// Describe implements prometheus.Collector.
func (s stats) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requestsDesc, inFlightDesc, upgradedDesc, heldDesc, retriesDesc, connectDesc, brokenOffDesc, goneDesc, refusedDesc} {
		c <- d
	}
}

// Collect reads the counts.
func (s stats) Collect(c chan<- prometheus.Metric) {
	st := s.proxy.Stats()
	for class, n := range st.Requests {
		c <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(n), class)
	}
	for _, m := range []struct {
		desc *prometheus.Desc
		kind prometheus.ValueType
		n    int64
	}{
		{inFlightDesc, prometheus.GaugeValue, st.InFlight},
		{upgradedDesc, prometheus.GaugeValue, st.Upgraded},
		{heldDesc, prometheus.GaugeValue, st.Held},
		{retriesDesc, prometheus.CounterValue, st.Retries},
		{connectDesc, prometheus.CounterValue, st.ConnectFailures},
		{brokenOffDesc, prometheus.CounterValue, st.BrokenOff},
		{goneDesc, prometheus.CounterValue, st.ClientGone},
		{refusedDesc, prometheus.CounterValue, st.Refused},
	} {
		c <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.n))
	}
}
