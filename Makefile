# make run | make test | make lint | make benchmark | make setup | make clean
#
# Each target sets up what it needs in a virtual environment: VENV=FOLDER chooses another, PYTHON=python3.12 another
# Python. Set up once, the environment is left alone until setup.cfg or pyproject.toml change.

PYTHON ?= python3
VENV ?= .venv
PIP_QUIET ?= -qq

# tests start processes of their own: threads that spin while they wait would take the cores from them
export OMP_WAIT_POLICY ?= PASSIVE

BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

.PHONY: setup run test lint benchmark clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

# torchattacks' wheel carries an old copy of the package `robustbench`, and whichever of the two comes last wins:
# so torchattacks goes first. `bench doctor` tells whether that is still so.
$(STAMP): setup.cfg pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install $(PIP_QUIET) --disable-pip-version-check --upgrade pip "setuptools>=70,<81" wheel
	@$(BIN)/python -m pip install $(PIP_QUIET) --disable-pip-version-check "torchattacks>=3.5.1"
	@$(BIN)/python -m pip install $(PIP_QUIET) --disable-pip-version-check -e ".[dev]"
	@touch $@

run: setup
	$(BIN)/bench run --defense agkd_bml --suite whitebox --data digits --board runs/boards

lint: setup
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/pytest -q -m "not gpu" -n auto --dist loadfile

benchmark: setup
	@$(BIN)/python -m benchmarks.run --save benchmarks/records/latest.json $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
