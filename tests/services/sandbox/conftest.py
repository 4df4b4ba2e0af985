"""The fixture that all tests of bubblewrap share."""

from pathlib import Path

import pytest

from app.services.sandbox.bubblewrap import BubblewrapSandbox
from tests.support.sandboxes import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty workspace, whose parents nobody else may enter."""
    path = tmp_path / "workspace"
    path.mkdir(mode=0o700)
    return Place(BubblewrapSandbox(), path)
