# `make run` starts the assistant with a virtual flat; `make test` runs the whole test suite, and `make test-peers` what
# needs a real Home Assistant.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers

.PHONY: run test test-peers lint setup setup-test clean

run: $(VENV)/.run-ready
	$(BIN)/mycoswarm up --demo-home

# Many tests are whole machines in real time, two at once. What failed beside another is tried once more, alone; what is
# broken fails again. (1: all tests ran, and some failed.)
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile || \
	{ [ $$? -eq 1 ] && echo "Once more, alone, what failed:" && $(BIN)/python -m pytest --last-failed; }

# One file after the other: each starts a Home Assistant of its own.
test-peers: setup-test $(PEERS)/.ready
	MYCOSWARM_HOME_ASSISTANT=$(PEERS) $(BIN)/python -m pytest -n0 tests/peers

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(VENV)/.run-ready

setup-test: $(VENV)/.test-ready
	./tests/install-programs

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[edge,hub]'
	touch $@

$(VENV)/.test-ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[edge,hub,gpu,dev]'
	touch $@ $(VENV)/.run-ready

# Home Assistant 2024.3.3 is the last that runs on Python 3.11; with all its pins, and nothing but them.
$(PEERS)/.ready: tests/peers/requirements-homeassistant.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache
