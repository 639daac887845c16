package application_test

// childEnv makes this binary a controller of its own that a test kills.
const childEnv = "GITOPS_TEST_CHILD"

func child(string) error { return nil }
