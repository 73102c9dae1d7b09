# The main targets are `make demo` and `make test`; `make help` lists all.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# With the same flags everywhere, programs, tools, tests and all clones share compiled packages, except under the race detector.
export GOFLAGS += -trimpath
export CGO_ENABLED ?= 0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE_REPOSITORY := ghcr.io/sharding-system/shardinguser-operator
IMG ?= $(IMAGE_REPOSITORY):$(VERSION)
CONTAINER_TOOL ?= docker

TOOLS := $(CURDIR)/bin/tools
CONTROLLER_GEN := $(TOOLS)/controller-gen
KUSTOMIZE := $(TOOLS)/kustomize
CRD_REF_DOCS := $(TOOLS)/crd-ref-docs
GOLANGCI_LINT := $(TOOLS)/golangci-lint
MISSPELL := $(TOOLS)/misspell
GOVULNCHECK := $(TOOLS)/govulncheck
HELM := $(TOOLS)/helm
CHART := charts/shardinguser-operator

# Targets may append packages, so that all programs are built in one command.
BUILD = go build -ldflags "-s -w -X main.version=$(VERSION)" -o bin/ ./cmd/manager ./cmd/kubectl-shardinguser

##@ Use

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: prepare-demo ## Show the main features on a real API server and a real Postgres; with STAY=0 it ends by itself.
	$(BUILD) ./hack/demo
	@STAY="$(STAY)" exec bin/demo # not `go run`, which SIGTERM ends without its child

.PHONY: cluster
cluster: $(if $(ARGS),,build $(HELM)) ## Start a Kubernetes cluster with a Postgres and the operator's image, by kind or as root on Linux; ARGS=stop ends it.
	hack/cluster.sh $(IMAGE_REPOSITORY) $(VERSION) $(ARGS)

.PHONY: run
run: build ## Run the manager with the arguments ARGS against the cluster of your kubeconfig.
	bin/manager --zap-devel $(ARGS)

##@ Develop

# The versions of Postgres that `make test` covers besides the installed one are the oldest and the newest.
GATE_MAJORS ?= 14 18

.PHONY: prepare
prepare: ## Install the programs that tests run: a control plane in bin/k8s, Postgres, nginx, PgBouncer, Prometheus and Helm. The first build from source takes ten minutes.
	hack/prepare-controlplane.sh kube-controller-manager
	hack/prepare-postgres.sh
	hack/prepare-postgres-majors.sh $(GATE_MAJORS)
	hack/prepare-program.sh nginx
	hack/prepare-program.sh pgbouncer
	hack/prepare-program.sh prometheus
	$(MAKE) --no-print-directory $(HELM)

# The demo does not need kube-controller-manager, which the release archives lack: if they are reachable, nothing is built.
.PHONY: prepare-demo
prepare-demo:
	hack/prepare-controlplane.sh
	hack/prepare-postgres.sh

# Only the deep tests need Patroni and HAProxy.
.PHONY: prepare-ha
prepare-ha: prepare
	hack/prepare-program.sh patroni
	hack/prepare-program.sh haproxy

.PHONY: generate
generate: $(CONTROLLER_GEN) $(CRD_REF_DOCS) ## Regenerate deep copies, CRD, RBAC, references, parts of the chart, Argo CD's ConfigMap and SQL from their sources.
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(CONTROLLER_GEN) crd rbac:roleName=manager-role paths=./api/... paths=./internal/controller/... \
		output:crd:artifacts:config=config/crd/bases output:rbac:artifacts:config=config/rbac
	mkdir -p docs
	$(CRD_REF_DOCS) --source-path=api --config=hack/api-reference.yaml --renderer=markdown \
		--output-path=docs/api-reference.md --log-level=ERROR
	cat hack/server-side-apply.md >>docs/api-reference.md
	go run ./hack/sql config/database/roles.sql config/database/sharding-manager.sql
	hack/chart-files.sh
	go run ./hack/argocd config/argocd
	go run ./hack/reference

.PHONY: build
build: ## Build bin/manager and the kubectl plugin bin/kubectl-shardinguser, which kubectl finds on PATH.
	$(BUILD)

# Tests wait most of the time, so more tests and packages than cores run at once.
TESTS_AT_ONCE ?= 6
PACKAGES_AT_ONCE ?= 3
# -count=1 disables Go's cache of test results, which ignores changes of the programs and servers that a test starts.
GO_TEST := go test -count=1 -parallel $(TESTS_AT_ONCE) -p $(PACKAGES_AT_ONCE)
# The race detector multiplies the CPU time of tests, so fewer of them run at once.
GO_TEST_RACE := CGO_ENABLED=1 go test -count=1 -race -parallel 4 -p 2

