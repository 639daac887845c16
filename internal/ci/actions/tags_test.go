package actions

import "testing"

func TestJobsNameOnlyTheirOwnersImages(t *testing.T) {
	for tag, ok := range map[string]bool{
		"penstock.localhost:7080/demo/shop:v1":     true,
		"penstock.localhost:7080/demo/shop":        true,
		"penstock.localhost:7080/demo/a/b:x":       true,
		"ghcr.io/demo/shop:v1":                     true,
		"demo/shop":                                true,
		"penstock.localhost:7080/other/shop:1":     false,
		"penstock.localhost:7080/penstock/pause:1": false,
		"penstock.localhost:7080/demo":             false,
		"penstock.localhost:7080/demo2/shop":       false,
		"ghcr.io/other/demo":                       false,
		"nginx":                                    false,
		"library/nginx":                            false,
		"docker.io/library/nginx:1":                false,
		"demo":                                     false,
		"penstock.localhost:7080/demo/../x:1":      false,
		"penstock.localhost:7080/demo/Shop":        false,
		"demo/shop@sha256:0000000000000000000000000000000000000000000000000000000000000000": false,
		"": false,
	} {
		if err := checkTags([]string{"demo/fine:1", tag}, "demo/shop"); (err == nil) != ok {
			t.Errorf("%q: %v, want ok %t", tag, err, ok)
		}
	}
}
