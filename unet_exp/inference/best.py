"""The parts of a run at its end, with the weights of best.pt."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from unet_exp.inference.samples import averaged
from unet_exp.inference.scores import Network
from unet_exp.rundir import layout
from unet_exp.training import checkpoint
from unet_exp.training.parts import Parts


def best_parts(run_dir: Path, parts: Parts) -> tuple[Parts, str] | None:
    """The parts with these weights, and their sha256; None where no validation gave a number."""
    path = run_dir / layout.CHECKPOINTS / checkpoint.BEST
    if not path.exists():
        return None
    contents = checkpoint.load(path)
    checkpoint.load_weights(parts.evaluated, checkpoint.weights_of(contents), path)
    parts.evaluated.eval()
    alone = dataclasses.replace(parts, val=parts.val.alone())  # the other ranks have left
    return alone, checkpoint.weights_sha256(contents)


def networks(parts: Parts) -> Iterator[tuple[str, str, Network]]:
    """Each way to predict, plain and as mean over the symmetries: name, ending of its scores, network."""
    yield "plain", "", parts.evaluated
    yield "tta", "_tta", averaged(parts.evaluated, parts.logits_per_pixel, parts.symmetries)
