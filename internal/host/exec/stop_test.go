package exec

import (
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEscalate(t *testing.T) {
	for _, tc := range []struct {
		name  string
		grace time.Duration
		leave time.Duration // after which the command leaves by itself; 0: never
		want  []string
	}{
		{"never leaves", 0, 0, []string{"0s interrupt", "7.5s terminated", "10s kill"}},
		{"leaves on interrupt", 0, 3 * time.Second, []string{"0s interrupt", "3s kill"}},
		{"leaves on terminate", 0, 8 * time.Second, []string{"0s interrupt", "7.5s terminated", "8s kill"}},
		{"own grace", time.Second, 0, []string{"0s interrupt", "1s terminated", "2s kill"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				exited := make(chan struct{})
				var got []string
				note := func(what any) { got = append(got, fmt.Sprint(time.Since(start), " ", what)) }
				if tc.leave > 0 {
					time.AfterFunc(tc.leave, func() { close(exited) })
				}
				Escalate(tc.grace, exited, func(s syscall.Signal) { note(s) }, func() {
					note("kill")
					if tc.leave == 0 {
						close(exited)
					}
				})
				if d := cmp.Diff(tc.want, got); d != "" {
					t.Error(d)
				}
			})
		})
	}
}
