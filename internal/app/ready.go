package app

import (
	"encoding/json"
	"net/http"
)

// roomState is what /readyz?verbose says of a room.
type roomState struct {
	Name   string `json:"name"`
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

// states says of every room whether it can do its work.
func states(rooms []room) []roomState {
	out := make([]roomState, 0, len(rooms))
	for _, r := range rooms {
		s := roomState{Name: r.name, Ready: true}
		if r.ready != nil {
			if err := r.ready(); err != nil {
				s.Ready, s.Reason = false, err.Error()
			}
		}
		out = append(out, s)
	}
	return out
}

// waiting lists the rooms that are not ready, with the reason.
func waiting(rooms []room) []string {
	out := []string{}
	for _, s := range states(rooms) {
		if !s.Ready {
			out = append(out, s.Name+": "+s.Reason)
		}
	}
	return out
}

// readyz answers 200 when every room can do its work, else 503 with what it
// waits for; with ?verbose each room is listed.
func readyz(rooms []room) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		why := waiting(rooms)
		answer := map[string]any{"ready": len(why) == 0, "waitingFor": why}
		if r.URL.Query().Has("verbose") {
			answer["rooms"] = states(rooms)
		}
		if len(why) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
}
