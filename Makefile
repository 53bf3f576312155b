# Everything a developer runs. `make help` lists it.
PYTHON ?= python3
SHELL := /bin/bash
BIN := .venv/bin

.PHONY: help check lint types layers test build bench clean
help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.venv: setup.cfg
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[dev]'
	@touch .venv

check: lint types layers test ## All of lint, types, layers and test

lint: .venv ## ruff: faults and formatting; hadolint: the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

types: .venv ## mypy, strict
	$(BIN)/mypy

layers: .venv ## Imports point down only
	$(BIN)/lint-imports

test: .venv ## The whole test suite
	$(BIN)/pytest

build: .venv ## Wheel and source distribution, into dist/
	$(BIN)/python -m build

bench: .venv ## All benchmarks, each printing a table of ratios, kept in benchmarks/results/
	set -o pipefail; for file in benchmarks/bench_*.py; do \
		$(BIN)/python $$file | tee benchmarks/results/$$(basename $$file .py).md || exit 1; done

clean: ## Remove what the other targets made
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
