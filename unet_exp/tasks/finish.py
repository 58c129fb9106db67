"""What a run does when it is trained: pictures, a threshold. Heavy libraries only where asked for."""

from pathlib import Path

from unet_exp import build, runs
from unet_exp.data.label_map import label_map, palette
from unet_exp.schema import Config
from unet_exp.training.loop import Parts


def is_threshold_due(run_dir: Path, config: Config) -> bool:
    """Whether a run is asked for a threshold that it has not chosen."""
    wanted, path = config.trainer.choose_threshold, run_dir / runs.THRESHOLD
    return wanted is not None and (not path.exists() or runs.read_json(path).get("metric") != wanted)


def finish(run_dir: Path, config: Config, parts: Parts, best_epoch: int) -> dict[str, float]:
    """plots/ and threshold.json, as the trainer asks; the scores at the threshold, for status.json."""
    if config.trainer.plots:
        from unet_exp import report  # matplotlib takes a third of a second

        colours = palette(label_map(config.data))
        report.draw_run(run_dir, config, parts, best_epoch, build.denormalization(config), colours)
    if config.trainer.choose_threshold is None:
        return {}
    from unet_exp.tasks.threshold import choose_threshold  # scipy takes a fifth of a second

    return choose_threshold(run_dir, config, parts)
