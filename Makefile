PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
# One thread a process: the tests' tensors are too small to gain from more.
PYTEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-all check ui

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
	$(PYTEST) -m "not slow"

test-slow: setup  ## run the slow tests
	$(PYTEST) -m slow

test-all: test test-slow  ## run all tests

check: setup  ## lint, formatting, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

ui: setup  ## show the runs in the browser (PORT=…, MLFLOW_URI=… for another port or store)
	$(BIN)/python run.py task=ui $(if $(PORT),port=$(PORT)) \
	$(if $(MLFLOW_URI),'tracking.uri=$(MLFLOW_URI)')
