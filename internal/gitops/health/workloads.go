package health

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

func deployment(d *appsv1.Deployment) Health {
	if d.Spec.Paused {
		return Health{Status: v1alpha1.HealthSuspended, Message: "Deployment is paused"}
	}
	if d.Generation > d.Status.ObservedGeneration {
		return progressing("Waiting for rollout to finish: observed deployment generation less than desired generation")
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded" {
			return degraded(fmt.Sprintf("Deployment %q exceeded its progress deadline", d.Name))
		}
	}
	s := d.Status
	switch {
	case d.Spec.Replicas != nil && s.UpdatedReplicas < *d.Spec.Replicas:
		return progressing("Waiting for rollout to finish: %d out of %d new replicas have been updated...", s.UpdatedReplicas, *d.Spec.Replicas)
	case s.Replicas > s.UpdatedReplicas:
		return progressing("Waiting for rollout to finish: %d old replicas are pending termination...", s.Replicas-s.UpdatedReplicas)
	case s.AvailableReplicas < s.UpdatedReplicas:
		return progressing("Waiting for rollout to finish: %d of %d updated replicas are available...", s.AvailableReplicas, s.UpdatedReplicas)
	}
	return healthy("")
}

func statefulSet(s *appsv1.StatefulSet) Health {
	st := s.Status
	if st.ObservedGeneration == 0 || s.Generation > st.ObservedGeneration {
		return progressing("Waiting for statefulset spec update to be observed...")
	}
	if s.Spec.Replicas != nil && st.ReadyReplicas < *s.Spec.Replicas {
		return progressing("Waiting for %d pods to be ready...", *s.Spec.Replicas-st.ReadyReplicas)
	}
	if u := s.Spec.UpdateStrategy; u.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return healthy(fmt.Sprintf("statefulset has %d ready pods", st.ReadyReplicas))
	} else if u.RollingUpdate != nil && u.RollingUpdate.Partition != nil && *u.RollingUpdate.Partition > 0 {
		if s.Spec.Replicas != nil && st.UpdatedReplicas < *s.Spec.Replicas-*u.RollingUpdate.Partition {
			return progressing("Waiting for partitioned roll out to finish: %d out of %d new pods have been updated...", st.UpdatedReplicas, *s.Spec.Replicas-*u.RollingUpdate.Partition)
		}
		return healthy(fmt.Sprintf("partitioned roll out complete: %d new pods have been updated...", st.UpdatedReplicas))
	}
	if st.UpdateRevision != st.CurrentRevision {
		return progressing("waiting for statefulset rolling update to complete %d pods at revision %s...", st.UpdatedReplicas, st.UpdateRevision)
	}
	return healthy(fmt.Sprintf("statefulset rolling update complete %d pods at revision %s...", st.CurrentReplicas, st.CurrentRevision))
}

func daemonSet(d *appsv1.DaemonSet) Health {
	s := d.Status
	switch {
	case d.Generation > s.ObservedGeneration:
		return progressing("Waiting for rollout to finish: observed daemon set generation less than desired generation")
	case d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType:
		return healthy(fmt.Sprintf("daemon set %d out of %d new pods have been updated", s.UpdatedNumberScheduled, s.DesiredNumberScheduled))
	case s.UpdatedNumberScheduled < s.DesiredNumberScheduled:
		return progressing("Waiting for daemon set %q rollout to finish: %d out of %d new pods have been updated...", d.Name, s.UpdatedNumberScheduled, s.DesiredNumberScheduled)
	case s.NumberAvailable < s.DesiredNumberScheduled:
		return progressing("Waiting for daemon set %q rollout to finish: %d of %d updated pods are available...", d.Name, s.NumberAvailable, s.DesiredNumberScheduled)
	}
	return healthy("")
}

func replicaSet(r *appsv1.ReplicaSet) Health {
	if r.Generation > r.Status.ObservedGeneration {
		return progressing("Waiting for rollout to finish: observed replica set generation less than desired generation")
	}
	for _, c := range r.Status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			return degraded(c.Message)
		}
	}
	if r.Spec.Replicas != nil && r.Status.AvailableReplicas < *r.Spec.Replicas {
		return progressing("Waiting for rollout to finish: %d out of %d new replicas are available...", r.Status.AvailableReplicas, *r.Spec.Replicas)
	}
	return healthy("")
}

func job(j *batchv1.Job) Health {
	suspended, done, message := false, false, ""
	for _, c := range j.Status.Conditions {
		switch c.Type {
		case batchv1.JobFailed:
			return degraded(c.Message)
		case batchv1.JobComplete:
			done, message = true, c.Message
		case batchv1.JobSuspended:
			suspended, done, message = c.Status == corev1.ConditionTrue, true, c.Message
		}
	}
	switch {
	case suspended:
		return Health{Status: v1alpha1.HealthSuspended, Message: message, CountAs: v1alpha1.HealthHealthy}
	case !done:
		return progressing("%s", message)
	}
	return healthy(message)
}

func cronJob(c *batchv1.CronJob) Health {
	s := c.Status
	switch {
	case c.Spec.Suspend != nil && *c.Spec.Suspend:
		return Health{Status: v1alpha1.HealthSuspended, Message: "CronJob is Suspended"}
	case s.LastScheduleTime == nil:
		return healthy("CronJob has not been scheduled yet")
	case s.LastSuccessfulTime == nil:
		return healthy("CronJob has not completed a run yet; it may not be healthy")
	case len(s.Active) > 0:
		return healthy("A run is under way; the last one may not have been successful")
	case s.LastSuccessfulTime.Before(s.LastScheduleTime):
		return degraded("CronJob has not completed its last execution successfully")
	}
	return healthy("CronJob has completed its last execution successfully")
}

func pod(p *corev1.Pod) Health {
	if p.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		if messages, bad := waitingInError(p.Status.ContainerStatuses); bad {
			return degraded(strings.Join(messages, ", "))
		}
	}
	switch p.Status.Phase {
	case corev1.PodPending:
		return progressing("%s", p.Status.Message)
	case corev1.PodSucceeded:
		return healthy(p.Status.Message)
	case corev1.PodFailed:
		return degraded(podFailure(p))
	case corev1.PodRunning:
		return runningPod(p)
	}
	return Health{Status: v1alpha1.HealthUnknown, Message: p.Status.Message}
}

// runningPod judges a pod whose containers run. One that is meant to end is
// on its way until it has.
func runningPod(p *corev1.Pod) Health {
	if p.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		return progressing("%s", p.Status.Message)
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return healthy(p.Status.Message)
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.LastTerminationState.Terminated != nil {
			return degraded(p.Status.Message)
		}
	}
	return progressing("%s", p.Status.Message)
}

func waitingInError(cs []corev1.ContainerStatus) (messages []string, bad bool) {
	for _, c := range cs {
		w := c.State.Waiting
		if w != nil && (strings.HasPrefix(w.Reason, "Err") || strings.HasSuffix(w.Reason, "Error") || strings.HasSuffix(w.Reason, "BackOff")) {
			messages, bad = append(messages, w.Message), true
		}
	}
	return messages, bad
}

func podFailure(p *corev1.Pod) string {
	if p.Status.Message != "" {
		return p.Status.Message
	}
	for _, cs := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range cs {
			switch t := c.State.Terminated; {
			case t == nil:
			case t.Message != "":
				return t.Message
			case t.Reason == "OOMKilled":
				return t.Reason
			case t.ExitCode != 0:
				return fmt.Sprintf("container %q failed with exit code %d", c.Name, t.ExitCode)
			}
		}
	}
	return ""
}
