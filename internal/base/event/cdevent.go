package event

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Entry is an event as the log has it.
type Entry struct {
	ID   string
	Type string
	Time time.Time
	Data json.RawMessage // one of the values of this package
}

// specVersion is the version of CDEvents whose schemas we follow.
const specVersion = "0.6.0-draft"

// cdEvent is the JSON form of CDEvents.
type cdEvent struct {
	Context struct {
		SpecVersion string `json:"specversion"`
		ID          string `json:"id"`
		ChainID     string `json:"chainId,omitempty"`
		Source      string `json:"source"`
		Type        string `json:"type"`
		Timestamp   string `json:"timestamp"`
		Links       []link `json:"links,omitempty"`
	} `json:"context"`
	Subject               subject         `json:"subject"`
	CustomData            json.RawMessage `json:"customData"`
	CustomDataContentType string          `json:"customDataContentType"`
}

type subject struct {
	ID      string `json:"id"`
	Source  string `json:"source,omitempty"`
	Content any    `json:"content"`
}

// link points to the event that caused this one.
type link struct {
	LinkType string `json:"linkType"`
	LinkKind string `json:"linkKind"`
	Target   struct {
		ContextID string `json:"contextId"`
	} `json:"target"`
}

// about is what a value says in the words of CDEvents.
type about struct {
	subject string
	content any
	cause   string // id of the event that started the chain; may be empty
}

// value is one of the values of this package.
type value interface{ about(server string) about }

// empty gives a value of each type to decode into.
var empty = map[string]func() value{
	TypePush:              func() value { return &Push{} },
	TypeRepositoryCreated: func() value { return &Repository{} },
	TypeRepositoryDeleted: func() value { return &Repository{} },
	TypeBranchCreated:     func() value { return &Branch{} },
	TypeBranchDeleted:     func() value { return &Branch{} },
	TypeChangeMerged:      func() value { return &Change{} },
	TypeRunQueued:         func() value { return &Run{} },
	TypeRunStarted:        func() value { return &Run{} },
	TypeRunFinished:       func() value { return &RunFinished{} },
	TypeJobStarted:        func() value { return &Job{} },
	TypeJobFinished:       func() value { return &JobFinished{} },
	TypeArtifactPackaged:  func() value { return &packaged{} },
	TypeArtifactPublished: func() value { return &published{} },
	TypeServiceDeployed:   func() value { return &Service{} },
	TypeServiceUpgraded:   func() value { return &Service{} },
	TypeServiceRemoved:    func() value { return &removed{} },
}

// CDEvent renders an entry of the log as a CDEvent. server is the URL of the
// server whose log it is, "http://penstock.localhost:7080".
func CDEvent(e Entry, server string) (json.RawMessage, error) {
	c, err := render(e, server)
	if err != nil {
		return nil, err
	}
	return json.Marshal(c)
}

// CloudEvent renders an entry of the log as a CloudEvent in structured JSON,
// with the CDEvent as its data.
func CloudEvent(e Entry, server string) (json.RawMessage, error) {
	c, err := render(e, server)
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		SpecVersion string  `json:"specversion"`
		ID          string  `json:"id"`
		Source      string  `json:"source"`
		Type        string  `json:"type"`
		Subject     string  `json:"subject"`
		Time        string  `json:"time"`
		ContentType string  `json:"datacontenttype"`
		Data        cdEvent `json:"data"`
	}{"1.0", c.Context.ID, c.Context.Source, c.Context.Type, c.Subject.ID, c.Context.Timestamp, "application/json", c})
}

func render(e Entry, server string) (cdEvent, error) {
	var c cdEvent
	fresh := empty[e.Type]
	if fresh == nil {
		return c, fmt.Errorf("event %s has the unknown type %q", e.ID, e.Type)
	}
	v := fresh()
	if err := json.Unmarshal(e.Data, v); err != nil {
		return c, fmt.Errorf("decode event %s: %w", e.ID, err)
	}
	server = strings.TrimSuffix(server, "/")
	a := v.about(server)
	c.Context.SpecVersion, c.Context.ID, c.Context.Type = specVersion, e.ID, e.Type
	c.Context.Source = server
	c.Context.Timestamp = e.Time.UTC().Format(time.RFC3339Nano)
	if a.cause != "" {
		c.Context.ChainID = a.cause
		if a.cause != e.ID {
			l := link{LinkType: "RELATION", LinkKind: "TRIGGER"}
			l.Target.ContextID = a.cause
			c.Context.Links = []link{l}
		}
	}
	c.Subject = subject{ID: a.subject, Source: server, Content: a.content}
	c.CustomData, c.CustomDataContentType = e.Data, "application/json"
	return c, nil
}

