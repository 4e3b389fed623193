# `make run` starts the assistant with a virtual flat; `make test` runs the whole test suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint setup setup-test clean

run: $(VENV)/.run-ready
	$(BIN)/mycoswarm up --demo-home

# Many tests are whole machines in real time, two at once. What failed beside another is tried once more, alone; what is
# broken fails again. (1: all tests ran, and some failed.)
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile || \
	{ [ $$? -eq 1 ] && echo "Once more, alone, what failed:" && $(BIN)/python -m pytest --last-failed; }

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

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
