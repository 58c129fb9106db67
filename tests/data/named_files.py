"""Files by their names."""

from pathlib import Path
from typing import Any

import pytest

from unet_exp.config.schema import DataConfig, SplitConfig
from unet_exp.data.splits import find_splits
from unet_exp.errors import DataError


def touch(root: Path, *names: str) -> Path:
    """Files of these names; pairing looks at names only."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def data(root: Path, split: dict[str, Any] | None = None, **values: Any) -> DataConfig:
    return DataConfig(root=str(root), split=SplitConfig(**(split or {})), **values)


def refusal(root: Path, **values: Any) -> str:
    with pytest.raises(DataError) as caught:
        find_splits(data(root, **values))
    return str(caught.value)
