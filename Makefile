# Everything runs in .venv, made from requirements.lock. `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Quiet, and told to ask nobody: no prompts, no look for a newer pip.
PIP := $(PY) -m pip --quiet --quiet --no-input --disable-pip-version-check

.PHONY: help env test lint format types demo demo-s3 bench bench-lineage bench-manifests bench-pointers bench-transfer soak page-check lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP) ## make .venv from the lock; done again only when the lock or pyproject.toml changes

# PYTHON=... chooses the interpreter; else the first one that is new enough and can make a venv.
$(STAMP): requirements.lock pyproject.toml
	@found=; for python in $${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do \
	    if "$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	        2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "Python 3.11, 3.12 or 3.13 with its venv module is needed, and none was found." \
	        "Install one, or name it: make env PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$found" --version); the first time takes some minutes."; \
	"$$found" -m venv --clear $(VENV)
	@$(PIP) install --no-deps --require-hashes --only-binary :all: -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# One process for each core; "worksteal" evens out what takes longest.
test: env ## run the tests; ARGS="-k name -n 0" passes arguments to pytest
	@$(PY) -m pytest --numprocesses auto --dist worksteal $(ARGS)

lint: env ## check style and formatting
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

format: env ## format, and mend what can be mended
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

types: env ## check types
	@$(PY) -m mypy

demo: env ## run the pipeline on Airflow and on Prefect, against one folder registry
	@$(PY) -m demo.run

demo-s3: env ## the same against an S3 server that it starts and stops
	@$(PY) -m demo.run --s3

# ARGS="--parts push install", "--resume", "--quick": see benchmarks/bench.py.
bench: env ## measure everything beside quilt3 and s5cmd, and write benchmarks/RESULTS.md (40 min)
	@$(PY) -m benchmarks.bench $(ARGS)

bench-lineage: env ## time questions about lineage in ledgers of 10, 1,000 and 100,000 runs
	@$(PY) -m benchmarks.lineage $(ARGS)

bench-manifests: env ## time manifests beside quilt3, and browsing at 30 ms a request
	@$(PY) -m benchmarks.manifests $(ARGS)

bench-transfer: env ## time builds, pushes, installs and copies beside quilt3 and s5cmd
	@$(PY) -m benchmarks.transfer $(ARGS)

bench-pointers: env ## let 32 processes move one pointer, and count what is lost
	@$(PY) -m benchmarks.pointers $(ARGS)

soak: env ## kill builds, pushes and installs hundreds of times; ARGS="--seed N" does it again
	@$(PY) -m benchmarks.soak $(ARGS)

page-check: env ## look at the lineage page in a real browser (needs chromium and chromium-driver)
	@$(PY) -m benchmarks.page_check $(ARGS)

# Keeps the versions it holds where it can; make lock ARGS=--upgrade takes the newest.
lock: ## write requirements.lock from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo "uv is needed to write the lock: pip install uv" >&2; exit 1; }
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --no-emit-find-links --all-extras --group dev \
	    $(ARGS) pyproject.toml --output-file requirements.lock

clean: ## remove .venv and every cache
	@rm -rf $(VENV) build dist .bench .demo .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
