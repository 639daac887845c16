# What people do with this repository. `make help` lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

export CGO_ENABLED := 0
# What the caller has in GOFLAGS must not change what is built. The same flags
# for builds, tests and linters let all of them share what was compiled.
export GOFLAGS := -mod=readonly

VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || echo v0.1.0-devel)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo -dirty)
DATE    ?= $(shell TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || echo unknown)

# Kubernetes reports the version that the linker sets; it must be the one in
# node/go.mod.
KUBERNETES := $(shell sed -n 's|^\tk8s.io/kubernetes ||p' node/go.mod)
kubeparts  := $(subst ., ,$(patsubst v%,%,$(KUBERNETES)))

module  := github.com/penstock-dev/penstock
stamp    = -X $(1).version=$(VERSION) -X $(1).commit=$(COMMIT) -X $(1).date=$(DATE)
kstamp   = -X $(1).gitVersion=$(KUBERNETES) -X $(1).gitMajor=$(word 1,$(kubeparts)) -X $(1).gitMinor=$(word 2,$(kubeparts)) -X $(1).gitTreeState=clean

LDFLAGS      := -s -w $(call stamp,$(module)/internal/base/buildinfo)
NODE_LDFLAGS := -s -w $(call stamp,$(module)/node/internal/buildinfo) $(call kstamp,k8s.io/component-base/version) $(call kstamp,k8s.io/client-go/pkg/version)

GOLANGCI_VERSION := v2.15.0
GOLANGCI := bin/tools/golangci-lint-$(GOLANGCI_VERSION)

# Flags for every `go test`, for example TESTFLAGS='-run TestX -v'.
TESTFLAGS ?=

##@ Use

.PHONY: help
help: ## List what can be made
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

.PHONY: demo
demo: setup build ## Install what is missing, build, and run the demo
	bin/penstock demo $(DEMOFLAGS)

.PHONY: setup
setup: ## Install missing system packages (as root; else print the command)
	@scripts/setup

.PHONY: build
build: bin/penstock bin/penstock-node ## Build both programs into bin/

# go decides what is out of date. Without -trimpath, so that what `go test` and
# the linters have compiled is used: Kubernetes is compiled once, not twice.
# The pages are built when their sources changed. Without Node.js, penstock is
# built without them (see scripts/web).
web_sources := $(shell find web -name node_modules -prune -o -path web/dist -prune -o -type f -print)

.PHONY: web
web: internal/face/web/dist/index.html ## Build the pages

internal/face/web/dist/index.html: $(web_sources) scripts/web
	@scripts/web build

.PHONY: bin/penstock
bin/penstock: web
	go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/penstock

.PHONY: bin/penstock-node
bin/penstock-node:
	cd node && go generate ./internal/infra
	cd node && go build -ldflags '$(NODE_LDFLAGS)' -o ../$@ ./cmd/penstock-node

.PHONY: cross
cross: ## Build penstock for macOS and Windows, to see that it can be
	GOOS=darwin GOARCH=arm64 go build -o /dev/null ./cmd/penstock
	GOOS=windows go build -o /dev/null ./cmd/penstock

##@ Check

.PHONY: test
test: build ## Run the tests of all modules, with the programs they start
	@status=0; \
	(cd examples/shop && go test $(TESTFLAGS) ./...) || status=1; \
	(cd node && go test $(TESTFLAGS) ./...) || status=1; \
	go test $(TESTFLAGS) ./... || status=1; \
	exit $$status

.PHONY: lint
lint: $(GOLANGCI) ## Run the linters on both modules and the pages
	@status=0; \
	$(GOLANGCI) run ./... || status=1; \
	(cd node && ../$(GOLANGCI) run --config ../.golangci.yml ./...) || status=1; \
	scripts/web check || status=1; \
	exit $$status

.PHONY: fmt
fmt: $(GOLANGCI) ## Format the code of both modules
	$(GOLANGCI) fmt ./...
	cd node && ../$(GOLANGCI) fmt --config ../.golangci.yml ./...

$(GOLANGCI):
	@mkdir -p bin/tools
	GOBIN=$(CURDIR)/bin/tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv bin/tools/golangci-lint $@

# The packages of a module that have end-to-end tests. They use this machine's
# ports and network, so one package runs after another.
e2e_packages = $$(grep -rl --include='*.go' '^//go:build e2e' $(1) | xargs -r -n 1 dirname | sort -u | sed 's|^[^./]|./&|')

.PHONY: e2e
e2e: setup build ## Run the end-to-end tests (root, Linux; starts real clusters)
	@status=0; export PENSTOCK_BIN=$(CURDIR)/bin; \
	packages=$(call e2e_packages,internal test); \
	go test -tags e2e -count 1 -p 1 -timeout 40m $(TESTFLAGS) $$packages || status=1; \
	cd node; packages=$(call e2e_packages,.); \
	[ -z "$$packages" ] || go test -tags e2e -count 1 -p 1 -timeout 40m $(TESTFLAGS) $$packages || status=1; \
	exit $$status

# NAME:PACKAGE of each suite that others wrote; its test is TestCorpus or
# TestConformance.
SUITES := expressions:./internal/ci/expr registry:./internal/host/registry

.PHONY: conformance
conformance: ## Run the suites that others wrote and write test/scoreboards
	@scripts/setup conformance || echo "cases that need what is missing are skipped" >&2
	@mkdir -p test/scoreboards; status=0; \
	for suite in $(SUITES); do \
		PENSTOCK_CONFORMANCE=1 go test -json -count 1 -run '^Test(Corpus|Conformance)' $${suite#*:} | \
		go run ./test/scoreboard -commit $(COMMIT) -o test/scoreboards/$${suite%%:*}.tsv || status=1; \
	done; exit $$status

.PHONY: bench
bench: ## Run the benchmarks
	PENSTOCK_BIN=$(CURDIR)/bin go test -tags bench -run '^$$' -bench . $(TESTFLAGS) ./...

##@ Clean up

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin web/dist web/node_modules
	find internal/face/web/dist -mindepth 1 -not -name README -delete
