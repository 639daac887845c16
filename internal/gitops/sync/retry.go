package sync

import (
	"fmt"
	"math"
	"time"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

// Defaults of a retry strategy.
const (
	defaultRetryWait = 5 * time.Second
	defaultRetryMax  = 3 * time.Minute
	defaultFactor    = 2
)

// CheckRetry says what is wrong with a strategy.
func CheckRetry(r v1alpha1.RetryStrategy) error {
	if r.Backoff == nil {
		return nil
	}
	for name, s := range map[string]string{"duration": r.Backoff.Duration, "maxDuration": r.Backoff.MaxDuration} {
		if s == "" {
			continue
		}
		if d, err := time.ParseDuration(s); err != nil || d <= 0 {
			return fmt.Errorf("retry.backoff.%s: %q is not a duration such as 5s or 3m", name, s)
		}
	}
	if f := r.Backoff.Factor; f != nil && *f < 1 {
		return fmt.Errorf("retry.backoff.factor: %d is less than 1", *f)
	}
	return nil
}

// RetryAfter says how long to wait before the next try of an operation that
// was retried done times; again is false when there is none left. A negative
// limit means for ever.
func RetryAfter(r v1alpha1.RetryStrategy, done int64) (wait time.Duration, again bool) {
	if r.Limit >= 0 && done >= r.Limit {
		return 0, false
	}
	first, most, factor := defaultRetryWait, defaultRetryMax, float64(defaultFactor)
	if b := r.Backoff; b != nil {
		if d, err := time.ParseDuration(b.Duration); err == nil {
			first = d
		}
		if d, err := time.ParseDuration(b.MaxDuration); err == nil {
			most = d
		}
		if b.Factor != nil {
			factor = float64(*b.Factor)
		}
	}
	w := float64(first) * math.Pow(factor, float64(done))
	return time.Duration(min(w, float64(most))), true
}
