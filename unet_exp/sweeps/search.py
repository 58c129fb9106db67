"""sweep=tune: Optuna proposes, the launcher runs, the study in the sweep's directory remembers."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from unet_exp.errors import ConfigError
from unet_exp.messages import say, shown_path
from unet_exp.rundir import atomic, layout, lock
from unet_exp.rundir.sweep_directory import Job, progress
from unet_exp.sweeps import grid, plan
from unet_exp.sweeps.grid import Sweep
from unet_exp.sweeps.results import say_results
from unet_exp.sweeps.runner import unfinished
from unet_exp.sweeps.trial import import_optuna, open_study

SEARCH_PNG = "search.png"


def run_search(context: HydraContext, master: DictConfig, arguments: list[str]) -> None:
    """Until n_trials are finished or pruned, over all starts. Leaves by SystemExit(1) if some failed."""
    optuna = import_optuna()
    options: Any = OmegaConf.to_container(master.hydra.sweeper, resolve=True)
    n_trials = options["n_trials"]
    if type(n_trials) is not int or n_trials < 1:
        raise ConfigError(f"n_trials is {n_trials!r}", allowed="a whole number from 1")
    (given,) = plan.merged(arguments, options["params"], [])
    parsed = plan.parse(given, context.config_loader)
    space = {str(o.get_key_element()): distribution(o) for o in parsed if o.is_sweep_override()}
    if not space:
        raise ConfigError(
            "there is nothing to search", do="e.g. sweep=tune 'lr=tag(log, interval(1e-4, 1e-1))'"
        )
    fixed = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
    axes = list(space)
    ends = [overrides_of(fixed, values) for values in corners(space)]
    composed = grid.compose(context, master, axes, [(None, end) for end in ends])
    sweep = grid.open_sweep(context, master, axes, composed)
    first = composed[0].job
    atomic.make_directory(sweep.directory)
    lock.lock(sweep.directory)
    record = {
        "storage": options["storage"],
        "pruner": options["pruner"],
        "pruner_options": options["pruner_options"],
        "epochs": first.epochs,
        "direction": "minimize" if first.mode == "min" else "maximize",
    }
    study = open_study(sweep.directory, record)
    retry_failed(study)
    jobs: dict[int, Job] = {}
    states = optuna.trial.TrialState
    running = [trial.number for trial in study.get_trials(states=(states.RUNNING,))]
    say_start(study, sweep, n_trials, len(running))
    failed = 0
    while (room := n_trials - failed - len(done_trials(study))) > 0:
        numbers = running[: batch_size(sweep, options)]
        running = running[len(numbers) :]
        while len(numbers) < min(room, batch_size(sweep, options)):
            numbers.append(ask(study, space, options))
        batch = {}
        for number in numbers:
            try:
                proposed = overrides_of(fixed, study.trials[number].params)
                (found,) = grid.compose(context, master, axes, [(None, proposed)])
                planned = plan.put(found, sweep.known)
            except ConfigError as error:  # settings that do not fit each other cost their trial
                say(f"trial {number}: {error.what}")
                study.tell(number, state=states.FAIL)
                failed += 1
                continue
            grid.freeze(sweep, [planned])
            batch[number] = jobs[number] = planned.job
            if planned.job in unfinished([planned.job]):
                atomic.write_json(planned.job.directory / layout.TRIAL, {**record, "number": number})
        try:
            grid.launch(sweep, unfinished(list(batch.values())))
        except KeyboardInterrupt:
            say_search(study, sweep.directory, first)
            say("stopped; the same command goes on where it was")
            raise
        failed += tell(study, batch)
        limits = grid.limits_of(master)
        if failed and limits is not None and limits.fail_fast:
            break
    say_search(study, sweep.directory, first)
    say_results(sweep.directory)
    grid.leave(list(jobs.values()))


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
        steps = [float(each) for each in value.range()]
        if not steps:
            raise ConfigError(f"{override.input_line} holds no value")
        if all(each.is_integer() for each in (*steps, float(value.step))):
            return IntDistribution(int(min(steps)), int(max(steps)), step=int(abs(value.step)))
        return FloatDistribution(min(steps), max(steps), step=abs(value.step))
    return CategoricalDistribution([str(each) for each in override.sweep_string_iterator()])


def corners(space: dict[str, Any]) -> list[dict[str, Any]]:
    """Both ends, or each choice, of every axis beside the first values of the others: all are checked."""
    ends = {key: list(getattr(d, "choices", None) or (d.low, d.high)) for key, d in space.items()}
    first = {key: values[0] for key, values in ends.items()}
    others = [{**first, key: value} for key, values in ends.items() for value in values[1:]]
    return [first, *others]


def overrides_of(fixed: list[str], values: dict[str, Any]) -> list[str]:
    return [
        *fixed,
        *(
            f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}"
            for key, value in values.items()
        ),
    ]


def ask(study: Any, space: dict[str, Any], options: dict[str, Any]) -> int:
    """A new trial. Its proposal depends on seed, number and the trials told so far, not on earlier starts."""
    import optuna

    name = options["sampler"]
    given = options["sampler_options"]
    allowed = [each for each in optuna.samplers.__all__ if each.endswith("Sampler") and each != "BaseSampler"]
    if name not in allowed:
        raise ConfigError(f"hydra.sweeper.sampler is {name}", allowed=", ".join(allowed))
    seed = {"seed": options["seed"] + len(study.trials)}
    try:
        study.sampler = getattr(optuna.samplers, name)(**seed, **given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"hydra.sweeper.sampler_options {given} do not fit {name}: {error}") from error
    return int(study.ask(fixed_distributions=space).number)


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


def batch_size(sweep: Sweep, options: dict[str, Any]) -> int:
    """How many trials are asked at once: what the launcher runs side by side."""
    if options["batch"] != "auto":
        return int(options["batch"])
    limits = grid.limits_of(sweep.master)
    return 1 if limits is None else limits.slots


def tell(study: Any, batch: dict[int, Job]) -> int:
    """Give the study the ends of these jobs; returns how many failed. Unfinished ones stay open."""
    from optuna.trial import TrialState

    failed = 0
    for number, job in batch.items():
        found = progress(job)
        if found.state == "finished" and found.best is not None and not math.isnan(found.best):
            study.tell(number, found.best)
        elif found.state == "pruned":
            study.tell(number, state=TrialState.PRUNED)
        else:
            study.tell(number, state=TrialState.FAIL)
            failed += 1
    return failed


def say_start(study: Any, sweep: Sweep, n_trials: int, running: int) -> None:
    done = len(done_trials(study))
    more = f", {running} to continue" if running else ""
    say(f"{n_trials} trials in {shown_path(sweep.directory)}: {done} done{more}")


def say_search(study: Any, sweep_dir: Path, job: Job) -> None:
    """search.png, and how many trials ended how."""
    points = history(done_trials(study))
    if not points:
        return
    from unet_exp.plots import sweep

    sweep.plot_search(points, job.monitor, job.mode == "min", sweep_dir / SEARCH_PNG)
    pruned = sum(state == "pruned" for _, _, state in points)
    say(
        f"{len(points)} trials: {len(points) - pruned} finished, {pruned} pruned; "
        f"{shown_path(sweep_dir)}/{SEARCH_PNG}"
    )


def history(trials: Sequence[Any]) -> list[tuple[int, float, str]]:
    """Number, value and state of each trial that has a value; of a pruned one its last."""
    found = []
    for trial in trials:
        value = trial.value
        if value is None and trial.intermediate_values:
            value = trial.intermediate_values[max(trial.intermediate_values)]
        if value is not None:
            found.append((trial.number, value, "pruned" if trial.state.name == "PRUNED" else "finished"))
    return found


def summarise(sweep_dir: Path, job: Job) -> None:
    """say_search at any time; nothing for a sweep that is no search. job: any of it."""
    records = sorted(sweep_dir.glob(f"*/{layout.TRIAL}"))
    if records:
        say_search(open_study(sweep_dir, atomic.read_json(records[0])), sweep_dir, job)
