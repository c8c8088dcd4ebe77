SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# What `make serve`, `make test` and others pass on: make serve ARGS='--port 9000'
ARGS ?=
# The folder of the Autobahn testsuite; found by itself where one lies in a folder beside this repository.
AUTOBAHN ?= $(abspath $(firstword $(wildcard ../*/tools/autobahn)))
export AUTOBAHN

PYTEST := .venv/bin/python -m pytest

.PHONY: help setup runtime serve test properties faults check format bench bench-all fuzz conformance spec lock clean

help: ## say what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

setup: ## make .venv with everything for development
	@scripts/environment.sh dev

runtime:
	@scripts/environment.sh runtime

serve: runtime ## start the service on 127.0.0.1:8080 (ARGS='--port 9000 …')
	@exec .venv/bin/signtusk-realtime serve $(ARGS)

test: setup ## run every suite and say what each took (ARGS='tests/unit -k cursor')
	@scripts/chromium.sh
	@scripts/proxies.sh
	@[[ -n "$$AUTOBAHN" ]] || echo 'NOTE: the Autobahn testsuite was not found, its cases are not run; see `make conformance`' >&2
	@$(PYTEST) --numprocesses 2 --dist loadfile --max-worker-restart 0 $(ARGS)

check: setup ## formatting, lint, types and the import law
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@$(PYTEST) -q tests/unit/test_house.py

format: setup ## format the code and mend what the linter can mend
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .

properties: setup ## the properties with fifty times the examples of `make test`; hours (ARGS=tests/property/test_isolation.py: minutes)
	@HYPOTHESIS_PROFILE=long $(PYTEST) -o timeout=0 $(or $(ARGS),tests/property)

faults: setup ## kill and restart real servers for minutes: KILLS=200 RESTARTS=20 LOSSES=10, about half an hour
	@KILLS=$${KILLS:-200} RESTARTS=$${RESTARTS:-20} $(PYTEST) tests/faults/test_kill_server.py tests/faults/test_rolling_restart.py $(ARGS)
	@LOSSES=$${LOSSES:-10} $(PYTEST) tests/faults/test_cluster_losses.py tests/faults/test_cluster_nodes.py -s $(ARGS)

bench: ## measure against peers in the same run (ARGS='--short'); benchmarks/README.md explains
	@scripts/environment.sh bench
	@.venv/bin/python -m benchmarks.run $(ARGS)

bench-all: ## the same beside every peer, installed from PyPI, npm and Debian where missing; hours
	@scripts/environment.sh bench
	@scripts/peers.sh
	@.venv/bin/python -m benchmarks.run --servers all $(ARGS)

fuzz: ## fuzz what comes in from strangers, guided by coverage (ARGS='--seconds 600 frames token')
	@scripts/environment.sh fuzz
	@.venv/bin/python -m tests.fuzz $(ARGS)

conformance: setup ## the framing against all of the Autobahn testsuite (AUTOBAHN=<its folder>; up to an hour) and our own cases
	@if [[ -z "$$AUTOBAHN" ]]; then \
		printf '%s\n' '**************************************************************************' \
			'* AUTOBAHN is not given: the testsuite itself is NOT RUN, only our cases. *' \
			'* make conformance AUTOBAHN=<folder that holds wstest.sh>                 *' \
			'**************************************************************************' >&2; \
	fi
	@AUTOBAHN_LONG=1 $(PYTEST) tests/conformance $(ARGS)

spec: setup ## generate spec/openapi.json, spec/asyncapi.json and the reference pages from the types, the settings and the table of codes
	@.venv/bin/python scripts/spec.py
	@.venv/bin/python scripts/generate_docs.py

lock: setup ## compile the locks anew (ARGS=--upgrade)
	@scripts/lock.sh $(ARGS)

clean: ## remove what tools left behind, but for .venv
	@rm -rf build dist reports .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
