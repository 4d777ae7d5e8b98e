# Two commands do everything on a fresh machine:
#   make run    sets up and opens the page
#   make test   sets up, with what the tests need, and runs all that CI checks
# The first of these that starts and is new enough; requirements.txt has no releases for an older one.
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3.10 python3; do \
  $$each -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$each && break; done)
# Another torch, from 2.8 on, beside the usual one: make check TORCH=2.8.0 PYTHON=python3.10 VENV=/tmp/oldest
TORCH ?= 2.13.0
VENV ?= .venv
BIN := $(VENV)/bin
STATIC = instruct_tune/ui/static
# What is never imported is never compiled: a minute less of everybody's first start.
INSTALL = $(BIN)/python -m pip install --quiet --no-compile
# And what is imported is compiled once: where that is forbidden, every start takes five seconds longer.
unexport PYTHONDONTWRITEBYTECODE

# The types need one core and a minute, the browser a network: the tests need not wait for either. Of several goals
# each waits for the one before: make clean check.
ifeq ($(word 2,$(MAKECMDGOALS)),)
MAKEFLAGS += --jobs=2
endif

.PHONY: run test check lint types fast test-nightly fix requirements setup setup-dev chromium firefox bench clean

run: setup
	$(BIN)/python app.py $(ARGS)

PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder --durations 60

test: check chromium
	$(PYTEST) -n 2 -m "slow and not nightly"

# The fast loop: no real model, no browser.
check: lint types fast

fast: lint
	$(PYTEST) -n auto -m "not slow" tests/unit tests/training tests/services tests/browser

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/oxlint --deny-warnings $(STATIC)
	$(BIN)/oxfmt --check $(STATIC)

types: setup-dev
	$(BIN)/mypy

# What a commit hardly ever breaks, and what takes hours to be sure of.
test-nightly: setup-dev chromium firefox
	LAB_MUTATIONS=2000 $(PYTEST) -n 2 tests/nightly tests/services/test_mutated_imports.py
	$(PYTEST) -n 2 -m nightly
	$(PYTEST) -n 2 -m "hypothesis and not nightly" --hypothesis-profile nightly tests/unit tests/training tests/services

fix: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/oxfmt --write $(STATIC)

setup: $(VENV)/installed

$(VENV)/installed: requirements.txt | $(BIN)/python
	sed 's/^torch==.*/torch==$(TORCH)/' requirements.txt | $(INSTALL) -r /dev/stdin
	touch $@

setup-dev: $(VENV)/installed-dev

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[dev]' torch==$(TORCH)
	touch $(VENV)/installed $@

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "make: Python 3.10 or newer is needed, and none is on the PATH:" \
	  "install one, or name it with PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The journeys need a browser: the system's Chromium, else Debian's package, else Playwright's own.
chromium: setup-dev
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  (command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y chromium) || \
	  $(BIN)/playwright install chromium

# A run as one page is opened in Firefox too. Only the system's or Debian's will do; without one these tests are skipped.
firefox: | chromium
	@command -v firefox-esr >/dev/null || command -v firefox >/dev/null || \
	  (command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y firefox-esr) || \
	  echo "make: no Firefox here, so its tests are skipped"

requirements: | $(BIN)/python
	$(BIN)/python -c 'import tomllib; pins = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]; \
	  print("# Generated from pyproject.toml by `make requirements`: Hugging Face Spaces installs just this file.", \
	  "torch==$(TORCH)", *pins[1:], sep="\n")' > requirements.txt

bench: setup-dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis
