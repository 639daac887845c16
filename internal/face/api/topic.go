package api

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// topic is one thing that a stream follows.
type topic struct {
	text string
	kind string // runs, run, log, applications, application, events
	key  string // of run, application; the repository of runs, "" for all
	run  int64
	job  string
	step int
}

const (
	maxTopics = 50
	maxLogs   = 5 // of the topics: each reads a file all the time
)

var (
	repoTopic = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$`)
	appTopic  = regexp.MustCompile(`^[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}$`)
	logTopic  = regexp.MustCompile(`^([0-9]{1,18})/([A-Za-z_][A-Za-z0-9_-]{0,99})/([0-9]{1,5})$`)
)

// parseTopic reads one topic: "runs", "runs:demo/shop", "run:17",
// "log:17/build/3", "applications", "application:argocd/shop", "events".
func parseTopic(s string) (topic, error) {
	kind, key, has := strings.Cut(s, ":")
	t := topic{text: s, kind: kind, key: key}
	ok := false
	switch kind {
	case "runs":
		ok = !has || repoTopic.MatchString(key)
	case "applications", "events":
		ok = !has
	case "run":
		t.run, ok = runNumber(key)
	case "application":
		ok = appTopic.MatchString(key)
	case "log":
		if m := logTopic.FindStringSubmatch(key); m != nil {
			t.run, ok = runNumber(m[1])
			t.job = m[2]
			t.step, _ = strconv.Atoi(m[3]) // up to five digits
			ok = ok && t.step > 0
		}
	}
	if !ok {
		return topic{}, fmt.Errorf("topic %q is none of runs, runs:OWNER/NAME, run:ID, log:ID/JOB/STEP, applications, application:NAMESPACE/NAME, events: %w", s, problem.ErrInvalid)
	}
	return t, nil
}

func runNumber(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0 && strconv.FormatInt(n, 10) == s
}

// parseTopics reads the topics of a stream.
func parseTopics(list []string) ([]topic, error) {
	if len(list) == 0 || len(list) > maxTopics {
		return nil, fmt.Errorf("a stream has 1 to %d topics: %w", maxTopics, problem.ErrInvalid)
	}
	var all []topic
	logs := 0
	seen := map[string]bool{}
	for _, s := range list {
		t, err := parseTopic(s)
		if err != nil {
			return nil, err
		}
		if seen[s] {
			continue
		}
		seen[s] = true
		if t.kind == "log" {
			if logs++; logs > maxLogs {
				return nil, fmt.Errorf("a stream has up to %d logs: %w", maxLogs, problem.ErrInvalid)
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// position is how far a client has read: what the id of each message says.
type position struct {
	epoch string
	seq   int64   // of the feed
	event int64   // of the event log
	rows  []int64 // next row of each log, in the order of the topics
}

func (p position) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.%d.%d", p.epoch, p.seq, p.event)
	for _, r := range p.rows {
		fmt.Fprintf(&b, ".%d", r)
	}
	return b.String()
}

var positionForm = regexp.MustCompile(`^[0-9a-f]{8}(\.[0-9]{1,18}){2,` + strconv.Itoa(2+maxLogs) + `}$`)

// parsePosition reads the id of the last message that a client has seen.
func parsePosition(s string) (position, error) {
	if !positionForm.MatchString(s) {
		return position{}, fmt.Errorf("Last-Event-ID is not one that this server gave: %w", problem.ErrInvalid)
	}
	parts := strings.Split(s, ".")
	var n []int64
	for _, part := range parts[1:] {
		v, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return position{}, fmt.Errorf("Last-Event-ID: %w", problem.ErrInvalid)
		}
		n = append(n, v)
	}
	return position{epoch: parts[0], seq: n[0], event: n[1], rows: n[2:]}, nil
}
