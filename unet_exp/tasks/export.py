"""task=export: a run as an .onnx file and a .json of what it expects."""

import logging

from unet_exp.config.paths import expanded
from unet_exp.config.task_schema import ExportConfig
from unet_exp.inference.export import export_onnx
from unet_exp.inference.load import load_run

log = logging.getLogger("unet_exp")


def export(options: ExportConfig) -> None:
    """Writes RUN_DIR/export/model.onnx and model.json, or output and its .json. Raises UserError."""
    run_dir = expanded(options.run)
    path = expanded(options.output) if options.output else run_dir / "export" / "model.onnx"
    export_onnx(load_run(run_dir, "cpu", options.weights), path)
    log.info("written: %s and %s", path, path.with_suffix(".json").name)
