"""What a run does when it is trained: pictures, a threshold. Heavy libraries only where asked for."""

import logging
from pathlib import Path

from unet_exp import build, runs
from unet_exp.data.label_map import label_map, palette
from unet_exp.errors import UserError
from unet_exp.schema import Config
from unet_exp.training.loop import Parts

log = logging.getLogger("unet_exp")


def is_threshold_due(run_dir: Path, config: Config) -> bool:
    """Whether a run is asked for a threshold that it has not chosen."""
    wanted, path = config.trainer.choose_threshold, run_dir / runs.THRESHOLD
    return wanted is not None and (not path.exists() or runs.read_json(path).get("metric") != wanted)


def finish(run_dir: Path, config: Config, parts: Parts, best_epoch: int) -> dict[str, float]:
    """threshold.json and plots/, as the trainer asks; the scores at the threshold, for status.json.

    plots/samples.png shows what predict would write, so the threshold comes first.
    """
    scores: dict[str, float] = {}
    if config.trainer.choose_threshold is not None:
        from unet_exp.tasks.threshold import choose_threshold  # scipy takes a fifth of a second

        scores = choose_threshold(run_dir, config, parts)
    if config.trainer.plots:
        from unet_exp import report  # matplotlib takes a third of a second

        colours, denorm = palette(label_map(config.data)), build.denormalization(config)
        threshold = scores.get("threshold", 0.5)
        try:
            report.draw_run(run_dir, config, parts, best_epoch, denorm, colours, threshold)
        except UserError:  # a full disk
            raise
        except Exception as error:  # all is saved: a picture is no reason to fail
            log.warning("the pictures could not be drawn: %s: %s", type(error).__name__, error)
    return scores
