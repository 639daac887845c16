// Package mark is the one vocabulary of states: each has a shape and a word,
// the same wherever people look.
package mark

// marks by word.
var marks = map[string]string{
	"queued":      "○",
	"waiting":     "◔",
	"running":     "●",
	"passed":      "✓",
	"failed":      "✗",
	"cancelled":   "⊘",
	"skipped":     "»",
	"paused":      "‖",
	"degraded":    "▲",
	"rolled back": "↺",
}

// Of returns the shape for a word; "?" for a word that has none.
func Of(word string) string {
	if m, ok := marks[word]; ok {
		return m
	}
	return "?"
}

// Run returns the word for a status and conclusion in GitHub's terms.
func Run(status, conclusion string) string {
	switch status {
	case "queued", "pending", "requested":
		return "queued"
	case "waiting":
		return "waiting"
	case "in_progress":
		return "running"
	case "completed":
		switch conclusion {
		case "success":
			return "passed"
		case "failure", "timed_out", "startup_failure":
			return "failed"
		case "cancelled", "skipped":
			return conclusion
		}
	}
	return "unknown"
}
