# Each target installs its own requirements into $(VENV). The only requirement is python3.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PURE = tests/routing tests/diagnosis

.PHONY: scenarios scenarios-docker test check soak fuzz bench demo fidelity format clean

scenarios: $(VENV)/.installed
	$(BIN)/flysim run scenarios

# The same on containers. Requires a Docker engine.
scenarios-docker: $(VENV)/.installed
	$(BIN)/flysim run --backend docker scenarios

demo: $(VENV)/.installed
	$(BIN)/flysim demo

# First the pure packages, with coverage. Then everything else, on all cores. Then the Docker tests, one process per file,
# because they mostly wait. The Swarm tests run last: an engine that leaves a swarm loses the names of its containers.
# To run a subset: ARGS='tests/proxy -k tls'.
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

# A running flysim under load and faults, whose history must satisfy all rules: tests/soak. The seed decides the plan.
# Options: SECONDS=60 SEED=7 MACHINES=4 RATE=100
soak: $(VENV)/.installed-dev
	$(BIN)/python -m tests.soak $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(MACHINES),--machines $(MACHINES)) $(if $(RATE),--rate $(RATE))

# Mutations of the inputs in tests/fuzz/corpus, for every parser and protocol. Options: SECONDS=60 SEED=7 KIND=http1
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(KIND),--kind $(KIND))

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
	@echo "installing flysim and its dependencies into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the development tools into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
