"""A real Home Assistant 2024.3.3, where `make test-peers` installed one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swarm.bench.home_assistant import why_not

VENV = "MYCOSWARM_HOME_ASSISTANT"
"""Environment variable: the virtual environment in which Home Assistant is installed."""


@pytest.fixture(scope="session")
def home_assistant_venv() -> Path:
    if not os.environ.get(VENV):
        pytest.skip(f"make test-peers installs Home Assistant and runs this; {VENV} names no virtual environment")
    venv = Path(os.environ[VENV]).absolute()
    if reason := why_not(venv):
        pytest.skip(reason)
    return venv
