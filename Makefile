# Everything starts here: `make help` lists what there is.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
OUT ?= demo
SIDE_BY_SIDE = --numprocesses 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo test check fix bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.ready ## Make .venv and install maskmix with its tested versions

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "maskmix needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install ## The main job, small: annotate, judge, train, compare, report (under 10 minutes on 2 cores)
	$(BIN)/maskmix demo --out $(OUT)

test: install ## Every test that a CPU can run
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not ray'
	$(BIN)/python -m pytest -m ray

check: install ## Lint, types and fast tests, in under 90 seconds on 2 cores
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	@$(BIN)/pyright & types=$$!; \
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) -m 'not slow and not ray and not gpu and not hub'; tests=$$?; \
	wait $$types && exit $$tests

fix: install ## Format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## Ratios against named peers, each in one run
	$(BIN)/python -m benchmarks

clean: ## Remove .venv and what tests and tools leave behind
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build *.egg-info
