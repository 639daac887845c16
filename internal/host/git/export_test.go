package git

import "time"

// SetPace makes clients slow sooner than in earnest.
func (s *Server) SetPace(idle, grace time.Duration, rate int64) { s.pace = pace{idle, grace, rate} }
