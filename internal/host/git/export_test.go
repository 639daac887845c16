package git

import (
	"time"

	"github.com/penstock-dev/penstock/internal/base/pace"
)

// SetPace makes clients slow sooner than in earnest.
func (s *Server) SetPace(idle, grace time.Duration, rate int64) {
	s.pace = pace.Pace{Idle: idle, Grace: grace, Rate: rate}
}
