PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
# Two processes of one thread each: the tests' tensors are too small to gain from more threads.
PYTEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-long test-all check ui

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/installed  ## make .venv and install the project with its pinned dependencies

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@touch $@

demo: setup  ## train the default model on handwritten digits and evaluate it
	$(BIN)/python run.py

test: setup  ## run the fast tests
	$(PYTEST) -m "not slow and not long"

test-slow: setup  ## run the slow tests
	$(PYTEST) -m "slow and not long"

test-long: setup  ## run whole matrices and long fault runs
	$(PYTEST) -m long

test-all: test test-slow test-long  ## run all tests

check: setup  ## lint, formatting, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

ui: setup  ## show the runs in the browser (PORT=…, MLFLOW_URI=… for another port or store)
	$(BIN)/python run.py task=ui $(if $(PORT),port=$(PORT)) \
	$(if $(MLFLOW_URI),'tracking.uri=$(MLFLOW_URI)')
