# Navarch: one door for a person. `make` lists the targets.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DONE := .venv/.complete
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps

.DEFAULT_GOAL := help
.PHONY: help venv prepare test-packages up down status check format lint types unit sizes test real soak hostile bench bench-scheduler lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(DONE) ## build the environment in .venv, every package pinned by hash

$(DONE): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (Debian package: python3.11)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh .ci/venv-package $(PYTHON)
	@echo "Building the environment in .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) --require-hashes --requirement requirements.lock 2>.venv/pip.log || { cat .venv/pip.log; exit 1; }
	@$(PIP) --no-build-isolation --editable . 2>.venv/pip.log || { cat .venv/pip.log; exit 1; }
	@touch $@

prepare: $(DONE) ## install what this machine lacks to run containers (needs root)
	@$(BIN)/navarch prepare

up: $(DONE) ## start a cluster on this machine, with a sample app (needs root)
	@$(BIN)/navarch up

down: $(DONE) ## stop it and leave nothing behind but its data
	@$(BIN)/navarch down

status: $(DONE) ## what runs
	@$(BIN)/navarch status || true

check: format lint types unit sizes ## format, lint, types, architecture and unit tests

format: $(DONE)
	@$(BIN)/ruff format --check --quiet src tests bench || { echo "run: $(BIN)/ruff format src tests bench"; exit 1; }

lint: $(DONE) ## ruff
	@$(BIN)/ruff check --quiet src tests bench && echo "lint: clean"

types: $(DONE) ## mypy --strict
	@$(BIN)/mypy --no-error-summary && echo "types: clean"

unit: $(DONE)
	@$(BIN)/python -m pytest tests/unit $(wildcard tests/architecture)

sizes: $(DONE)
	@$(BIN)/python tests/sizes.py src/navarch

test-packages:
	@{ command -v dig && command -v faketime; } >/dev/null || sh .ci/test-packages bind9-dnsutils faketime || true

test: prepare test-packages format lint types ## everything: format, lint, types and every test, real containers included
	@$(BIN)/python -m pytest -rs tests/architecture tests/unit tests/contract tests/component tests/real

real: prepare ## tests with root, containers and network namespaces only
	@$(BIN)/python -m pytest tests/real

soak: $(DONE) ## long forms: 200 kills of server and node, 2,500 power losses, the scheduler against its slow reference (half an hour)
	@NAVARCH_SOAK=20 $(BIN)/python -m pytest -s tests/unit/scheduler/test_scheduler_differential.py tests/component/store/test_power_loss.py \
		tests/component/apiserver/test_killed.py tests/real/kubelet/test_killing_the_node.py

hostile: $(DONE) ## memory and p99 of a well-behaved client while hostile ones attack an API server (some minutes)
	@$(BIN)/python -m bench.hostile

bench: $(DONE) ## the figures of the API, beside upstream's
	@$(BIN)/python -m bench

bench-scheduler: $(DONE) ## the figures of the scheduler: its core alone, and end to end
	@$(BIN)/python -m bench.scheduler_core
	@$(BIN)/python -m bench.scheduler_e2e

lock: ## make requirements.lock anew from pyproject.toml
	@$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet pip-tools
	@.venv-lock/bin/pip-compile --quiet --generate-hashes --extra testing --extra dev --allow-unsafe --build-deps-for=editable --strip-extras \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --output-file requirements.lock pyproject.toml
	@rm -rf .venv-lock

clean: ## remove what was built
	rm -rf .venv .venv-lock build .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
