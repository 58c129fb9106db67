"""What --help prints: one screen of 24 lines with the commands, below it the groups and the settings."""

import textwrap
from typing import Any

from hydra._internal.hydra import Hydra
from omegaconf import DictConfig, OmegaConf

from unet_exp.cli.command_line import groups
from unet_exp.config.task_schema import TASK_SCHEMAS

COMMANDS = """\
unet_exp trains U-Nets that segment 2-D images: python run.py KEY=VALUE ...

  python run.py                                   train on images that it makes
  python run.py data=image_folder data.root=DIR   on DIR/images and DIR/labels
  python run.py model=unet lr=3e-4 epochs=60      groups and keys are below
  python run.py resume=RUN_DIR epochs=90          continue a run, up to epoch 90
  python run.py from_run=RUN_DIR lr=5e-4          a new run with its settings
  python run.py -m lr=1e-3,1e-4 batch_size=4,8    a sweep: all four combinations
  python run.py sweep=lr_batch                    a sweep of multirun_sweeps/

Tasks, as in python run.py task=autotune:
  task=check_data data.root=DIR                   what is there, what is wrong
  task=autotune                                   what is fastest here
  task=evaluate run=RUN_DIR split=test            scores
  task=predict run=RUN_DIR input=DIR output=OUT   masks of images without labels
  task=export run=RUN_DIR                         the network as ONNX
  task=reproduce run=RUN_DIR                      train again, compare each step
  task=summary sweep_dir=DIR                      the table of a sweep

The last lines of a run name its RUN_DIR. The keys of a task: task=NAME --help
What each key means: docs/configs.md. Hydra's own flags: --hydra-help
"""


def show_help(task: str | None) -> None:
    """Let Hydra's --help print this text. task: whose keys are asked for."""
    hydra_text = Hydra.get_help

    def get_help(self: Hydra, help_cfg: DictConfig, cfg: DictConfig, args_parser: Any, resolve: bool) -> str:
        if "app_name" not in help_cfg:  # --hydra-help
            return hydra_text(self, help_cfg, cfg, args_parser, resolve)
        settings = OmegaConf.to_yaml(
            OmegaConf.create(typed_keys(OmegaConf.to_container(cfg, resolve=resolve)))
        )
        if task in TASK_SCHEMAS:
            return (
                f"python run.py task={task} KEY=VALUE ...   (docs/configs.md; ???: to be given)\n\n{settings}"
            )
        lines = [f"{name}: {', '.join(options)}" for name, options in groups().items()]
        wrapped = [textwrap.fill(line, 80, subsequent_indent="    ") for line in sorted(lines)]
        return "\n".join([COMMANDS, "Groups (group=option):\n", *wrapped, "\nKeys (key=value):\n", settings])

    Hydra.get_help = get_help  # type: ignore[method-assign]


def typed_keys(values: Any) -> Any:
    """Nested mappings without keys such as _target_."""
    if not isinstance(values, dict):
        return values
    return {key: typed_keys(value) for key, value in values.items() if not str(key).startswith("_")}
