package kubelet

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// register creates the Node object; the kubelet completes it as it would one
// of its own. Left to the kubelet, the object may come later than the kubelet's
// look for it when it makes the CSINode. That look backs off eightfold, so on
// a busy machine a start that misses it twice takes minutes to be Ready.
func register(ctx context.Context, client kubernetes.Interface, name string) error {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for {
		_, err := client.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{})
		if err == nil || apierrors.IsAlreadyExists(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("register the node: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
