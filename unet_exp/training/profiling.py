"""trainer=profile: where the time of an epoch goes, as a table and as a trace for Chrome or Perfetto."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from unet_exp.config.schema import Config
from unet_exp.messages import counted
from unet_exp.rundir.signals import Stop
from unet_exp.training.checkpoint import Checkpoints
from unet_exp.training.loop import fit
from unet_exp.training.parts import Parts
from unet_exp.training.state import State
from unet_exp.training.tracker import Tracker

log = logging.getLogger("unet_exp")
TRACE = "trace.json"
STAGES = ("data wait", "forward", "backward", "optimizer", "bookkeeping", "validation", "checkpoint")
LOADER = "enumerate(DataLoader)#"


def fit_profiled(
    parts: Parts, config: Config, state: State, tracker: Tracker, checkpoints: Checkpoints, stop: Stop
) -> None:
    """As fit, with the second epoch of this start profiled (of a single epoch, that one).

    Writes trace.json beside the checkpoints' folder and logs the table.
    """
    arguments = (parts, config, state, tracker, checkpoints, stop)
    last = stop.after_epoch
    for profiled in (False, True) if config.epochs - state.epoch > 1 else (True,):
        stop.after_epoch = state.epoch + 1
        if stop.agreed:  # and saved
            return
        if profiled:
            profile_epoch(lambda: fit(*arguments), state, checkpoints.folder.parent / TRACE)
        else:
            fit(*arguments)
    stop.after_epoch = last
    if not stop.agreed:
        fit(*arguments)


def profile_epoch(run: Callable[[], None], state: State, trace: Path) -> None:
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    with profile(activities=activities, acc_events=True) as profiler:
        started = time.perf_counter()
        before = state.step
        run()
        seconds = time.perf_counter() - started
    profiler.export_chrome_trace(str(trace))
    on_gpu = ProfilerActivity.CUDA in activities
    for line in table(list(profiler.events() or []), seconds, state.step - before, on_gpu):
        log.info("%s", line)


def table(events: list[FunctionEvent], seconds: float, steps: int, on_gpu: bool) -> list[str]:
    """Lines: for each stage its calls, seconds, milliseconds a step and share of the epoch."""
    calls: dict[str, int] = defaultdict(int)
    spent: dict[str, float] = defaultdict(float)
    device: dict[str, float] = defaultdict(float)
    for event in events:
        stage = "data wait" if event.name.startswith(LOADER) else event.name
        if stage not in STAGES or event.is_async or is_inside(event, "validation"):
            continue
        calls[stage] += 1
        spent[stage] += event.cpu_time_total / 1e6
        device[stage] += event.device_time_total / 1e6
    spent["other"] = seconds - sum(spent.values())
    header = f"{'stage':<12}{'calls':>7}{'seconds':>10}{'ms a step':>11}{'share':>8}"
    lines = [f"an epoch of {counted(steps, 'step')}, profiled", header + (f"{'GPU s':>9}" if on_gpu else "")]
    for stage in (*STAGES, "other"):
        line = f"{stage:<12}{calls[stage] or '':>7}{spent[stage]:>10.3f}"
        line += f"{1000 * spent[stage] / max(steps, 1):>11.1f}{spent[stage] / seconds:>8.1%}"
        lines.append(line + (f"{device[stage]:>9.3f}" if on_gpu else ""))
    return lines


def is_inside(event: FunctionEvent, name: str) -> bool:
    parent = event.cpu_parent
    while parent is not None:
        if parent.name == name:
            return True
        parent = parent.cpu_parent
    return False
