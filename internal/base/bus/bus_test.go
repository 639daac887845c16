package bus_test

import (
	"testing"

	"github.com/penstock-dev/penstock/internal/base/bus"
)

func TestPublishReachesEverySubscriberAndNeverBlocks(t *testing.T) {
	var topic bus.Topic[int]
	topic.Publish(0) // nobody listens
	a, b := topic.Subscribe(1), topic.Subscribe(2)
	for i := 1; i <= 3; i++ {
		topic.Publish(i)
	}
	if got := <-a.C; got != 1 {
		t.Errorf("a got %d, want 1", got)
	}
	for want := 1; want <= 2; want++ {
		if got := <-b.C; got != want {
			t.Errorf("b got %d, want %d", got, want)
		}
	}
	b.Close()
	topic.Publish(4)
	if got := <-a.C; got != 4 {
		t.Errorf("a got %d, want 4", got)
	}
	select {
	case v := <-b.C:
		t.Errorf("closed subscription got %d", v)
	default:
	}
}
