# Everything a contributor runs. `make` alone lists the targets.
# A fresh clone needs: Python >= 3.11 with venv, node >= 20.19 (not for `make demo`), make. The rest is installed into .venv and
# labui/node_modules, from whatever registries pip and npm are set up for on this machine: no address is written here.

PYTHON ?= python3
WORKERS ?= 2
CHROMIUM ?= /usr/bin/chromium

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Not `npm --prefix labui`: with a prefix npm looks for the machine's own npmrc (registry, certificates) in the wrong place.
NPM := cd labui && npm
export PATH := $(CURDIR)/$(BIN):$(PATH)
BUNDLE := extension/cellway/labextension
LABUI_SOURCES := $(wildcard labui/src/*.ts labui/src/*.tsx labui/src/*/*.ts labui/src/*/*.tsx labui/style/* labui/schema/*)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

# --- environments ------------------------------------------------------------------------------------------------------

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cellway needs Python >= 3.11: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# Everything, editable, with the front end. Made anew when a dependency, an entry point or the version changes.
$(VENV)/.installed: pyproject.toml labui/package.json labui/node_modules/.installed | $(BIN)/python
	$(PIP) install --quiet -e '.[lab,demo,test,dev]'
	@touch $@

# The demonstration alone: no JupyterLab, no node. Where everything is installed already, there is nothing to do.
$(VENV)/.installed-demo: pyproject.toml labui/package.json | $(BIN)/python
	if [ $(VENV)/.installed -nt pyproject.toml ] && [ $(VENV)/.installed -nt labui/package.json ]; then :; \
	else SKIP_JUPYTER_BUILDER=1 $(PIP) install --quiet -e '.[demo]'; fi
	@touch $@

labui/node_modules/.installed: labui/package.json labui/package-lock.json
	@command -v npm >/dev/null || { echo "make: node and npm are needed (node >= 20.19)" >&2; exit 1; }
	$(NPM) ci --no-progress
	@touch $@

$(BUNDLE)/install.json: $(VENV)/.installed labui/package.json labui/tsconfig.json labui/install.json $(LABUI_SOURCES)
	$(NPM) run --silent build
	@touch $@

.PHONY: install build browser
install: $(VENV)/.installed ## .venv with everything, editable

build: $(BUNDLE)/install.json ## the front end, into extension/cellway/labextension

browser:
	@if [ -x "$(CHROMIUM)" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core; \
	else \
	  echo "make: the browser tests need Chromium, and there is none at $(CHROMIUM)." >&2; \
	  echo "      apt-get install chromium, or say where it is: make test CHROMIUM=/path/to/chromium" >&2; exit 1; \
	fi

# --- what a contributor runs -------------------------------------------------------------------------------------------

.PHONY: demo test test-python test-labui test-browser lint format bench clean distclean
demo: $(VENV)/.installed-demo ## the demonstration, in the terminal
	$(BIN)/python binder/demo.py

test: test-python test-labui test-browser ## every test

# Browser tests run in a process of their own: playwright keeps an event loop running that other fixtures stumble over.
test-python: $(VENV)/.installed ## Python tests; one file: .venv/bin/pytest tests/test_x.py
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not browser'

test-labui: labui/node_modules/.installed ## front-end unit tests
	$(NPM) run --silent test

test-browser: $(BUNDLE)/install.json browser ## JupyterLab in Chromium; screenshots in tests/ui/screenshots
	CHROMIUM="$(CHROMIUM)" $(BIN)/python -m pytest -m browser tests/ui

lint: $(VENV)/.installed ## ruff, mypy, the import contract, eslint, tsc
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(NPM) run --silent lint

format: $(VENV)/.installed ## put every Python file into the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed ## benchmarks
	$(BIN)/python tests/benchmarks/run.py

clean: ## what was built and cached; environments stay
	rm -rf build dist $(BUNDLE) labui/lib tests/ui/screenshots
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find extension kernel_magics tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## environments too
	rm -rf $(VENV) labui/node_modules extension/cellway/_version.py
