"""task=export: a run as an .onnx file and a .json of what it expects."""

import logging

from unet_exp.config.paths import expanded
from unet_exp.config.task_schema import ExportConfig
from unet_exp.errors import ConfigError
from unet_exp.inference.export import export_onnx
from unet_exp.inference.load import load_ensemble, run_dirs
from unet_exp.rundir import layout

log = logging.getLogger("unet_exp")


def export(options: ExportConfig) -> None:
    """Writes RUN_DIR/export/model.onnx and model.json, or output and its .json. Raises UserError."""
    run_dir = expanded(options.run)
    if (run_dir / layout.FOLDS).exists():
        raise ConfigError(
            f"{run_dir} is a sweep over folds, and an .onnx file holds one network",
            do=f"python run.py task=export run={run_dirs(options.run)[0]}, the same for each fold; "
            "average their probabilities",
        )
    path = expanded(options.output) if options.output else run_dir / "export" / "model.onnx"
    export_onnx(load_ensemble([run_dir], "cpu", options.weights), path)
    log.info("written: %s and %s", path, path.with_suffix(".json").name)
