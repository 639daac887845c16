package health_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/internal/gitops/health"
)

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		name, object, status, message string
	}{
		{"no check", "apiVersion: v1\nkind: ConfigMap", "", ""},
		{"deletion", "apiVersion: v1\nkind: ConfigMap\nmetadata: {deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [a, b]}", "Progressing", "Pending deletion; blocked by finalizers: a, b"},

		{"deployment not observed", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {generation: 2}\nstatus: {observedGeneration: 1}", "Progressing", "Waiting for rollout to finish: observed deployment generation less than desired generation"},
		{"deployment updating", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {generation: 1}\nspec: {replicas: 3}\nstatus: {observedGeneration: 1, updatedReplicas: 1}", "Progressing", "Waiting for rollout to finish: 1 out of 3 new replicas have been updated..."},
		{"deployment old pods", "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 1}\nstatus: {replicas: 3, updatedReplicas: 1}", "Progressing", "Waiting for rollout to finish: 2 old replicas are pending termination..."},
		{"deployment not available", "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 1}\nstatus: {replicas: 1, updatedReplicas: 1}", "Progressing", "Waiting for rollout to finish: 0 of 1 updated replicas are available..."},
		{"deployment healthy", "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 1}\nstatus: {replicas: 1, updatedReplicas: 1, availableReplicas: 1}", "Healthy", ""},
		{"deployment at zero", "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 0}", "Healthy", ""},
		{"deployment paused", "apiVersion: apps/v1\nkind: Deployment\nspec: {paused: true}", "Suspended", "Deployment is paused"},
		{"deployment deadline", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nstatus: {conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}]}", "Degraded", `Deployment "web" exceeded its progress deadline`},

		{"statefulset new", "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {generation: 1}", "Progressing", "Waiting for statefulset spec update to be observed..."},
		{"statefulset waits", "apiVersion: apps/v1\nkind: StatefulSet\nspec: {replicas: 2}\nstatus: {observedGeneration: 1, readyReplicas: 1}", "Progressing", "Waiting for 1 pods to be ready..."},
		{"statefulset updating", "apiVersion: apps/v1\nkind: StatefulSet\nspec: {replicas: 1}\nstatus: {observedGeneration: 1, readyReplicas: 1, updateRevision: b, currentRevision: a}", "Progressing", "waiting for statefulset rolling update to complete 0 pods at revision b..."},
		{"statefulset done", "apiVersion: apps/v1\nkind: StatefulSet\nspec: {replicas: 1}\nstatus: {observedGeneration: 1, readyReplicas: 1, currentReplicas: 1, updateRevision: a, currentRevision: a}", "Healthy", "statefulset rolling update complete 1 pods at revision a..."},
		{"statefulset on delete", "apiVersion: apps/v1\nkind: StatefulSet\nspec: {replicas: 1, updateStrategy: {type: OnDelete}}\nstatus: {observedGeneration: 1, readyReplicas: 1, updateRevision: b}", "Healthy", "statefulset has 1 ready pods"},
		{"statefulset partition", "apiVersion: apps/v1\nkind: StatefulSet\nspec: {replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1}}}\nstatus: {observedGeneration: 1, readyReplicas: 3, updatedReplicas: 1, updateRevision: b}", "Progressing", "Waiting for partitioned roll out to finish: 1 out of 2 new pods have been updated..."},

		{"daemonset waits", "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: d}\nstatus: {desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 1}", "Progressing", `Waiting for daemon set "d" rollout to finish: 1 of 2 updated pods are available...`},
		{"daemonset healthy", "apiVersion: apps/v1\nkind: DaemonSet\nstatus: {desiredNumberScheduled: 1, updatedNumberScheduled: 1, numberAvailable: 1}", "Healthy", ""},
		{"replicaset failure", "apiVersion: apps/v1\nkind: ReplicaSet\nstatus: {conditions: [{type: ReplicaFailure, status: 'True', message: quota}]}", "Degraded", "quota"},
		{"replicaset waits", "apiVersion: apps/v1\nkind: ReplicaSet\nspec: {replicas: 2}\nstatus: {availableReplicas: 1}", "Progressing", "Waiting for rollout to finish: 1 out of 2 new replicas are available..."},

		{"pod pulls", "apiVersion: v1\nkind: Pod\nspec: {restartPolicy: Always}\nstatus: {phase: Pending, containerStatuses: [{state: {waiting: {reason: ErrImagePull, message: cannot}}}]}", "Degraded", "cannot"},
		{"finite pod pulls", "apiVersion: v1\nkind: Pod\nspec: {restartPolicy: Never}\nstatus: {phase: Pending, containerStatuses: [{state: {waiting: {reason: ErrImagePull, message: cannot}}}]}", "Progressing", ""},
		{"pod crashed before", "apiVersion: v1\nkind: Pod\nspec: {restartPolicy: Always}\nstatus: {phase: Running, containerStatuses: [{lastState: {terminated: {exitCode: 1}}}]}", "Degraded", ""},
		{"pod ready", "apiVersion: v1\nkind: Pod\nspec: {restartPolicy: Always}\nstatus: {phase: Running, conditions: [{type: Ready, status: 'True'}]}", "Healthy", ""},
		{"pod failed", "apiVersion: v1\nkind: Pod\nstatus: {phase: Failed, containerStatuses: [{name: c, state: {terminated: {exitCode: 3}}}]}", "Degraded", `container "c" failed with exit code 3`},
		{"pod oom", "apiVersion: v1\nkind: Pod\nstatus: {phase: Failed, containerStatuses: [{name: c, state: {terminated: {exitCode: 137, reason: OOMKilled}}}]}", "Degraded", "OOMKilled"},
		{"finite pod runs", "apiVersion: v1\nkind: Pod\nspec: {restartPolicy: Never}\nstatus: {phase: Running, conditions: [{type: Ready, status: 'True'}]}", "Progressing", ""},

		{"job runs", "apiVersion: batch/v1\nkind: Job\nstatus: {active: 1}", "Progressing", ""},
		{"job complete", "apiVersion: batch/v1\nkind: Job\nstatus: {conditions: [{type: Complete, status: 'True', message: ok}]}", "Healthy", "ok"},
		{"job failed", "apiVersion: batch/v1\nkind: Job\nstatus: {conditions: [{type: Failed, status: 'True', message: bad}]}", "Degraded", "bad"},
		{"job suspended", "apiVersion: batch/v1\nkind: Job\nstatus: {conditions: [{type: Suspended, status: 'True', message: s}]}", "Suspended", "s"},
		{"cronjob new", "apiVersion: batch/v1\nkind: CronJob", "Healthy", "CronJob has not been scheduled yet"},
		{"cronjob failed", "apiVersion: batch/v1\nkind: CronJob\nstatus: {lastScheduleTime: '2026-01-01T00:02:00Z', lastSuccessfulTime: '2026-01-01T00:01:05Z'}", "Degraded", "CronJob has not completed its last execution successfully"},
		{"cronjob suspended", "apiVersion: batch/v1\nkind: CronJob\nspec: {suspend: true}", "Suspended", "CronJob is Suspended"},

		{"claim bound", "apiVersion: v1\nkind: PersistentVolumeClaim\nstatus: {phase: Bound}", "Healthy", ""},
		{"claim waits for a pod", "apiVersion: v1\nkind: PersistentVolumeClaim\nstatus: {phase: Pending}", "Healthy", "Waiting for consumer"},
		{"claim is provisioned", "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {annotations: {volume.beta.kubernetes.io/storage-provisioner: x}}\nstatus: {phase: Pending}", "Progressing", "Provisioning volume"},
		{"claim lost", "apiVersion: v1\nkind: PersistentVolumeClaim\nstatus: {phase: Lost}", "Degraded", ""},
		{"service", "apiVersion: v1\nkind: Service\nspec: {type: ClusterIP}", "Healthy", ""},
		{"load balancer", "apiVersion: v1\nkind: Service\nspec: {type: LoadBalancer}", "Progressing", "Waiting for an address of the load balancer"},
		{"load balancer done", "apiVersion: v1\nkind: Service\nspec: {type: LoadBalancer}\nstatus: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}", "Healthy", ""},
		{"ingress", "apiVersion: networking.k8s.io/v1\nkind: Ingress", "Progressing", "Waiting for an address"},
		{"ingress served", "apiVersion: networking.k8s.io/v1\nkind: Ingress\nstatus: {loadBalancer: {ingress: [{hostname: localhost}]}}", "Healthy", ""},
		{"hpa v2 failed", "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nstatus: {conditions: [{type: AbleToScale, status: 'False', reason: FailedGetScale, message: m}]}", "Degraded", "m"},
		{"hpa v2 healthy", "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nstatus: {conditions: [{type: AbleToScale, status: 'True', reason: Ready, message: m}]}", "Healthy", "m"},
		{"hpa v1 new", "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler", "Progressing", "Waiting to Autoscale"},
		{"hpa v1 annotation", "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {annotations: {autoscaling.alpha.kubernetes.io/conditions: '[{\"type\":\"AbleToScale\",\"status\":\"True\",\"message\":\"m\"}]'}}", "Healthy", "m"},
		{"apiservice", "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nstatus: {conditions: [{type: Available, status: 'False', reason: R, message: m}]}", "Progressing", "R: m"},
		{"crd new", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition", "Progressing", "CRD is not established"},
		{"crd", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nstatus: {conditions: [{type: Established, status: 'True'}]}", "Healthy", "CRD is healthy"},
		{"not readable", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: many}", "Unknown", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(tt.object), &u.Object); err != nil {
				t.Fatal(err)
			}
			got, ok := health.Of(u)
			if ok != (tt.status != "") {
				t.Fatalf("has a check = %v", ok)
			}
			if got.Status != tt.status || (tt.status != "Unknown" && got.Message != tt.message) {
				t.Errorf("got %s %q, want %s %q", got.Status, got.Message, tt.status, tt.message)
			}
		})
	}
}

func TestWorst(t *testing.T) {
	r := func(name, status string) health.Resource {
		return health.Resource{Name: name, Health: health.Health{Status: status}}
	}
	for _, tt := range []struct {
		name      string
		resources []health.Resource
		live      bool
		want      health.Health
	}{
		{"nothing lives", nil, false, health.Health{Status: "Missing"}},
		{"nothing has a health", nil, true, health.Health{Status: "Healthy"}},
		{"worst wins", []health.Resource{r("a", "Healthy"), r("b", "Progressing"), r("c", "Degraded")}, true, health.Health{Status: "Degraded", Message: "Caused by c"}},
		{"three are named", []health.Resource{r("a", "Progressing"), r("b", "Progressing"), r("c", "Progressing"), r("d", "Progressing")}, true, health.Health{Status: "Progressing", Message: "Caused by a, b, c and 1 more"}},
		{"counts as healthy", []health.Resource{{Name: "j", Health: health.Health{Status: "Suspended", CountAs: "Healthy"}}}, true, health.Health{Status: "Healthy"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, health.Worst(tt.resources, tt.live)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
