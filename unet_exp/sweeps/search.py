"""sweep=tune: Optuna proposes, the launcher runs, the study in the sweep's directory remembers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from unet_exp.errors import ConfigError
from unet_exp.messages import counted, say, shown_path
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.sweep_directory import SEARCH_PNG, Job, progress
from unet_exp.sweeps import grid, plan
from unet_exp.sweeps.grid import Sweep
from unet_exp.sweeps.results import say_results
from unet_exp.sweeps.runner import Limits, unfinished
from unet_exp.sweeps.trial import import_optuna, make, open_study


@dataclass(frozen=True)
class Search:
    """space: an Optuna distribution for each axis. fixed: the other overrides. record: what trials are told.

    options: of hydra.sweeper. job: of the first corner of the space, for its monitor and mode.
    """

    sweep: Sweep
    study: Any
    space: dict[str, Any]
    fixed: list[str]
    record: dict[str, Any]
    options: dict[str, Any]
    job: Job


def run_search(context: HydraContext, master: DictConfig, arguments: list[str]) -> None:
    """Until n_trials are finished or pruned, over all starts. Leaves by SystemExit(1) if some failed."""
    search = open_search(context, master, arguments)
    study = search.study
    waiting = [trial.number for trial in study.trials if trial.state.name == "RUNNING"]
    n_trials = search.options["n_trials"]
    more = f", {len(waiting)} to continue" if waiting else ""
    where = shown_path(search.sweep.directory)
    say(f"{counted(n_trials, 'trial')} in {where}: {len(done_trials(study))} done{more}")
    retry_failed(study)
    limits = grid.limits_of(master)
    size = batch_size(limits, search.options)
    jobs: dict[int, Job] = {}
    num_failed = 0
    while (room := n_trials - num_failed - len(done_trials(study))) > 0:
        numbers = waiting[:size]
        waiting = waiting[size:]
        numbers += [ask(search) for _ in range(min(room, size) - len(numbers))]
        batch = {number: job for number in numbers if (job := prepare(search, number)) is not None}
        jobs |= batch
        try:
            grid.launch(search.sweep, unfinished(list(batch.values())))
        except KeyboardInterrupt:
            say_search(study, search.sweep.directory, search.job)
            say(grid.STOPPED)
            raise
        num_failed += len(numbers) - len(batch) + tell(study, batch)
        if num_failed and limits is not None and limits.fail_fast:
            break
    say_search(study, search.sweep.directory, search.job)
    say_results(search.sweep.directory)
    grid.leave(list(jobs.values()))


def open_search(context: HydraContext, master: DictConfig, arguments: list[str]) -> Search:
    """The search of an earlier start, or a new one. Raises ConfigError for what can't be searched."""
    import_optuna()
    options: Any = OmegaConf.to_container(master.hydra.sweeper, resolve=True)
    if type(options["n_trials"]) is not int or options["n_trials"] < 1:
        raise ConfigError(f"n_trials is {options['n_trials']!r}", allowed="a whole number from 1")
    (overrides,) = plan.merged(arguments, options["params"], [])
    parsed = plan.parse(overrides, context.config_loader)
    space = {str(o.get_key_element()): distribution(o) for o in parsed if o.is_sweep_override()}
    if not space:
        raise ConfigError(
            "no key has a range to search in", do="sweep=tune 'lr=tag(log, interval(1e-4, 1e-1))'"
        )
    fixed = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
    ends = [overrides_of(fixed, values) for values in corners(space)]
    composed = grid.compose(context, master, list(space), [(None, end) for end in ends])
    sweep = grid.open_sweep(context, master, list(space), composed)
    job = composed[0].job
    record = {key: options[key] for key in ("storage", "pruner", "pruner_options")}
    record |= {"epochs": job.epochs, "direction": "minimize" if job.mode == "min" else "maximize"}
    grid.start(sweep)
    return Search(sweep, open_study(sweep.directory, record), space, fixed, record, options, job)


def prepare(search: Search, number: int) -> Job | None:
    """The frozen job of a trial; None, and the trial failed, where its settings do not fit each other."""
    from optuna.trial import TrialState

    sweep = search.sweep
    overrides = overrides_of(search.fixed, search.study.trials[number].params)
    try:
        (composed,) = grid.compose(sweep.context, sweep.master, sweep.axes, [(None, overrides)])
        planned = plan.put(composed, sweep.known)
    except ConfigError as error:
        say(f"trial {number}: {error.what}")
        search.study.tell(number, state=TrialState.FAIL)
        return None
    grid.freeze(sweep, [planned])
    if unfinished([planned.job]):
        atomic.write_json(planned.job.directory / layout.TRIAL, {**search.record, "number": number})
    return planned.job


