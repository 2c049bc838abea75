# Everything starts here: `make` lists what there is. Needs Python >= 3.11 and a package index, nothing else.

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -gt 4 ] && n=4; echo $$n)
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTEST := $(BIN)/python -m pytest
POSTGRES15 := /usr/lib/postgresql/15/bin
CODE := src tests bench scripts demo tools

.DEFAULT_GOAL := help
.PHONY: help setup demo run test check lint torture bench lock format

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the environment in .venv, exactly as locked

$(READY): requirements.lock scripts/environment.py
	@if [ -z "$(PYTHON)" ]; then \
		echo "Redrive needs Python 3.11 or newer: found none (name one with make PYTHON=...)" >&2; exit 1; fi
	@echo "setting up $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) scripts/environment.py $(VENV) requirements.lock
	@touch $@

demo: $(READY) ## watch a deletion fail, be resubmitted and finish, on real data (KEEP=1 leaves the server up)
	@$(BIN)/python -m demo.demo $(if $(KEEP),--keep)

run: $(READY) ## start a server on ./redrive-data
	@$(BIN)/redrive up

test: $(READY) lint ## everything but the long runs; as root also what needs Debian packages
	@scripts/debian_packages.sh /usr/sbin/slapd slapd ldap-utils
	$(PYTEST) -n $(JOBS) -m "not torture"
	@scripts/debian_packages.sh $(POSTGRES15)/postgres postgresql-15
	@if [ -x $(POSTGRES15)/postgres ]; then \
		echo "== engine and database on Debian's PostgreSQL 15 =="; \
		REDRIVE_TEST_POSTGRES_BIN=$(POSTGRES15) $(PYTEST) -n $(JOBS) -m "not torture" tests/engine \
			tests/database --deselect tests/database/test_embedded.py; \
	else \
		echo "!!! DID NOT RUN: engine on Debian's PostgreSQL 15 (not in $(POSTGRES15)) !!!"; \
	fi

check: $(READY) lint ## the quick form before a commit: style, types, tests that kill nothing
	$(PYTEST) -n $(JOBS) -m "not torture and not root and not slow"

lint: $(READY)
	$(BIN)/ruff format --check $(wildcard $(CODE))
	$(BIN)/ruff check $(wildcard $(CODE))
	$(BIN)/mypy

torture: $(READY) ## the full crash matrix and the long runs
	$(PYTEST) -m torture --timeout 3600

bench: $(READY) ## measure, beside other engines and bare tools (ONLY=engine_start; QUICK=1 small)
	@$(BIN)/python -m bench.run $(ONLY) $(if $(QUICK),--quick)

format: $(READY) ## lay out the code, repair what ruff can
	$(BIN)/ruff format $(wildcard $(CODE))
	$(BIN)/ruff check --fix $(wildcard $(CODE))

lock: $(READY) ## write requirements.lock anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --upgrade --python-version 3.11 \
		--no-header --no-annotate --no-emit-index-url --group dev pyproject.toml -o requirements.lock
