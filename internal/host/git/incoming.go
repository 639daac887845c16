package git

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/event"
)

// Check looks at a push before any of it becomes visible: its objects are in
// git's quarantine, no ref has moved and the pusher waits. What it refuses did
// not happen. An error means that it could not look, which refuses the push:
// nothing passes a check unseen.
//
// ctx ends when the time for all checks of the push is over.
type Check interface {
	CheckPush(ctx context.Context, p Incoming) ([]Refusal, error)
}

// Incoming is a push that waits for its checks.
type Incoming struct {
	Repo    string
	Actor   string
	Updates []event.RefUpdate
	Objects Objects
	// Say shows the pusher a line, as "remote: ...", at once.
	Say func(line string)
}

// Refusal is a reason not to take a push.
type Refusal struct {
	// Ref is the one that is refused; others of the push may pass. Empty
	// refuses the push as a whole, which keeps its objects out of the
	// repository: what holds a secret is to be refused so.
	Ref string
	// Reason is short. git shows it in parentheses behind the ref.
	Reason string
	// Message says more, in one or more lines; may be empty.
	Message string
}

// verdict is what all checks together say about a push.
type verdict struct {
	reasons map[string]string // by ref; a ref that is not here passes
	whole   bool              // git must drop the push with its objects
	lines   []string          // for the pusher
}

// judge sums refusals up. Of several for one ref the first one counts; all
// messages are shown.
func judge(updates []event.RefUpdate, refusals []Refusal) verdict {
	v := verdict{reasons: map[string]string{}}
	whole := ""
	for _, r := range refusals {
		reason := oneLine(r.Reason)
		if reason == "" {
			reason = "refused"
		}
		for line := range strings.Lines(r.Message) {
			v.lines = append(v.lines, strings.TrimRight(line, "\n"))
		}
		switch {
		case r.Ref == "" && whole == "":
			whole = reason
		case r.Ref != "" && v.reasons[r.Ref] == "":
			v.reasons[r.Ref] = reason
		}
	}
	v.whole = whole != ""
	passes := false
	for _, u := range updates {
		if v.reasons[u.Ref] == "" && v.whole {
			v.reasons[u.Ref] = whole
		}
		passes = passes || v.reasons[u.Ref] == ""
	}
	v.whole = v.whole || !passes
	return v
}

// refused lists the refs that do not pass, sorted.
func (v verdict) refused() []string {
	var refs []string
	for ref := range v.reasons {
		refs = append(refs, ref)
	}
	slices.Sort(refs)
	return refs
}

// oneLine makes s fit into a line of git's protocol and on a terminal.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.TrimSpace(s)
}

// check runs the checks of a push, one after another: rules of the house first,
// because they cost least.
func (s *Server) check(ctx context.Context, p Incoming) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, s.checkTime)
	defer cancel()
	var all []Refusal
	for _, c := range s.checks {
		refusals, err := c.CheckPush(ctx, p)
		if err != nil {
			return verdict{}, fmt.Errorf("check push to %s: %w", p.Repo, err)
		}
		all = append(all, refusals...)
	}
	return judge(p.Updates, all), nil
}
