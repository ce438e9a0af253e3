# Tailrace. `make` alone lists every target.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
VENV = $(shell python3 tools/bootstrap.py)
export PYTHONDONTWRITEBYTECODE ?=

.PHONY: help
help: ## list every target
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

.PHONY: setup
setup: ## make the environment (.venv), or bring it up to date
	@python3 tools/bootstrap.py >/dev/null

.PHONY: demo
demo: setup ## show what the Services of five clusters become
	@$(VENV)/bin/python tools/demo.py

.PHONY: test
test: setup ## run the tests that need no real server; skips are counted and printed by name
	@TAILRACE_RIG=off $(VENV)/bin/python -m pytest -q -n 2

# The official operator wants a port on all addresses, which sandboxes of other tests have on theirs.
ALONE_TESTS = tests/rig/test_adoption.py
.PHONY: test-all
test-all: setup ## run all tests, on real servers where `make rig` built them (TAILRACE_RIG=required: none may lack)
	@failed=0; \
	$(VENV)/bin/python -m pytest -q -n 2 --dist loadfile --durations=15 --ignore $(ALONE_TESTS) || failed=1; \
	$(VENV)/bin/python -m pytest -q -n 0 $(ALONE_TESTS) || failed=1; \
	exit $$failed

.PHONY: test-again
test-again: setup ## run those that failed the last time once more, one after the other
	@$(VENV)/bin/python -m pytest -q -n 0 --last-failed --last-failed-no-failures none

.PHONY: test-main
test-main: setup ## run the main job on a real API server (make rig RIG="etcd kubernetes" is enough)
	@$(VENV)/bin/python -m pytest -q -n 0 tests/rig/test_main_job.py

.PHONY: lint
lint: setup ## style, types, doors between the rooms, generated files
	@set -e; bin=$(VENV)/bin; \
	$$bin/ruff check .; $$bin/ruff format --check .; $$bin/mypy; $$bin/lint-imports --no-cache | tail -n 12; $$bin/python tools/gen.py --check

.PHONY: format
format: setup ## format the code and mend what can be mended
	@$(VENV)/bin/ruff check --fix .; $(VENV)/bin/ruff format .

.PHONY: gen
gen: setup ## generate the reference pages and the chart's values
	@$(VENV)/bin/python tools/gen.py

.PHONY: manifests
manifests: setup ## render the chart into deploy/manifests (needs helm: make rig)
	@$(VENV)/bin/python tools/manifests.py

.PHONY: docs
docs: setup ## build the documentation's site into build/site; a broken link fails
	@$(VENV)/bin/zensical build --clean --strict

# Only a KUBECONFIG that is named on make's command line counts, never the environment's: it is written to.
REAL_SERVER = $(if $(filter command line,$(origin KUBECONFIG)),--kubeconfig "$(KUBECONFIG)")
.PHONY: bench
bench: setup ## measure 500 Services on a sandbox, or SERVICES="50 200", CONTROL_PLANE=headscale-0.29, KUBECONFIG=FILE
	@$(VENV)/bin/python -m bench.services --services $(or $(SERVICES),500) \
	  $(if $(CONTROL_PLANE),--control-plane $(CONTROL_PLANE)) $(REAL_SERVER)

.PHONY: bench-rig
bench-rig: setup rig ## measure beside the official operator on a real API server (minutes; COUNTS="1 50 200 500" ALONE=2000)
	@$(VENV)/bin/python -m bench.rig $(if $(COUNTS),--counts $(COUNTS)) $(if $(SETTLED),--settled $(SETTLED)) \
	  $(if $(ALONE),--alone $(ALONE))

.PHONY: rig
rig: setup ## build the real servers that tests/rig uses (needs Go; minutes at first, then immediate; LIMIT=minutes)
	@$(VENV)/bin/python tools/rig.py $(if $(LIMIT),--limit=$(LIMIT)) $(RIG)

.PHONY: rig-check
rig-check: setup ## list the real servers that are there
	@$(VENV)/bin/python tools/rig.py --check

.PHONY: requirements
requirements: setup ## lock the dependencies anew (requirements/*.txt, hashes only)
	@set -e; bin=$(VENV)/bin; uv=$$(command -v uv || echo $$bin/uv); for set in run dev; do \
	extra=; [ $$set = run ] || extra=requirements/dev.in; \
	$$uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.13 \
	  pyproject.toml $$extra -o requirements/$$set.txt; done

.PHONY: clean
clean: ## remove the environment and everything that was made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
