# make run | test | quick | lint | docs | torture | fuzz | benchmark | gpu | setup | lock | drift | dist | clean
#
# Each target sets up what it needs in a virtual environment: VENV=FOLDER chooses another, PYTHON=python3.12 another
# Python. Set up once, the environment is left alone until the lock or pyproject.toml change. What is installed is the
# lock, bench/requirements.lock, by version and hash; LOCK=newest resolves everything anew, as `make drift` does.
# EXTRAS=advlib adds adv-lib, which is not in the lock.

PYTHON ?= python3
VENV ?= .venv
LOCK ?= bench/requirements.lock
EXTRAS ?=
PIP_QUIET ?= -q

# tests start processes of their own: threads that spin while they wait would take the cores from them
export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# and where it is set, each of their hundreds of processes would compile two thousand modules anew
export PYTHONDONTWRITEBYTECODE :=

BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up$(if $(filter newest,$(LOCK)),-newest)$(if $(EXTRAS),-$(EXTRAS))
UV := $(shell command -v uv 2>/dev/null)
INSTALL = $(if $(UV),$(UV) pip install $(PIP_QUIET) --python $(BIN)/python,$(BIN)/python -m pip install $(PIP_QUIET))
EXACTLY := --require-hashes --no-deps --only-binary :all:

.PHONY: setup run test quick lint docs torture fuzz benchmark gpu lock drift dist clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

# The wheel of torchattacks carries an old copy of the package `robustbench`, and whichever of the two an installer
# writes last wins: `bench doctor --fix` puts the real one back.
$(STAMP): pyproject.toml bench/requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(if $(filter newest,$(LOCK)),$(MAKE) --no-print-directory lock LOCK=$(VENV)/newest.lock HELD=)
	@echo "installing $(LOCK) into $(VENV): about 6 GB on Linux, a few minutes"
	@$(INSTALL) $(EXACTLY) -r $(if $(filter newest,$(LOCK)),$(VENV)/newest.lock,$(LOCK))
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@$(if $(EXTRAS),echo 'setuptools<81' > $(VENV)/build-constraints.txt)
	@$(if $(EXTRAS),$(INSTALL) --build-constraint $(VENV)/build-constraints.txt -e ".[$(EXTRAS)]")
	@$(BIN)/bench doctor --fix
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

# lint of what changed since the last commit, and the tests that take a moment
quick: setup
	@changed="$$(git diff --name-only --diff-filter=d HEAD -- '*.py'; git ls-files -o --exclude-standard -- '*.py')"; \
	test -z "$$changed" || { $(BIN)/ruff check $$changed && $(BIN)/ruff format --check $$changed; }
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not gpu and not slow" -n auto $(QUICK)

QUICK := $(addprefix tests/unit/,core data records report nn test_api.py) tests/golden/test_golden.py tests/cli/test_studies.py

# kills, power cuts, full disks and errors at every file operation; races; damage: hours, and what was done is kept.
# ARGS="--each 8 --rounds 5" takes some of each
torture: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.torture --report .torture.jsonl $(ARGS)

benchmark: setup
	@$(BIN)/python -m benchmarks.run --save benchmarks/records/latest.json $(ARGS)

# what minutes with a card are for, most worth first; without one it runs in small on a pretend device and measures
# nothing: make gpu ARGS="--minutes 30 --pictures folder:DATA/cifar10-jpeg"
gpu: setup
	@$(BIN)/python -m benchmarks.gpu --out runs/gpu $(ARGS)

# damaged files and odd words for every reader and command: make fuzz ARGS="--inputs 500000 --seed 7"
fuzz: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(ARGS)

# one release behind the newest, which fewer machines have yet
HELD := torch<2.15 torchvision<0.29.2
RESOLVED := --extra all --extra backends --extra browser --extra dev --universal --python-version 3.11

# Resolves for Python 3.11 and newer on every system, by uv: a copy in a temporary folder where none is installed.
lock:
	@set -e; folder="$$(mktemp -d)"; trap 'rm -rf "$$folder"' EXIT; uv="$(UV)"; \
	test -n "$$uv" || { $(PYTHON) -m venv "$$folder/uv"; "$$folder/uv/bin/pip" install -q uv; uv="$$folder/uv/bin/uv"; }; \
	for held in $(foreach pin,$(HELD),'$(pin)'); do echo "$$held"; done > "$$folder/held.txt"; \
	UV_CUSTOM_COMPILE_COMMAND="make lock" "$$uv" pip compile -q pyproject.toml $(RESOLVED) --upgrade \
	    --generate-hashes --only-binary :all: --no-emit-index-url --no-annotate \
	    --constraint "$$folder/held.txt" -o $(LOCK)

# the newest of everything, in an environment that is thrown away: what users of tomorrow will meet
drift:
	@set -e; folder="$$(mktemp -d)"; trap 'rm -rf "$$folder"' EXIT; \
	$(MAKE) --no-print-directory setup VENV="$$folder/venv" LOCK=newest; \
	diff bench/requirements.lock "$$folder/venv/newest.lock" | grep '^[<>] [a-z].*==' | tr -d '\\' || true; \
	cd "$$folder" && venv/bin/bench run --defense pgd_at --suite smoke --set recipe.epochs=2; cd - > /dev/null; \
	OMP_NUM_THREADS=1 "$$folder/venv/bin/pytest" -q -m "not gpu and not slow" -n auto $(QUICK) tests/reference

# sdist and wheel, as an index would take them
dist: setup
	@rm -rf dist build
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# the documentation as a site, build/docs-site/index.html: from docs/, the README and the code; read from disk
docs: setup
	@$(INSTALL) -e ".[docs]"
	$(BIN)/python -m bench.cli.documentation build/docs
	$(BIN)/python -m mkdocs build --quiet --strict

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
