package kubelet

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/validation"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig/configfiles"
	utilfs "k8s.io/kubernetes/pkg/util/filesystem"
)

// TestConfig compares the configurations of both cgroup versions with checked-in
// files, and asks the kubelet's own loader and validation about them.
func TestConfig(t *testing.T) {
	for name, v2 := range map[string]bool{"cgroup-v1": false, "cgroup-v2": true} {
		t.Run(name, func(t *testing.T) {
			got, err := Config(Params{
				NodeIP: "10.214.0.1", Port: 10250, ClientCA: "/d/pki/ca.crt", Cert: "/d/pki/kubelet-server.crt", Key: "/d/pki/kubelet-server.key",
				ClusterDNS: "10.215.0.10", ClusterDomain: "cluster.local", PodCIDR: "10.214.0.0/16", ResolvConf: "/d/kubelet/resolv.conf",
				CgroupRoot: "/penstock-01234567", CgroupV2: v2, Containerd: "/d/run/containerd.sock", PodLogs: "/d/log/pods",
				VolumePlugins: "/d/kubelet/volumeplugins", MaxPods: 250,
			})
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".yaml")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("differs from %s (-want +got):\n%s", golden, d)
			}
			abs, err := filepath.Abs(golden)
			if err != nil {
				t.Fatal(err)
			}
			loader, err := configfiles.NewFsLoader(&utilfs.DefaultFs{}, abs)
			if err != nil {
				t.Fatal(err)
			}
			c, err := loader.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c.FailCgroupV1 == !v2 {
				t.Errorf("failCgroupV1 is %t", c.FailCgroupV1)
			}
			c.FailCgroupV1 = false // the validation compares it with the machine of the test
			if err := validation.ValidateKubeletConfiguration(c, utilfeature.DefaultFeatureGate); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	l := links{dir: "/d/log/containers"}
	for in, want := range map[string]string{
		"/var/log/containers":           "/d/log/containers",
		"/var/log/containers/a.log":     "/d/log/containers/a.log",
		"/var/log/containers-of-mine":   "/var/log/containers-of-mine",
		"/d/log/pods/ns_a_u/main/0.log": "/d/log/pods/ns_a_u/main/0.log",
	} {
		if got := l.at(in); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}
