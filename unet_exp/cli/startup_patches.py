"""Every change to Hydra, torch, logging and the interpreter that a start makes, and why."""

import errno
import gc
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from unet_exp.cli.composition import Composition
from unet_exp.config import yaml_files


def quiet_threads() -> None:
    """A thread that can't write (TensorBoard's) says nothing itself: its next caller gets the error."""
    usual = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        ours = type(arguments.thread).__module__.startswith("tensorboard.")
        if not (ours and isinstance(arguments.exc_value, OSError)):
            usual(arguments)

    threading.excepthook = hook


def survive_odd_names() -> None:
    """Print what a terminal can't show, such as a name in another encoding, as \\x.. or \\u...."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Output(io.FileIO):
    """stdout or stderr whose reader may go away: a closed pipe, a closed terminal (EIO)."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        return len(content)


def survive_lost_readers() -> None:
    """`python run.py | head` and a closed terminal do not stop a run; run.log still takes every line."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        if not isinstance(getattr(buffer, "raw", buffer), io.FileIO):  # none at all, or a console of Windows
            continue
        stream.flush()
        raw = Output(stream.fileno(), "w", closefd=False)
        wrapped = io.TextIOWrapper(
            raw if stream.write_through else io.BufferedWriter(raw),
            stream.encoding,
            stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, wrapped)


def compose_once() -> None:
    """Hydra composes everything twice, first only to read hydra.mode, which a flag has decided here.

    It saves no time that can be measured. The first composing, as for a sweep, would refuse
    `lr=1,2 model.norm=}` with one of its two problems; this way both are reported.
    """
    asked = Hydra.get_mode

    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        if any(override.lstrip("+").startswith("hydra.mode=") for override in overrides):
            return asked(self, config_name, overrides)
        return RunMode.MULTIRUN if {"-m", "--multirun"} & set(sys.argv) else RunMode.RUN

    Hydra.get_mode = get_mode  # type: ignore[method-assign]


def compose_in_words(looking: bool) -> None:
    """Hydra stops at the first override that it can't take, and advises `+key`, which the check refuses then.

    looking: the config is only shown.
    """
    composition = Composition(
        looking, ConfigLoaderImpl.load_configuration, ConfigLoaderImpl._apply_overrides_to_config
    )

    def load_configuration(self: ConfigLoaderImpl, *args: Any, **options: Any) -> Any:
        return composition.load(self, *args, **options)

    ConfigLoaderImpl.load_configuration = load_configuration  # type: ignore[method-assign]
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(composition.apply)  # type: ignore


def hide_targets_in_help() -> None:
    """Hydra's --help also lists keys such as _target_, which hardly anyone types."""
    asked = Hydra.get_help

    def get_help(self: Hydra, help_cfg: DictConfig, cfg: DictConfig, args_parser: Any, resolve: bool) -> str:
        typed = OmegaConf.create(typed_keys(OmegaConf.to_container(cfg, resolve=resolve)))
        return asked(self, help_cfg, typed, args_parser, resolve)

    def typed_keys(values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: typed_keys(value) for key, value in values.items() if not str(key).startswith("_")}

    Hydra.get_help = get_help  # type: ignore[method-assign]


def read_yaml_in_words() -> None:
    """Hydra reports a config file that can't be read in one line, and keeps names as they are written."""
    Plugins.instance()  # fills the registry
    source = SourcesRegistry.instance().resolve("file")
    read = source.load_config

    def load_config(self: ConfigSource, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        try:
            result = read(self, config_path)
            yaml_files.check_and_name(
                path, cast(DictConfig, result.config), of_data=config_path.startswith("data/")
            )
        except ConfigLoadError:  # of a file that is not there
            raise
        except Exception as error:  # damaged YAML raises many kinds
            sys.exit(f"error: {yaml_files.fault(path, error)}")
        return result

    source.load_config = load_config  # type: ignore[method-assign]


def spare_compiler() -> None:
    """torch.optim imports torch._dynamo (1.1 to 1.5 s) only to tell it what not to compile.

    A tiny run takes 3.3 s of processor time with this and 4.4 s without (median of 5 on a CPU).
    The loop compiles at most the network, never the optimizer, so its functions are called without asking.
    Does nothing before torch is imported, and for a torch that is built otherwise than expected.
    """
    if "torch.optim" not in sys.modules:
        return
    from torch import optim

    for name in ("add_param_group", "state_dict", "load_state_dict", "zero_grad"):
        inner = getattr(getattr(optim.Optimizer, name), "__wrapped__", None)
        if inner is not None and not hasattr(inner, "__dynamo_disable"):
            inner.__dynamo_disable = inner
    for kind in vars(optim).values():
        if isinstance(kind, type) and issubclass(kind, optim.Optimizer):
            kind.step = step_without_compiler(kind) or kind.step  # type: ignore[method-assign]


def step_without_compiler(kind: Any) -> Callable[..., Any] | None:
    """The step of a class of optimizers without marks for the compiler; None where it has none."""
    import torch

    step = kind.step
    while step is not None and "graph_break" not in step.__code__.co_names:
        step = getattr(step, "__wrapped__", None)
    if step is None:
        return None
    inner = step.__wrapped__

    def plain_step(self: Any, closure: Callable[[], float] | None = None) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return inner(self, closure)

    return plain_step


def streams_and_threads() -> None:
    """What has to hold before the first line is printed."""
    quiet_threads()
    survive_odd_names()
    survive_lost_readers()


@contextmanager
def no_garbage() -> Iterator[None]:
    """Inside, many objects are made that stay, so the collector, which looks through all of them, rests.

    With 100,000 images that spares a seventh of the start. Later it leaves them alone, so that it neither
    stops steps nor makes loader processes copy memory that they share.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
    gc.freeze()
