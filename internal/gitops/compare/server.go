package compare

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/internal/host/cluster"
)

// Applier is the part of the cluster that a [ServerDiffer] needs.
type Applier interface {
	Apply(ctx context.Context, u *unstructured.Unstructured, o cluster.ApplyOptions) (*unstructured.Unstructured, error)
}

// ServerDiffer asks the API server by dry run what applying would change. It
// remembers its answers for as long as neither side changes; changes of status
// do not count. One belongs to one Application.
type ServerDiffer struct {
	cluster Applier

	mu    sync.Mutex
	known map[Key]answer
}

type answer struct {
	question [sha256.Size]byte
	verdict  Verdict
}

// NewServerDiffer returns a differ that knows nothing yet.
func NewServerDiffer(c Applier) *ServerDiffer {
	return &ServerDiffer{cluster: c, known: map[Key]answer{}}
}

// Forget drops every answer.
func (d *ServerDiffer) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = map[Key]answer{}
}

// Diff implements [Differ].
func (d *ServerDiffer) Diff(ctx context.Context, target, live *unstructured.Unstructured) (Verdict, error) {
	k := KeyOf(target)
	q, err := question(target, live)
	if err != nil {
		return Verdict{}, err
	}
	d.mu.Lock()
	a, ok := d.known[k]
	d.mu.Unlock()
	if ok && a.question == q {
		return a.verdict, nil
	}
	v, err := d.ask(ctx, target, live)
	if err != nil {
		return Verdict{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[k] = answer{q, v}
	return v, nil
}

func (d *ServerDiffer) ask(ctx context.Context, target, live *unstructured.Unstructured) (Verdict, error) {
	secret := IsSecret(KeyOf(target))
	o, _ := OptionsOf(target)
	next, err := d.cluster.Apply(ctx, target, cluster.ApplyOptions{DryRun: true, Lenient: o.Lenient})
	if err != nil {
		if cluster.Refusal(err) {
			return Verdict{Why: "cannot be applied: " + Refused(err, secret), Refused: true}, nil
		}
		return Verdict{}, Quiet(err, secret)
	}
	return Verdict{Why: Words(Changes(live, next), secret)}, nil
}

// Refused says why the API server refused an object. Its words may hold
// values, so those about a secret object are not passed on.
func Refused(err error, secret bool) string {
	if secret {
		return "the API server refuses it (its words are not shown: the object is secret)"
	}
	return cluster.Reason(err)
}

// Quiet takes from an error of the API server about a secret object the words,
// which may hold values.
func Quiet(err error, secret bool) error {
	if reason := apierrors.ReasonForError(err); secret && reason != metav1.StatusReasonUnknown {
		return fmt.Errorf("the API server answers %s (its words are not shown: the object is secret)", reason)
	}
	return err
}

// IsSecret says whether values of the object must not be shown.
func IsSecret(k Key) bool { return k.Group == "" && k.Kind == "Secret" }

// question identifies what is compared.
func question(target, live *unstructured.Unstructured) ([sha256.Size]byte, error) {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, part := range []any{target.Object, essence(live), live.GetUID(), owners(live)} {
		if err := enc.Encode(part); err != nil {
			return [sha256.Size]byte{}, fmt.Errorf("encode %s: %w", KeyOf(target), err)
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// owners is who owns which fields, without the times: it decides what an apply
// removes.
func owners(live *unstructured.Unstructured) []any {
	var out []any
	for _, f := range live.GetManagedFields() {
		if f.Subresource == "" && f.FieldsV1 != nil {
			out = append(out, f.Manager, string(f.Operation), f.FieldsV1.String())
		}
	}
	return out
}
