# Everything a newcomer needs: `make demo` shows what traceprop does, `make test` runs the suite.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# What an installed environment depends on: a change in any of them installs (and compiles) again.
GROUND := pyproject.toml setup.py constraints.txt $(wildcard passes/kernels/*.pyx)

.DEFAULT_GOAL := help
.PHONY: help demo test check bench readme clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(VENV)/.demo  ## from two CSV files to an explained prediction, a corrected model and a report
	@echo "==> traceprop demo $(ARGS)"
	@$(BIN)/traceprop demo $(ARGS)

test: $(VENV)/.dev  ## the whole suite
	@echo "==> pytest $(ARGS)"
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev  ## lint, format, types, layers
	@echo "==> ruff check"
	@$(BIN)/ruff check .
	@echo "==> ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "==> mypy --strict on ir and passes"
	@$(BIN)/mypy
	@echo "==> import layers"
	@$(BIN)/lint-imports

bench: $(VENV)/.dev  ## the figures of the README, measured again
	@echo "==> benchmarks: all of them (hours)"
	@$(BIN)/python -m benchmarks $(ARGS)

readme: $(VENV)/.dev  ## the README's tables, from benchmarks/results
	@$(BIN)/python -m benchmarks.readme

clean:  ## removes the environment and everything built
	@echo "==> removing $(VENV), build, dist, compiled kernels and caches"
	@rm -rf $(VENV) build dist *.egg-info passes/kernels/*.so passes/kernels/*.c
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov traceprop-demo

$(BIN)/python:
	@echo "==> creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "traceprop needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "could not create $(VENV); on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.demo: $(GROUND) | $(BIN)/python
	@echo "==> installing traceprop with what the demo needs, and compiling its kernels (about a minute)"
	@$(PIP) -e ".[demo]"
	@touch $@

$(VENV)/.dev: $(GROUND) | $(BIN)/python
	@echo "==> installing traceprop with what its tests and checks need, and compiling its kernels (some minutes)"
	@$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.demo
