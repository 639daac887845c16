package kubelet

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	config "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

// Params are the facts that the kubelet's configuration depends on.
type Params struct {
	NodeIP        string
	Port          int32
	ClientCA      string // file
	Cert, Key     string // files
	ClusterDNS    string
	ClusterDomain string
	PodCIDR       string
	ResolvConf    string // for Pods that use the node's DNS
	CgroupRoot    string
	CgroupV2      bool
	Containerd    string // socket
	PodLogs       string
	VolumePlugins string
	MaxPods       int32
}

// Config returns the kubelet's configuration file.
func Config(p Params) ([]byte, error) {
	yes, no := true, false
	c := config.KubeletConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: config.SchemeGroupVersion.String(), Kind: "KubeletConfiguration"},
		Address:  p.NodeIP,
		Port:     p.Port,
		// Nothing of the kubelet answers without a certificate or a token.
		ReadOnlyPort: 0,
		HealthzPort:  new(int32),
		Authentication: config.KubeletAuthentication{
			X509:      config.KubeletX509Authentication{ClientCAFile: p.ClientCA},
			Webhook:   config.KubeletWebhookAuthentication{Enabled: &yes},
			Anonymous: config.KubeletAnonymousAuthentication{Enabled: &no},
		},
		Authorization:     config.KubeletAuthorization{Mode: config.KubeletAuthorizationModeWebhook},
		TLSCertFile:       p.Cert,
		TLSPrivateKeyFile: p.Key,
		ClusterDNS:        []string{p.ClusterDNS},
		ClusterDomain:     p.ClusterDomain,
		PodCIDR:           p.PodCIDR,
		ResolverConfig:    &p.ResolvConf,
		// One manager of cgroups for kubelet and runc. The systemd driver needs
		// systemd's bus, which containers and many CI machines lack; below a
		// cgroup of our own the file system driver works everywhere.
		CgroupDriver:             "cgroupfs",
		CgroupRoot:               p.CgroupRoot,
		FailSwapOn:               &no,
		ContainerRuntimeEndpoint: "unix://" + p.Containerd,
		PodLogsDir:               p.PodLogs,
		VolumePluginDir:          p.VolumePlugins,
		// Its chains guard against loopback addresses from outside, which only
		// matter where node ports answer on loopback (see package proxy).
		MakeIPTablesUtilChains: &no,
		MaxPods:                p.MaxPods,
		// The default starts one Pod's images and containers after the other.
		SerializeImagePulls: &no,
		// Events of 20 Pods starting at once are more than the default of 50
		// per second, and throttling them delays nothing but the events.
		EventRecordQPS: new(int32),
		KubeAPIQPS:     ptr(int32(500)),
		KubeAPIBurst:   1000,
		// A configmap or secret that changed is seen through its watch.
		ConfigMapAndSecretChangeDetectionStrategy: config.WatchChangeDetectionStrategy,
		// Images are imported, not pulled: one that was collected would not
		// come back. `penstock image remove` frees space.
		ImageGCHighThresholdPercent: ptr(int32(100)),
		ImageGCLowThresholdPercent:  ptr(int32(99)),
		// Absolute values: the percentages of the defaults evict every Pod of
		// a large disk that has 40 GB free.
		EvictionHard: map[string]string{
			"memory.available":   "100Mi",
			"nodefs.available":   "500Mi",
			"imagefs.available":  "500Mi",
			"nodefs.inodesFree":  "1%",
			"imagefs.inodesFree": "1%",
		},
		// Statistics are for autoscaling and eviction; fewer of them keep an
		// idle machine idle.
		NodeStatusUpdateFrequency: metav1.Duration{Duration: 10 * time.Second},
		NodeStatusReportFrequency: metav1.Duration{Duration: 5 * time.Minute},
		EnableServer:              &yes,
		EnableSystemLogHandler:    &no,
		EnableProfilingHandler:    &no,
		ContainerLogMaxSize:       "10Mi",
		ContainerLogMaxFiles:      ptr(int32(3)),
	}
	if !p.CgroupV2 {
		// Since Kubernetes 1.35 a kubelet refuses cgroup v1 unless told so.
		c.FailCgroupV1 = &no
	}
	b, err := yaml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode the kubelet's configuration: %w", err)
	}
	return b, nil
}

func ptr[T any](v T) *T { return &v }
