"""The samples of a split, and a finished run's parts with them in the place of its validation."""

from pathlib import Path
from typing import Any

from unet_exp.config.label_map import label_map
from unet_exp.config.schema import Config
from unet_exp.data.samples import Samples, load_samples
from unet_exp.inference.load import check_root
from unet_exp.inference.samples import averaged
from unet_exp.inference.scores import Network
from unet_exp.training import build, checkpoint, setup
from unet_exp.training.parts import Parts


def samples_of(config: Config, split: str, whole: bool = False) -> Samples:
    """The samples of a split, read and checked as training does; large images whole, or cut as it does."""
    check_root(config)
    splits = setup.find_items(config)
    items = [item for part in splits.values() for item in part] if split == "all" else splits[split]
    data = config.data
    largest = None if whole else data.window
    cache = (data.cache, data.cache_limit_mb)
    return load_samples(items, split, *cache, label_map(data), largest, data.cache_dir)


def parts_with(
    config: Config, samples: Samples, contents: dict[str, Any], tta: bool
) -> tuple[Parts, Network]:
    """The parts that training had, the samples in the place of its validation, and the network to ask."""
    parts = build.build_parts(config, {"train": samples, "val": samples})
    parts.evaluated.eval()
    checkpoint.load_weights(parts.evaluated, checkpoint.weights_of(contents), Path("the checkpoint"))
    if not tta:
        return parts, parts.evaluated
    return parts, averaged(parts.evaluated, parts.logits_per_pixel, parts.symmetries)
