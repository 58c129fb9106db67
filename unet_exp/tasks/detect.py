"""How a set lies on disk, where it is not as the configuration says."""

import shlex
from pathlib import Path

from unet_exp.data.formats import IMAGE_SUFFIXES
from unet_exp.data.items import files_in
from unet_exp.schema import Config

SUFFIXES = ("_mask", "_label", "_labels", "_gt", "_seg", "_segmentation")
LABEL_WORDS = ("label", "mask", "gt", "truth", "seg", "annot")


def layout_hint(config: Config) -> list[str]:
    """Folders below data.root whose files would pair, or files in it that would, if there are such."""
    root = Path(config.data.root or "")
    if not root.is_dir() or config.data.kind != "image_folder":
        return []
    folders = {path: files_in(path, IMAGE_SUFFIXES) for path in sorted(root.glob("*")) if path.is_dir()}
    stems = {path: {file.stem for file in files} for path, files in folders.items() if files}
    for labels, label_stems in stems.items():
        for images, image_stems in stems.items():
            for suffix in ("", *SUFFIXES):
                named = bool(suffix) or any(word in labels.name.lower() for word in LABEL_WORDS)
                if named and images != labels and {stem + suffix for stem in image_stems} == label_stems:
                    return [would_pair(images.name, labels.name, suffix)]
    here = {file.stem for file in files_in(root, IMAGE_SUFFIXES)}
    for suffix in SUFFIXES:
        labelled = {stem for stem in here if stem.endswith(suffix)}
        if labelled and {stem.removesuffix(suffix) for stem in labelled} == here - labelled:
            return [would_pair(".", ".", suffix)]
    below = [path for path in folders if (path / config.data.images).is_dir() or (path / "train").is_dir()]
    return [f"{path} has such folders: data.root={shlex.quote(str(path))}" for path in below[:1]]


def would_pair(images: str, labels: str, suffix: str) -> str:
    words = [f"data.images={images}", f"data.labels={labels}"] + [f"data.label_suffix={suffix}"] * bool(
        suffix
    )
    return "these would pair: " + " ".join(map(shlex.quote, words))