def distribution(override: Override) -> Any:
    """Hydra's interval, range, choice and glob as Optuna's distributions; tag(log, ...) for a log scale."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    log = "log" in getattr(value, "tags", set())
    if isinstance(value, IntervalSweep):
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        low = value.start
        high = value.end
        if low is None or high is None or low > high or (log and low <= 0):
            raise ConfigError(f"{override.input_line} is not a range", allowed="low < high; log: low > 0")
        return IntDistribution(int(low), int(high), log) if whole else FloatDistribution(low, high, log)
    if isinstance(value, RangeSweep):
        steps = [float(step) for step in value.range()]
        if not steps:
            raise ConfigError(f"{override.input_line} holds no value")
        if all(step.is_integer() for step in (*steps, float(value.step))):
            return IntDistribution(int(min(steps)), int(max(steps)), step=int(abs(value.step)))
        return FloatDistribution(min(steps), max(steps), step=abs(value.step))
    return CategoricalDistribution(list(map(str, override.sweep_string_iterator())))


def corners(space: dict[str, Any]) -> list[dict[str, Any]]:
    """Both ends, or each choice, of every axis beside the first values of the others: all are checked."""
    ends = {key: list(getattr(d, "choices", None) or (d.low, d.high)) for key, d in space.items()}
    first = {key: values[0] for key, values in ends.items()}
    others = [{**first, key: value} for key, values in ends.items() for value in values[1:]]
    return [first, *others]


def overrides_of(fixed: list[str], values: dict[str, Any]) -> list[str]:
    texts = {key: repr(value) if isinstance(value, float) else value for key, value in values.items()}
    return [*fixed, *(f"{key}={text}" for key, text in texts.items())]


def ask(search: Search) -> int:
    """A new trial. Its proposal depends on seed, number and the trials told so far, not on earlier starts."""
    import optuna

    options = search.options
    seed = options["seed"] + len(search.study.trials)
    search.study.sampler = make(optuna.samplers, "Sampler", options, seed=seed)
    return int(search.study.ask(fixed_distributions=search.space).number)


def retry_failed(study: Any) -> None:
    """Put the settings of failed trials in line again, unless they went well since."""
    from optuna.trial import TrialState

    well = [trial.params for trial in study.trials if trial.state != TrialState.FAIL]
    for trial in study.get_trials(states=(TrialState.FAIL,)):
        if trial.params not in well:
            study.enqueue_trial(trial.params, skip_if_exists=False)
            well.append(trial.params)


def done_trials(study: Any) -> list[Any]:
    from optuna.trial import TrialState

    return list(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def batch_size(limits: Limits | None, options: dict[str, Any]) -> int:
    """How many trials are asked at once: what the launcher runs side by side."""
    if options["batch"] != "auto":
        return int(options["batch"])
    return 1 if limits is None else limits.slots


def tell(study: Any, batch: dict[int, Job]) -> int:
    """Give the study the ends of these jobs; returns how many failed. Unfinished ones stay open."""
    from optuna.trial import TrialState

    num_failed = 0
    for number, job in batch.items():
        end = progress(job)
        if end.state == "finished" and end.best is not None and not math.isnan(end.best):
            study.tell(number, end.best)
        elif end.state == "pruned":
            study.tell(number, state=TrialState.PRUNED)
        else:
            study.tell(number, state=TrialState.FAIL)
            num_failed += 1
    return num_failed


def say_search(study: Any, sweep_dir: Path, job: Job) -> None:
    """search.png, and how many trials ended how."""
    points = history(done_trials(study))
    if not points:
        return
    from unet_exp.plots import sweep

    sweep.plot_search(points, job.monitor, job.mode == "min", sweep_dir / SEARCH_PNG)
    pruned = sum(state == "pruned" for _, _, state in points)
    say(
        f"{counted(len(points), 'trial')}: {len(points) - pruned} finished, {pruned} pruned; "
        f"{shown_path(sweep_dir)}/{SEARCH_PNG}"
    )


def history(trials: Sequence[Any]) -> list[tuple[int, float, str]]:
    """Number, value and state of each trial that has a value; of a pruned one its last."""
    points = []
    for trial in trials:
        value = trial.value
        if value is None and trial.intermediate_values:
            value = trial.intermediate_values[max(trial.intermediate_values)]
        if value is not None:
            points.append((trial.number, value, "pruned" if trial.state.name == "PRUNED" else "finished"))
    return points


def summarise(sweep_dir: Path, job: Job) -> None:
    """say_search at any time; nothing for a sweep that is no search. job: any of it."""
    records = sorted(sweep_dir.glob(f"*/{layout.TRIAL}"))
    if records:
        say_search(open_study(sweep_dir, atomic.read_json(records[0])), sweep_dir, job)
