"""What a run does when it is trained: pictures, a threshold. Heavy libraries only where asked for."""

import logging
from pathlib import Path

from unet_exp.config.label_map import label_map, palette
from unet_exp.config.schema import Config
from unet_exp.errors import UserError
from unet_exp.rundir import atomic, layout
from unet_exp.training import build
from unet_exp.training.parts import Parts

log = logging.getLogger("unet_exp")


def is_threshold_due(run_dir: Path, config: Config) -> bool:
    """Whether a run is asked for a threshold that it has not chosen."""
    wanted = config.trainer.choose_threshold
    path = run_dir / layout.THRESHOLD
    return wanted is not None and (not path.exists() or atomic.read_json(path).get("metric") != wanted)


def finish(run_dir: Path, config: Config, parts: Parts, best_epoch: int) -> dict[str, float]:
    """threshold.json and plots/, as the trainer asks; the scores at the threshold, for status.json.

    plots/samples.png shows what predict would write, so the threshold comes first.
    """
    scores: dict[str, float] = {}
    if config.trainer.choose_threshold is not None:
        from unet_exp.inference.threshold import choose_threshold

        scores = choose_threshold(run_dir, config, parts)
    if config.trainer.plots:
        from unet_exp.plots import run

        colours = palette(label_map(config.data))
        denorm = build.denormalization(config)
        threshold = scores.get("threshold", 0.5)
        try:
            run.plot_run(run_dir, config, parts, best_epoch, denorm, colours, threshold)
        except UserError:  # a full disk
            raise
        except Exception as error:  # all is saved: a picture is no reason to fail
            log.warning("the pictures could not be drawn: %s: %s", type(error).__name__, error)
    return scores
