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

.PHONY: help env test lint format types demo demo-s3 bench bench-lineage bench-manifests bench-pointers bench-transfer soak e2e e2e-airflow e2e-celery celery-servers e2e-prefect compat compat-airflow compat-prefect page-check lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP) ## make .venv from the lock; done again only when the lock or pyproject.toml changes

# PYTHON=... chooses the interpreter; else the first one that is new enough and can make a venv.
define new_venv
	@found=; for python in $${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do \
	    if "$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	        2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "Python 3.11, 3.12 or 3.13 with its venv module is needed, and none was found." \
	        "Install one, or name it: make env PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	echo "Making $(1) with $$("$$found" --version); the first time takes some minutes."; \
	"$$found" -m venv --clear $(1)
endef

$(STAMP): requirements.lock pyproject.toml
	$(call new_venv,$(VENV))
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

e2e: e2e-airflow e2e-prefect ## both, against the real servers of Airflow and Prefect

e2e-airflow: env ## run a real Airflow (api-server, scheduler, dag-processor, triggerer) through what it has to do; ARGS=--pictures=DIR
	@$(PY) -m tests.e2e $(ARGS)

e2e-prefect: env ## a real Prefect server, worker and deployments; a cancelled run, a push from outside, pages in a browser; ARGS=--pictures=DIR
	@$(PY) -m tests.e2e_prefect $(ARGS)

# Environments of their own, from the package index: what the metadata promises, and what the suite's
# own environment can't hold beside Airflow.
compat: compat-airflow compat-prefect ## the suites on the lowest and the newest Airflow and Prefect

# The newest only where the index has a newer one than the lock, on which `make test` runs.
compat-airflow: ## the Airflow tests on the lowest Airflow, and on one that is newer than the lock's
	@lowest=$$(sed -n 's/^airflow = \["apache-airflow>=\([0-9.]*\),.*/\1/p' pyproject.toml); \
	locked=$$(sed -n 's/^apache-airflow==\([0-9.]*\).*/\1/p' requirements.lock); \
	for case in "lowest apache-airflow==$$lowest" "newest apache-airflow>$$locked,<4"; do \
	    set -- $$case; venv=.venv-compat/airflow-$$1; shift; \
	    $${PYTHON:-python3} -m venv --clear $$venv; \
	    pip="$$venv/bin/python -m pip --disable-pip-version-check"; \
	    if ! said=$$($$pip install --dry-run --no-deps "$$@" 2>&1); then \
	        if [ $$venv = .venv-compat/airflow-newest ] && [[ $$said == *"No matching distribution"* ]]; then \
	            echo "== Airflow: none is newer than the lock's $$locked"; break; \
	        fi; \
	        echo "$$said" >&2; exit 1; \
	    fi; \
	    echo "== Airflow, $$venv: $$*"; \
	    $$pip install --quiet --editable '.[airflow,demo]' "$$@" apache-airflow-providers-openlineage \
	        hypothesis jsonschema pytest pytest-mock pytest-timeout; \
	    $$pip check; \
	    $$venv/bin/python -m pytest tests/test_airflow $(ARGS); \
	done

# uv, where it is, or pip picks the newest that fits. What all versions need beside them (FastAPI,
# SQLAlchemy) is bound by the extra; Prefect 3.7.2's server answers 500 with FastAPI 0.150 ("'PrefectRouter' object has no attribute 'routes'"), 3.7.7's not.
PREFECT_lowest := prefect==3.7.2 fastapi<0.137
PREFECT_newest := prefect>=3.8 prefect-aws prefect-dask
PREFECT_ray := prefect==3.7.7 prefect-ray

compat-prefect: compat-prefect-lowest compat-prefect-newest compat-prefect-ray ## the Prefect tests on the lowest and the newest Prefect, with prefect-aws, and on Ray; each by itself: compat-prefect-ray

compat-prefect-%:
	@echo "== Prefect, $*: $(PREFECT_$*)"
	@$${PYTHON:-python3} -m venv --clear .venv-compat/$*
	@python=.venv-compat/$*/bin/python; \
	if command -v uv >/dev/null; then install="uv pip install --quiet --python $$python"; \
	else install="$$python -m pip install --quiet --disable-pip-version-check"; fi; \
	$$install --editable '.[prefect,demo]' $(foreach one,$(PREFECT_$*),'$(one)') \
	    hypothesis jsonschema pytest pytest-mock pytest-timeout
	@.venv-compat/$*/bin/python -m pytest tests/test_prefect $(ARGS)

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

# Workers of Celery need what the suite's environment can't hold: its Prefect wants another Redis
# client. So an environment of its own, with the suite's versions of all that both have.
e2e-celery: celery-servers .venv-celery/.installed ## two Celery workers that share nothing but buckets (needs redis-server and postgresql)
	@.venv-celery/bin/python -m tests.e2e_celery $(ARGS)

celery-servers:
	@$${PYTHON:-python3} -m tests.e2e_celery.servers

.venv-celery/.installed: PIP := .venv-celery/bin/python -m pip --quiet --quiet --no-input --disable-pip-version-check
.venv-celery/.installed: tests/e2e_celery/requirements.lock pyproject.toml
	$(call new_venv,.venv-celery)
	@$(PIP) install --no-deps --require-hashes --only-binary :all: -r tests/e2e_celery/requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

page-check: env ## look at the lineage page in a real browser (needs chromium and chromium-driver)
	@$(PY) -m benchmarks.page_check $(ARGS)

# Keeps the versions it holds where it can; make lock ARGS=--upgrade takes the newest.
lock: ## write requirements.lock from pyproject.toml, and that of make e2e-celery (needs uv)
	@command -v uv >/dev/null || { echo "uv is needed to write the lock: pip install uv" >&2; exit 1; }
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --no-emit-find-links --all-extras --group dev \
	    $(ARGS) pyproject.toml --output-file requirements.lock
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --no-emit-find-links --extra airflow --extra demo \
	    --constraint <(sed -n '/^redis==/d; s/^\([A-Za-z0-9_.-]*==[^\\]*\).*/\1/p' requirements.lock) \
	    $(ARGS) pyproject.toml tests/e2e_celery/requirements.in --output-file tests/e2e_celery/requirements.lock

clean: ## remove .venv and every cache
	@rm -rf $(VENV) .venv-celery .venv-compat build dist .bench .demo .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
