# Each target sets up what it needs in $(VENV) by itself, with a plain python3.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PURE = tests/routing tests/diagnosis

.PHONY: scenarios scenarios-docker test check bench demo fidelity format clean

scenarios: $(VENV)/.installed
	$(BIN)/flysim run scenarios

# The same on containers: wants a Docker engine.
scenarios-docker: $(VENV)/.installed
	$(BIN)/flysim run --backend docker scenarios

demo: $(VENV)/.installed
	$(BIN)/flysim demo

# The pure packages first, with their coverage; then everything else on all cores; then what wants an engine, a file at
# a time: it mostly waits; a swarm last, for an engine that leaves one forgets the names of containers.
# ARGS='tests/proxy -k tls': a part.
test: $(VENV)/.installed-dev
ifdef ARGS
	$(BIN)/pytest $(ARGS)
else
	$(BIN)/coverage run -m pytest $(PURE)
	$(BIN)/coverage report
	$(BIN)/pytest $(PURE:%=--ignore=%) --ignore=tests/docker -n auto --dist worksteal
	$(BIN)/pytest tests/docker --ignore=tests/docker/test_swarm.py -n 4 --dist loadfile
	$(BIN)/pytest tests/docker/test_swarm.py
endif

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	$(BIN)/python -m tests.bench

fidelity: $(VENV)/.installed-dev
	$(BIN)/python -m tests.fidelity

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) dist build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	@test -x $(BIN)/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "flysim needs Python 3.11 or later: make PYTHON=python3.13 …")'
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@echo "installing flysim and what it needs into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the development tools into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
