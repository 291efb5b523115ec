# `make help` lists the targets. Every target sets up what it needs; a second run is instant.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## set up and watch this machine's telemetry flow through the gateway
	@$(BIN)/linkspan demo $(ARGS)

test: $(VENV)/.dev $(VENV)/.system ## set up and run every test, with coverage
	@$(BIN)/python -m pytest --cov --cov-report=term $(ARGS)

check: $(VENV)/.dev ## lint, format, types, import walls, locks (under a minute)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python .ci/lock.py check

bench: $(VENV)/.dev $(VENV)/.system ## the benchmarks, with the floors that they are compared with
	@$(BIN)/python -m tests.bench $(ARGS)

soak: $(VENV)/.dev $(VENV)/.system ## the tests that run for minutes
	@LINKSPAN_SOAK=1 $(BIN)/python -m pytest -m soak $(ARGS)

lock: $(BIN)/python ## resolve the dependencies again and lock them with hashes
	@$(PIP) 'uv>=0.5,<1'
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-strip-extras \
	  --no-header $(ARGS) pyproject.toml .ci/build.in -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-strip-extras \
	  --no-header $(ARGS) pyproject.toml --group dev .ci/build.in -c requirements.txt -o requirements-dev.txt
	@$(BIN)/python .ci/lock.py write

clean: ## remove everything that was set up or made, data folders excepted
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up -------------------------------------------------------------------------

$(BIN)/python:
	@bash .ci/venv "$(PYTHON)" $(VENV)

$(VENV)/.run: $(BIN)/python requirements.txt pyproject.toml
	@echo "installing Linkspan into $(VENV) (once)"
	@$(PIP) --require-hashes -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(BIN)/python requirements-dev.txt pyproject.toml
	@echo "installing Linkspan and its development tools into $(VENV) (once)"
	@$(PIP) --require-hashes -r requirements-dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.run $@

$(VENV)/.system: .ci/system
	@bash .ci/system
	@touch $@