// fields is the content of a subject; empty texts are left out.
func fields(kv ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(kv); i += 2 {
		if s, isText := kv[i+1].(string); !isText || s != "" {
			m[kv[i].(string)] = kv[i+1]
		}
	}
	return m
}

func reference(id string) map[string]any { return map[string]any{"id": id} }

func (p *Push) about(string) about {
	return about{p.Repo, fields("repository", reference(p.Repo), "user", p.Actor, "refs", p.Updates), p.ID}
}

func (r *Repository) about(string) about {
	owner, name, _ := strings.Cut(r.Repo, "/")
	return about{r.Repo, fields("name", name, "owner", owner, "uri", r.URL), ""}
}

func (b *Branch) about(string) about {
	return about{b.Repo + ":" + b.Branch, fields("repository", reference(b.Repo)), b.Push}
}

func (c *Change) about(string) about {
	return about{c.Commit, fields("repository", reference(c.Repo)), c.Push}
}

func runID(n int64) string { return "run/" + strconv.FormatInt(n, 10) }

// pipelineName is never empty, which CDEvents does not allow at the start.
func pipelineName(repo, workflow string) string {
	if workflow == "" {
		return repo
	}
	return workflow
}

func runURL(server string, n int64) string {
	return server + "/api/v1/runs/" + strconv.FormatInt(n, 10)
}

func (r *Run) about(server string) about {
	return about{runID(r.RunID), fields("pipelineName", pipelineName(r.Repo, r.Workflow), "uri", runURL(server, r.RunID)), r.Cause}
}

func (r *RunFinished) about(server string) about {
	return about{runID(r.RunID), fields("pipelineName", pipelineName(r.Repo, r.Workflow), "uri", runURL(server, r.RunID),
		"outcome", outcome(r.Conclusion), "errors", r.Message), r.Cause}
}

func (j *Job) about(server string) about {
	return about{runID(j.RunID) + "/" + j.Job, fields("taskName", j.Name, "uri", runURL(server, j.RunID), "pipelineRun", reference(runID(j.RunID))), j.Cause}
}

func (j *JobFinished) about(server string) about {
	return about{runID(j.RunID) + "/" + j.Job, fields("taskName", j.Name, "uri", runURL(server, j.RunID), "pipelineRun", reference(runID(j.RunID)),
		"outcome", outcome(j.Conclusion), "errors", j.Message), j.Cause}
}

// outcome is a conclusion in the words of CDEvents, which has none for
// "skipped".
func outcome(conclusion string) string {
	switch conclusion {
	case "success", "failure":
		return conclusion
	case "cancelled":
		return "cancel"
	case "skipped":
		return ""
	}
	return "error"
}

// packaged and published are an Artifact in the two events about it.
type (
	packaged  struct{ Artifact }
	published struct{ Artifact }
)

func (p *packaged) about(string) about {
	return about{PackageURL(p.Image + "@" + p.Digest), fields("change", reference(p.Commit)), p.Cause}
}

func (p *published) about(string) about {
	return about{PackageURL(p.Image + "@" + p.Digest), fields(), p.Cause}
}

func (s *Service) about(string) about {
	return about{s.Application, fields("environment", reference(s.Environment), "artifactId", s.artifact()), ""}
}

// artifact is the one artifact that CDEvents allows: the first image, and for
// an Application without any its manifests.
func (s *Service) artifact() string {
	if len(s.Images) > 0 {
		return PackageURL(s.Images[0])
	}
	return manifestsURL(s.Application, s.Revision, s.Source)
}

// removed is a Service in the event that it is gone.
type removed struct{ Service }

func (s *removed) about(string) about {
	return about{s.Application, fields("environment", reference(s.Environment)), ""}
}
