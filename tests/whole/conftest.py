"""Nodes that the tests of one file share: none of those disturbs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.whole.running_node import RunningNode, running_node


@pytest.fixture(scope="module")
def flat_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node with the virtual flat; what it asks itself at the start is over."""
    with running_node(tmp_path_factory.mktemp("node"), demo_home=True) as node:
        yield node
