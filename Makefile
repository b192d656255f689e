# Two commands are enough on a machine with Python 3.11 to 3.13 and make: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
# Tests start hundreds of processes, each of which would compile the package again.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help run image image-tree test unit test-soak lint types drift format lock protos test-matrix bench bench-cluster soak hostile hostile-random demo fuzz dashboard h2spec test-cluster test-dapr docs docs-links picture clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Install, then start the certificate authority on loopback; the trust bundle is kept in .sentry/
	@mkdir -p -m 700 .sentry
	@exec $(BIN)/sentry-trio --mode standalone --issuer-credentials .sentry \
	  --listen-address 127.0.0.1 --healthz-listen-address 127.0.0.1 --metrics-listen-address 127.0.0.1 $(ARGS)

IMAGE ?= sentry-trio:$(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' sentry_trio/__init__.py)
# The time of all files in it: that of the commit, or 0 without git.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

image: ## Build the container image with docker or podman; IMAGE=registry/name:tag names it
	@for engine in docker podman; do \
	  $$engine info >/dev/null 2>&1 && exec $$engine build --build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) --tag $(IMAGE) .; \
	done; echo "neither docker nor podman answers here: start one of them, or make the image's files alone by 'make image-tree'" >&2; exit 1

image-tree: $(VENV)/.run ## Make the container image's files in build/image, without a container engine
	@rm -rf build/image build/packages
	$(BIN)/python -m image packages build/packages
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(BIN)/python -m image tree build/packages build/image

test: $(VENV)/.dev ## Install, then check style, types and generated files, and run the tests; CI also runs test-soak, test-cluster, test-dapr and docs
	@$(MAKE) --no-print-directory --jobs=2 lint types drift unit # checking types leaves a processor idle

# A worker more than processors; each takes a group of tests at a time, as tests/conftest.py makes them.
PARALLEL := -n auto --dist loadscope --no-loadscope-reorder

unit: $(VENV)/.dev ## Run the tests with branch coverage, in parallel; then those that measure the machine, alone
	@rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest $(PARALLEL) --ignore=tests/alone $(ARGS)
	$(BIN)/python -m coverage run -m pytest tests/alone
	@$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

test-soak: $(VENV)/.dev ## Repeat what `make test` shows a few times: swaps, floods, cancellation at every step, mutants
	$(BIN)/python -m pytest $(PARALLEL) -m soak $(ARGS)

lint: $(VENV)/.dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## Check types of package and tests
	$(BIN)/mypy

drift: $(VENV)/.dev ## Check that generated code and generated pages are up to date
	$(BIN)/python protos/generate.py --check
	$(BIN)/python docs/generate_pages.py --check

format: $(VENV)/.dev ## Format the code and sort the imports
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

protos: $(VENV)/.dev ## Generate sentry_trio/proto from protos/
	$(BIN)/python protos/generate.py

lock: $(VENV)/.lock ## Pin the dependencies again, with hashes, for every supported Python
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --no-emit-index-url pyproject.toml --group build -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --no-emit-index-url -c requirements.txt pyproject.toml --group dev -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --no-emit-index-url -c requirements.txt -c requirements-dev.txt --group docs -o requirements-docs.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --no-emit-index-url --group fuzz -o requirements-fuzz.txt

test-matrix: ## Run `make test` on every Python from 3.11 to 3.13 that is installed
	@ran=; for version in 3.11 3.12 3.13; do \
	  python=$$(sh .ci/find-python $$version) || { echo "== Python $$version is not installed: skipped"; continue; }; \
	  echo "== Python $$version"; ran="$$ran $$version"; \
	  $(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv-$$version || exit 1; \
	done; echo "== passed on:$$ran"

bench: $(VENV)/.dev ## Measure CPU per call beside Dapr Sentry and other servers, in alternation (about 9 minutes; needs Go); ARGS="--only ours,sentry --profile"
	@$(BIN)/python -m benchmarks.bench $(ARGS)
	@$(BIN)/python -m benchmarks.cluster --rounds 0

bench-cluster: $(VENV)/.dev ## Start a mesh of 500 pods at once on a real kube-apiserver (about 5 minutes; needs Go); ARGS="--pods 100 --sizes" for less
	@$(BIN)/python -m benchmarks.cluster $(ARGS)

soak: $(VENV)/.run ## Restart a process 1,000 times under load (about 15 minutes; needs Go); ARGS="--restarts 100" for fewer
	@$(BIN)/python -m benchmarks.soak $(ARGS)

hostile: $(VENV)/.run ## Attack a process with a thousand hostile connections of each kind (about 20 minutes; needs Go); ARGS="--kinds idle" for one
	@$(BIN)/python -m benchmarks.hostile $(ARGS)

MINUTES ?= 60

hostile-random: $(VENV)/.dev ## Attack a process with random attackers for MINUTES=60 (needs Go); ARGS="--seed 7 --only 12" for one composition again
	@$(BIN)/python -m benchmarks.hostile_random --minutes $(MINUTES) $(ARGS)

demo: $(VENV)/.run ## Edit, replace, break and renew a CA while callers request certificates, live on the screen (a minute and a half)
	@$(BIN)/python -m benchmarks.demo $(ARGS)

fuzz: $(VENV)/.fuzz ## Fuzz every parser of untrusted bytes for a minute each; ARGS="--seconds 600 --only certificate"
	@$(BIN)/python -m tests.fuzz $(ARGS)

dashboard: $(VENV)/.dev ## Draw the chart's dashboard from a real run of three minutes, into docs/images/ (needs Go); ARGS="--seconds 60" for less
	@$(BIN)/python -m benchmarks.dashboard $(ARGS)

h2spec: $(VENV)/.dev ## Run h2spec, HTTP/2's conformance tests, against the gRPC server (needs Go)
	@$(BIN)/python -m tests.h2spec

test-cluster: $(VENV)/.dev ## Run the tests against a real kube-apiserver and etcd; the first run builds them, which takes minutes (needs Go)
	$(BIN)/python -m pytest tests/cluster -m "" $(ARGS)

test-dapr: $(VENV)/.dev ## Compare with Dapr's own programs; the first run builds them, which takes minutes (needs Go)
	$(BIN)/python -m pytest tests/dapr $(ARGS)

docs: $(VENV)/.docs ## Generate pages from the code and build docs/ as a site in build/docs/; warnings are errors
	$(BIN)/python docs/generate_pages.py
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html -d build/doctrees docs build/docs

picture: $(VENV)/.dev ## Draw the terminals in docs/images/, by running the commands that they show (2 minutes); ARGS="status" for one
	$(BIN)/python docs/draw_terminal.py $(ARGS)

docs-links: $(VENV)/.docs ## Check the external links of docs/ (needs the network)
	$(BIN)/python -m sphinx -W --keep-going --quiet -b linkcheck -d build/doctrees docs build/links

clean: ## Remove environments, caches and coverage data; .sentry/ stays, it holds a CA
	rm -rf .venv .venv-* .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "sentry-trio needs Python 3.11 to 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1): name another with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python requirements.txt pyproject.toml
	$(PIP) install --require-hashes -r requirements.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev requirements-fuzz.txt
	$(PIP) install --require-hashes -r requirements-fuzz.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.run requirements-docs.txt
	$(PIP) install --require-hashes -r requirements-docs.txt
	@touch $@

$(VENV)/.lock: $(BIN)/python
	$(PIP) install uv
	@touch $@
