package application_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

// BenchmarkApplications measures many Applications of one repository, each of
// a ServiceAccount, a Service, an Ingress and a ConfigMap: all new, all changed
// by one commit, one changed by one commit. Run it with -benchtime 1x;
// PENSTOCK_BENCH_APPS says how many (default 100). The control plane shares the
// machine with the controller; memory is that of this process.
func BenchmarkApplications(b *testing.B) {
	n := 100
	if s := os.Getenv("PENSTOCK_BENCH_APPS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		w := newWorld(b)
		w.control()
		commit := w.push("o/many", manyManifests(n, func(int) string { return "1" }))
		start := time.Now()
		w.manyApplications(n)
		w.allAt(n, commit)
		b.ReportMetric(time.Since(start).Seconds(), "s/install")

		start = time.Now()
		commit = w.push("o/many", manyManifests(n, func(int) string { return "2" }))
		w.allAt(n, commit)
		b.ReportMetric(time.Since(start).Seconds(), "s/change-all")

		start = time.Now()
		w.push("o/many", manyManifests(n, func(i int) string { return fmt.Sprint(2 + i/(n-1)) }))
		ns := fmt.Sprint("many-", n-1)
		w.eventually("the change is applied", time.Minute, func() error { return want(w.data(ns, "c", "v") == "3", "it is %q", w.data(ns, "c", "v")) })
		b.ReportMetric(time.Since(start).Seconds(), "s/change-one")
		b.ReportMetric(float64(rss(b)), "MB-rss")
	}
}

func manyManifests(n int, value func(i int) string) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `-- apps/%d/all.yaml --
apiVersion: v1
kind: ServiceAccount
metadata: {name: sa}
---
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {selector: {a: b}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec: {rules: [{host: many-%d.localhost, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: s, port: {number: 80}}}}]}}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {v: "%s"}
`, i, i, value(i))
	}
	return s.String()
}

func (w *world) manyApplications(n int) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				u := &unstructured.Unstructured{}
				text := strings.ReplaceAll(fmt.Sprintf("apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: many-%d, namespace: %s}\nspec:\n  project: default\n%s", i, w.ns, automated("o/many", fmt.Sprint("apps/", i), fmt.Sprint("many-", i))), "REPO/", w.url)
				if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
					w.t.Error(err)
				}
				if _, err := w.cluster.Dynamic.Resource(v1alpha1.Applications).Namespace(w.ns).Create(w.t.Context(), u, metav1.CreateOptions{}); err != nil {
					w.t.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// allAt waits until every Application is synced at the commit.
func (w *world) allAt(n int, commit string) {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Minute)
	for {
		list, err := w.cluster.Dynamic.Resource(v1alpha1.Applications).Namespace(w.ns).List(w.t.Context(), metav1.ListOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		done, sample := 0, ""
		for i := range list.Items {
			a, _, err := v1alpha1.DecodeApplication(&list.Items[i])
			if err != nil {
				w.t.Fatal(err)
			}
			if a.Status.Sync.Status == "Synced" && a.Status.Sync.Revision == commit && a.Operation == nil {
				done++
			} else {
				sample = fmt.Sprintf("%s %+v", a.Name, a.Status.Conditions)
			}
		}
		if done == n {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d of %d are synced at %s; %s", done, n, commit, sample)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// rss is the resident memory of this process in megabytes.
func rss(b *testing.B) int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
