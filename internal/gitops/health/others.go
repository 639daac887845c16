package health

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

func claim(c *corev1.PersistentVolumeClaim) Health {
	switch c.Status.Phase {
	case corev1.ClaimLost:
		return degraded("")
	case corev1.ClaimBound:
		return healthy("")
	case corev1.ClaimPending:
		if _, ok := c.Annotations["volume.beta.kubernetes.io/storage-provisioner"]; ok {
			return progressing("Provisioning volume")
		}
		return healthy("Waiting for consumer")
	}
	return Health{Status: v1alpha1.HealthUnknown}
}

func service(s *corev1.Service) Health {
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && len(s.Status.LoadBalancer.Ingress) == 0 {
		return progressing("Waiting for an address of the load balancer")
	}
	return healthy("")
}

// ingress is healthy once whoever serves it has said where; Penstock's gateway
// does.
func ingress(i *networkingv1.Ingress) Health {
	if len(i.Status.LoadBalancer.Ingress) == 0 {
		return progressing("Waiting for an address")
	}
	return healthy("")
}

// condition is the common shape of conditions.
type condition struct {
	Type, Status, Reason, Message string
}

// conditionsOf reads status.conditions of any kind.
func conditionsOf(u *unstructured.Unstructured) ([]condition, error) {
	var o struct {
		Status struct {
			Conditions []condition `json:"conditions"`
		} `json:"status"`
	}
	raw := map[string]any{}
	if st, ok := u.Object["status"].(map[string]any); ok {
		raw["status"] = map[string]any{"conditions": st["conditions"]}
	}
	b, err := json.Marshal(raw)
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(b, &o)
	return o.Status.Conditions, err
}

func autoscaler(u *unstructured.Unstructured) (Health, error) {
	var cs []condition
	var err error
	if u.GroupVersionKind().Version == "v1" {
		if a := u.GetAnnotations()["autoscaling.alpha.kubernetes.io/conditions"]; a != "" {
			err = json.Unmarshal([]byte(a), &cs)
		}
	} else {
		cs, err = conditionsOf(u)
	}
	if err != nil {
		return Health{}, err
	}
	for _, c := range cs {
		switch {
		case c.Type == "AbleToScale" && (c.Reason == "FailedGetScale" || c.Reason == "FailedUpdateScale"),
			c.Type == "ScalingActive" && (c.Reason == "FailedGetResourceMetric" || c.Reason == "InvalidSelector"):
			return degraded(c.Message), nil
		case (c.Type == "AbleToScale" || c.Type == "ScalingLimited") && c.Status == "True":
			return healthy(c.Message), nil
		}
	}
	return progressing("Waiting to Autoscale"), nil
}

func apiService(u *unstructured.Unstructured) (Health, error) {
	cs, err := conditionsOf(u)
	if err != nil {
		return Health{}, err
	}
	for _, c := range cs {
		if c.Type != "Available" {
			continue
		}
		msg := fmt.Sprintf("%s: %s", c.Reason, c.Message)
		if c.Status == "True" {
			return healthy(msg), nil
		}
		return progressing("%s", msg), nil
	}
	return progressing("Waiting to be processed"), nil
}

// definition judges a CustomResourceDefinition: objects of its kind can be
// applied only when it is established.
func definition(u *unstructured.Unstructured) (Health, error) {
	cs, err := conditionsOf(u)
	if err != nil {
		return Health{}, err
	}
	established := false
	for _, c := range cs {
		switch {
		case c.Type == "NamesAccepted" && c.Status == "False":
			return degraded("CRD names have not been accepted: " + c.Message), nil
		case c.Type == "NonStructuralSchema" && c.Status == "True":
			return degraded("Schema violations found: " + c.Message), nil
		case c.Type == "Established" && c.Status == "True":
			established = true
		}
	}
	if !established {
		return progressing("CRD is not established"), nil
	}
	return healthy("CRD is healthy"), nil
}
