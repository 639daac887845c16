package runs

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/ci/workflow"
)

func TestScope(t *testing.T) {
	all := []string{"demo/*"}
	for _, tc := range []struct {
		name          string
		workflow, job workflow.Permissions
		want          Scope
	}{
		{"nothing said", nil, nil, Scope{Read: all, WriteImages: all}},
		{"nothing allowed", workflow.Permissions{}, nil, Scope{}},
		{"packages not named", workflow.Permissions{"contents": "read"}, nil, Scope{Read: all, WriteImages: all}},
		{"packages only", workflow.Permissions{"packages": "write"}, nil, Scope{WriteImages: all}},
		{"packages to read", workflow.Permissions{"contents": "write", "packages": "read"}, nil, Scope{Write: all, ReadImages: all}},
		{"no packages", workflow.Permissions{"contents": "write", "packages": "none"}, nil, Scope{Write: all}},
		{"the job's count", workflow.Permissions{"contents": "write"}, workflow.Permissions{"contents": "read", "packages": "read"}, Scope{Read: all, ReadImages: all}},
	} {
		got := scope("demo/shop", &workflow.Workflow{Permissions: tc.workflow}, &workflow.Job{Permissions: tc.job})
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}
