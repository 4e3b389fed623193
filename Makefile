# `make run` starts the assistant with a virtual flat; `make test` runs the whole test suite but for what needs a real Home
# Assistant (`make test-peers`) and what builds images and boots them (`make test-images`).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
IMAGE_TESTS := tests/images

.PHONY: run test test-peers test-images test-images-nightly bench-images lint setup setup-test clean

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

# Builds images and packages, installs and boots them in QEMU: needs root on Debian 12 or later, and 8 GB. The images are
# kept in ~/.cache/mycoswarm and built again when their sources change. The nightly run also builds for arm64, which takes
# 20 minutes the first time, and cuts the power ten times.
test-images: setup-test
	./tests/images/install-programs
	MYCOSWARM_TEST_IMAGES=1 $(BIN)/python -m pytest -n0 $(IMAGE_TESTS)

test-images-nightly: setup-test
	./tests/images/install-programs --arm64
	MYCOSWARM_TEST_IMAGES=nightly $(BIN)/python -m pytest -n0 tests/images

bench-images: setup-test
	./tests/images/install-programs --arm64
	$(BIN)/python -m tests.images.bench --cold --write BENCHMARKS.md

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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[edge,hub,gpu,build,dev]'
	touch $@ $(VENV)/.run-ready

# Home Assistant 2024.3.3 is the last that runs on Python 3.11; with all its pins, and nothing but them.
$(PEERS)/.ready: tests/peers/requirements-homeassistant.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache
