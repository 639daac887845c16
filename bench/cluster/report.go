//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/penstock-dev/penstock/internal/base/buildinfo"
)

// budgets are those of section 8 of the design.
var budgets = map[string]float64{
	"node: start to ready, warm disk": 3,
	"up: everything ready, warm disk": 6,
	"memory: all processes":           900,
	"memory: penstock-node":           550,
	"idle: processor":                 5,
	"push to first log line":          0.3,
	"push of a manifest to applied":   1,
	"sandbox: empty session":          0.040,
}

// row is one measured thing.
type row struct {
	What    string    `json:"what"`
	Unit    string    `json:"unit"`
	Best    float64   `json:"best"`
	Median  float64   `json:"median"`
	Worst   float64   `json:"worst"`
	Samples []float64 `json:"samples"`
	Budget  float64   `json:"budget,omitempty"`
	Note    string    `json:"note,omitempty"`
}

// report is the outcome of one run.
type report struct {
	At       time.Time         `json:"at"`
	Commit   string            `json:"commit"`
	Version  string            `json:"version"`
	CPUs     int               `json:"cpus"`
	Kernel   string            `json:"kernel"`
	Load     []string          `json:"load"` // at the start and the end
	Rows     []row             `json:"rows"`
	Failures map[string]string `json:"failures,omitempty"`
	Where    []section         `json:"where"` // where the time goes
	profiles map[string][]byte
}

// section is a table of text below the rows.
type section struct {
	Title string `json:"title"`
	Text  string `json:"text"`
}

func newReport(now time.Time) *report {
	i := buildinfo.Get()
	return &report{At: now.UTC().Truncate(time.Second), Commit: i.Commit, Version: i.Version, CPUs: runtime.NumCPU(),
		Kernel: first("/proc/sys/kernel/osrelease"), Load: []string{first("/proc/loadavg")},
		Failures: map[string]string{}, profiles: map[string][]byte{}}
}

func first(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// add records samples; smaller is better.
func (r *report) add(what, unit string, samples []float64, note string) {
	if len(samples) == 0 {
		r.Failures[what] = "nothing was measured"
		return
	}
	sorted := slices.Sorted(slices.Values(samples))
	r.Rows = append(r.Rows, row{What: what, Unit: unit, Samples: samples, Budget: budgets[what], Note: note,
		Best: sorted[0], Median: sorted[len(sorted)/2], Worst: sorted[len(sorted)-1]})
	fmt.Fprintf(os.Stderr, "  %-40s best %.3g median %.3g %s %s\n", what, sorted[0], sorted[len(sorted)/2], unit, note)
}

func (r *report) fail(part string, err error) { r.Failures[part] = err.Error() }

func (r *report) where(title, text string) {
	if text != "" {
		r.Where = append(r.Where, section{title, text})
	}
}

func (w row) verdict() string {
	switch {
	case w.Budget == 0:
		return ""
	case w.Best <= w.Budget:
		return "met"
	default:
		return fmt.Sprintf("missed by %.0f %%", (w.Best/w.Budget-1)*100)
	}
}

func (r *report) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tBEST\tMEDIAN\tWORST\tUNIT\tBUDGET\t\tNOTE")
	for _, x := range r.Rows {
		budget := ""
		if x.Budget > 0 {
			budget = fmt.Sprint(x.Budget)
		}
		fmt.Fprintf(w, "%s\t%.3g\t%.3g\t%.3g\t%s\t%s\t%s\t%s\n", x.What, x.Best, x.Median, x.Worst, x.Unit, budget, x.verdict(), x.Note)
	}
	w.Flush()
	for part, why := range r.Failures {
		fmt.Fprintf(out, "not measured: %s: %s\n", part, why)
	}
}

// save writes cluster.md and cluster.json for people and programs, and the raw
// profiles.
func (r *report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	r.Load = append(r.Load, first("/proc/loadavg"))
	var md strings.Builder
	fmt.Fprintf(&md, "# bench/cluster\n\n%s, penstock %s (%s), %d CPUs, kernel %s, load %s.\n\n", r.At.Format(time.RFC3339), r.Version, r.Commit, r.CPUs, r.Kernel, strings.Join(r.Load, " then "))
	md.WriteString("The best of the samples is compared with the budget; figures of a loaded machine are recorded, not judged.\n\n")
	md.WriteString("| what | best | median | worst | unit | budget | | note |\n|---|---|---|---|---|---|---|---|\n")
	for _, x := range r.Rows {
		budget := ""
		if x.Budget > 0 {
			budget = fmt.Sprint(x.Budget)
		}
		fmt.Fprintf(&md, "| %s | %.3g | %.3g | %.3g | %s | %s | %s | %s |\n", x.What, x.Best, x.Median, x.Worst, x.Unit, budget, x.verdict(), x.Note)
	}
	for part, why := range r.Failures {
		fmt.Fprintf(&md, "\nNot measured: %s: %s\n", part, why)
	}
	for _, s := range r.Where {
		fmt.Fprintf(&md, "\n## %s\n\n```\n%s\n```\n", s.Title, strings.TrimRight(s.Text, "\n"))
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.md"), []byte(md.String()), 0o644); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	for name, profile := range r.profiles {
		if err := os.WriteFile(filepath.Join(dir, name+".pprof"), profile, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func chosen(only, name string) bool {
	return only == "" || slices.Contains(strings.Split(only, ","), name)
}
