//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDemo is the main job: a push of an application repository ends in that
// version answering, twice, and in the promotion of what was tested.
func TestDemo(t *testing.T) {
	p := NewPlatform(t)
	p.Up(t)

	out, err := p.Try(12*time.Minute, "demo", "-o", "json")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r struct {
		Rounds []struct {
			Name, Commit string
			URLs         []string `json:"urls"`
			Stages       []struct {
				Name      string
				SincePush float64
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(r.Rounds) != 3 {
		t.Fatalf("%d rounds, want first push, a change, promotion:\n%s", len(r.Rounds), out)
	}
	for _, round := range r.Rounds {
		for _, s := range round.Stages {
			t.Logf("%-12s %-24s %6.1fs", round.Name, s.Name, s.SincePush)
		}
	}
	if r.Rounds[0].Commit == r.Rounds[1].Commit {
		t.Error("the second push was not a change")
	}

	// What the demo says, asked again from outside.
	want := fmt.Sprintf(`{"version":%q}`, r.Rounds[1].Commit)
	for _, host := range []string{"shop-dev.localhost", "shop-staging.localhost", "shop.localhost"} {
		code, body, err := p.Get(t.Context(), host, "/version")
		if err != nil || code != 200 || strings.TrimSpace(body) != want {
			t.Errorf("%s/version = %d %q %v, want %s", host, code, body, err, want)
		}
	}
	var apps []map[string]any
	p.JSON(t, &apps, "app", "list")
	if len(apps) != 4 {
		t.Errorf("%d Applications, want shop and its three environments: %v", len(apps), apps)
	}

	// It may be repeated, and cleans up when told to.
	if out, err := p.Try(8*time.Minute, "demo", "--once", "--wipe"); err != nil {
		t.Fatalf("repeated: %v\n%s", err, out)
	}
	Eventually(t, 30*time.Second, "the shop is gone", func(ctx context.Context) error {
		code, body, err := p.Get(ctx, "shop-dev.localhost", "/version")
		if err == nil && code == 200 {
			return fmt.Errorf("it still answers: %s", body)
		}
		return nil
	})
	if out := p.Run(t, "repo", "list"); strings.Contains(out, "demo/") {
		t.Errorf("repositories of the demo are left:\n%s", out)
	}
}
