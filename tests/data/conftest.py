"""Fixtures of this folder."""

from pathlib import Path

import pytest

from tests.data.named_files import touch


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return touch(tmp_path, "images/00.png", "labels/00.png", "images/Zürich.png")