# $(call timed,NAME) COMMAND prints the time that the command took.
export TIMEFORMAT := %R s
timed = @echo "==== $(1)"; time

# These tests measure the share of the cores that each source of logins gets, so they must run alone.
SHARE_TESTS := TestRequestsWithoutBodiesDoNotBlockOtherClients TestGuessesAtUnknownNamesLeaveOthersTheirShare \
	TestGuessesAtAnExemptAccountLeaveItsOwnerAShare
empty :=
shares := ^($(subst $(empty) $(empty),|,$(strip $(SHARE_TESTS))))$$

# The race detector covers the packages that share state between goroutines. `make test` runs these only under it.
RACED := ./internal/bcrypt ./internal/fair ./internal/login ./internal/password ./internal/serving ./internal/store/...

# The longest packages run first, since they would leave a core idle at the end.
LONGEST := ./test/e2e ./internal/controller

.PHONY: test
test: prepare ## Run all tests in their short form: unit, conformance and end-to-end tests, and concurrent packages under the race detector.
	@mkdir -p bin; go list ./... | grep -v '/test/ha$$' | sort >bin/packages; go list $(RACED) | sort >bin/raced
	$(call timed,stories) $(GO_TEST) -short -timeout 25m $(LONGEST) $$(comm -23 bin/packages bin/raced)
	$(call timed,race detector) $(GO_TEST_RACE) -short -timeout 25m ./internal/store/postgres ./internal/controller $(RACED) ./internal/controller/... ./cmd/...
	$(call timed,shares) go test -short -count=1 -run '$(shares)' ./internal/login
	$(call timed,Postgres $(GATE_MAJORS)) $(MAKE) --no-print-directory test-postgres MAJORS="$(GATE_MAJORS)" \
		SHORT=-short MAJOR_PACKAGES="./internal/store/postgres ./test/shardingmanager"
	$(call timed,tools) go -C hack/benchplot test ./...
	$(call timed,Argo CD's scripts) go -C test/gitops test ./scripts

.PHONY: test-ha
test-ha: prepare-ha ## Run failovers of a real Postgres pair of Patroni, behind HAProxy and by a DSN with both hosts, which takes five minutes.
	go test -count=1 -timeout 25m -v ./test/ha | grep -v '^=== '

.PHONY: test-deep
test-deep: prepare-ha build $(GOLANGCI_LINT) ## Run all tests in full, which takes half an hour: long runs, large tables, all faults, all Postgres majors, Argo CD's libraries.
	$(call timed,race detector) TEST_COUNTS=$(CURDIR)/bin/counts $(GO_TEST_RACE) -timeout 40m ./api/... ./internal/... ./cmd/...
	@cat bin/counts/* # the numbers of tried cases, which `go test` does not show
	$(call timed,shares) go test -count=1 -run '$(shares)' ./internal/login
	$(call timed,stories) $(GO_TEST) -timeout 30m $$(go list ./test/... ./hack/... | grep -v '/test/ha$$')
	$(call timed,failovers) $(MAKE) --no-print-directory test-ha
	$(call timed,Postgres $(MAJORS)) $(MAKE) --no-print-directory test-postgres
	$(call timed,node) if hack/node/prepare.sh check; then $(MAKE) --no-print-directory test-node FULL=1; fi
	$(call timed,Argo CD) go -C test/gitops test -timeout 20m ./...
	cd test/gitops && $(GOLANGCI_LINT) run
	go -C test/gitops mod tidy -diff
	$(call timed,soak) $(MAKE) --no-print-directory soak DURATION=3m
	$(call timed,fuzz) $(MAKE) --no-print-directory fuzz FUZZ_TIME=3m

# FOLDER is not that of `make cluster`, so that both can run.
test-node: export FOLDER := $(CURDIR)/bin/node
test-node: export TEST_DATABASE_DSN := postgres://postgres@10.89.0.1:5432/postgres?sslmode=disable

.PHONY: test-node
test-node: prepare build $(HELM) $(KUSTOMIZE) ## Test the image, the manifests and the chart on a real node, as root on Linux; RUN selects tests, COUNT repeats them, FULL=1 runs them in full, KEEP=1 keeps the node.
	hack/node/prepare.sh
	hack/node/images.sh $(FOLDER)/images $(IMAGE_REPOSITORY) v0.0.1 v0.0.2
	go test -c -tags node -o bin/tests/node.test ./test/node
	hack/node/node.sh start
	status=0; cd test/node; ../../hack/node/node.sh enter ../../bin/tests/node.test -test.v -test.count=$(or $(COUNT),1) -test.timeout=40m \
		$(if $(FULL),,-test.short) $(if $(RUN),-test.run='$(RUN)') || status=$$?; $(if $(KEEP),,../../hack/node/node.sh stop;) exit $$status

.PHONY: test-profile
test-profile: prepare ## Run the tests of PACKAGES (./...) in their short form, and list the time of packages, tests and builds.
	go build -o bin/testprofile ./hack/testprofile
	mkdir -p bin/profile
	$(GO_TEST) -short -skip '$(shares)' -json -debug-actiongraph=bin/profile/actions.json $(or $(PACKAGES),./...) | \
		bin/testprofile bin/profile/actions.json

MAJORS ?= 14 15 16 17 18

# The tests that depend on the version of Postgres cover the store, its schema, triggers and roles, and the main features.
MAJOR_TESTS := TestTheStoreOnPostgresKeepsTheStoresPromises TestTwoRolesKeepTheStoresPromisesTogether \
	TestTheTableUsersIsMadeAsTheContractHasIt TestACompleteSchemaNeedsNoRightToCreate \
	TestTheScriptMakesTheRolesWhereTheyAreNotThere TestTheScriptMakesTheTriggersThatTheOperatorMakes \
	TestChangesAreReportedByNotificationsAlone TestTheTriggerNeverFailsAnotherProgramsWrite \
	TestSamplesAreReconciledAndListedByKubectl TestUserIsLockedAfterFiveFailuresAndUnlockedOnRequest \
	TestTableOfTheShardingManagerIsUsedUnchanged TestTheScriptLetsBothGenerationsStart \
	TestInspectionFindsLocksThatLieHoursOff TestInspectTableFindsRolesThatCannotStartAManager \
	TestAStatementTriggerMakesNoOutage
MAJOR_PACKAGES ?= ./internal/store/postgres ./test/e2e ./test/shardingmanager

.PHONY: test-postgres
test-postgres: ## Run the tests that depend on Postgres, in MAJOR_PACKAGES, on each major version in MAJORS (14 to 18).
	hack/prepare-postgres-majors.sh $(MAJORS)
	@names='$(MAJOR_TESTS)'; for major in $(MAJORS); do \
		bin=$$(hack/find-postgres.sh $$major) && echo "Postgres $$major:" && env -u TEST_DATABASE_DSN POSTGRES_BIN=$$bin \
		$(GO_TEST) $(SHORT) -timeout 20m -run "^($${names// /|})\$$" $(MAJOR_PACKAGES) || exit 1; \
	done

# The script finds the targets and divides the time among them.
FUZZ_TIME ?= 1h

.PHONY: fuzz
fuzz: ## Fuzz all parsers of outside input, for FUZZ_TIME (1h) in total.
	hack/fuzz.sh $(FUZZ_TIME)

.PHONY: bench
bench: prepare build ## Measure the figures of docs/performance.md, and write them to bin/bench; USERS, PLAIN, ROWS, IDLE, REPEAT, SCALE and PROFILE set sizes and rows.
	go build -o bin/bench/bench ./test/bench
	status=0; bin/bench/bench $(if $(USERS),-users=$(USERS)) $(if $(PLAIN),-plain=$(PLAIN)) $(if $(ROWS),-rows=$(ROWS)) \
		$(if $(IDLE),-idle=$(IDLE)) $(if $(REPEAT),-repeat=$(REPEAT)) $(if $(SCALE),-scale=$(SCALE)) \
		$(if $(PROFILE),-profile=$(PROFILE)) || status=$$?; \
	go -C hack/benchplot run . $$(ls -t $(CURDIR)/bin/bench/*.json | head -n 2); exit $$status # of this run and of the one before

# Without SEED, the faults are random.
DURATION ?= 10m

.PHONY: soak
soak: prepare build ## Inject faults for DURATION (10m), check all guarantees, and write the results to bin/soak; SEED replays the faults of a run.
	go build -o bin/soak/soak ./test/soak
	status=0; bin/soak/soak -duration=$(DURATION) $(if $(SEED),-seed=$(SEED)) || status=$$?; \
	for run in bin/soak/latest.json $$(ls -t bin/soak/2*.json | head -n 1); do go -C hack/benchplot run ./soak $(CURDIR)/$$run; done; exit $$status

.PHONY: dashboard-picture
dashboard-picture: ## Draw the picture of docs/monitoring.md again, from minutes of a real manager and a real Prometheus.
	go test -count=1 -timeout 15m -run TestARealPrometheusFiresAlerts ./test/monitoring -args -dashboard=$(CURDIR)/bin/dashboard.json
	mkdir -p docs/images
	go -C hack/benchplot run ./dashboard $(CURDIR)/bin/dashboard.json $(CURDIR)/docs/images/dashboard.svg

.PHONY: demo-picture
demo-picture: prepare-demo ## Draw the picture of the demo in the README again, from a real run.
	$(BUILD) ./hack/demo
	STAY=0 bin/demo >bin/demo.txt || { cat bin/demo.txt; exit 1; }
	hack/demo-picture.sh bin/demo.txt docs/images/demo.svg

.PHONY: lint
lint: $(GOLANGCI_LINT) $(MISSPELL) $(HELM) ## Run all linters, including those for Kubernetes APIs, prose and spelling.
	go run ./hack/prose
	git ls-files -z '*.md' '*.yaml' '*.sh' | xargs -0 $(MISSPELL) -error # golangci-lint covers Go
	$(GOLANGCI_LINT) run
	cd hack/benchplot && $(GOLANGCI_LINT) run
	cd test/gitops && $(GOLANGCI_LINT) run ./scripts # test-deep lints the rest, which compiles all of Argo CD
	for values in $(CHART)/ci/*.yaml; do $(HELM) lint --strict --quiet --values $$values $(CHART) || exit 1; done
	if command -v shellcheck >/dev/null; then shellcheck .ci/run hack/*.sh hack/*/*.sh; fi

.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## Fail if the programs call code with known vulnerabilities; DB replaces the database vuln.go.dev.
	$(GOVULNCHECK) $(if $(DB),-db $(DB)) ./cmd/...

.PHONY: verify
verify: $(KUSTOMIZE) $(GOLANGCI_LINT) ## Fail if generated files, modules, formatting or manifests are out of date.
	hack/verify.sh $(MAKE) generate
	for module in . hack/tools hack/tools/helm hack/tools/lint hack/tools/vuln hack/controlplane hack/benchplot; do go -C $$module mod tidy -diff || exit 1; done
	$(GOLANGCI_LINT) fmt --diff
	for tree in default namespaced admission default-users default-users/namespaced generated-passwords generated-passwords/namespaced; do $(KUSTOMIZE) build config/$$tree >/dev/null || exit 1; done

##@ Ship

.PHONY: build-installer
build-installer: $(KUSTOMIZE) ## Write dist/install.yaml with the CRDs, the RBAC rules, and the manager with the image IMG.
	mkdir -p dist
	$(KUSTOMIZE) build config/default | sed 's|image: controller:latest|image: $(IMG)|' >dist/install.yaml

.PHONY: package-chart
package-chart: $(HELM) ## Write dist/shardinguser-operator-VERSION.tgz, the Helm chart for the image IMG.
	HELM=$(HELM) hack/package-chart.sh $(VERSION) $(IMG)

.PHONY: build-plugin
build-plugin: ## Write the archives of the kubectl plugin for all platforms, and its krew manifest, to dist.
	hack/build-plugin.sh $(VERSION)

.PHONY: docker-build
docker-build: ## Build the image IMG.
	$(CONTAINER_TOOL) build --build-arg VERSION=$(VERSION) -t $(IMG) .

.PHONY: clean
clean: ## Delete bin and dist, which have all builds and downloads.
	if [[ -d bin ]]; then chmod -R u+w bin; fi # setup-envtest keeps its archives read-only
	rm -rf bin dist

# Each tool is built again when hack/tools changes its version.

TOOL_BUILD = go -C $(<D) build -ldflags "-s -w" -o $@

$(CONTROLLER_GEN): hack/tools/go.mod hack/tools/go.sum
	$(TOOL_BUILD) sigs.k8s.io/controller-tools/cmd/controller-gen

$(KUSTOMIZE): hack/tools/go.mod hack/tools/go.sum
	$(TOOL_BUILD) sigs.k8s.io/kustomize/kustomize/v5

$(CRD_REF_DOCS): hack/tools/go.mod hack/tools/go.sum
	$(TOOL_BUILD) github.com/elastic/crd-ref-docs

# Helm has its own module, since its many dependencies would pin those of the other tools.
$(HELM): hack/tools/helm/go.mod hack/tools/helm/go.sum
	$(TOOL_BUILD) helm.sh/helm/v4/cmd/helm

$(GOVULNCHECK): hack/tools/vuln/go.mod hack/tools/vuln/go.sum
	$(TOOL_BUILD) golang.org/x/vuln/cmd/govulncheck

# golangci-lint is built with kube-api-linter in it, as `golangci-lint custom` does.
$(GOLANGCI_LINT): hack/tools/lint/go.mod hack/tools/lint/go.sum
	$(TOOL_BUILD) sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter

$(MISSPELL): hack/tools/lint/go.mod hack/tools/lint/go.sum
	$(TOOL_BUILD) github.com/golangci/misspell/cmd/misspell
