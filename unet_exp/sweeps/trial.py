"""A run as a trial of a search: it reports its validations to the study and hears when to give up."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unet_exp.errors import ConfigError
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.tables import read_table

STUDY = "search"


def import_optuna() -> Any:
    """Raises ConfigError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "a search needs optuna", do='pip install -c constraints.txt -e ".[sweep]"'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(sweep_dir: Path, record: dict[str, Any]) -> Any:
    """The study of a sweep, new or as it is. record: storage, pruner, pruner_options, direction, epochs.

    storage journal is a file of one line per event, also for network file systems; sqlite a database.
    """
    optuna = import_optuna()
    if record["storage"] == "journal":
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        storage: Any = JournalStorage(JournalFileBackend(str(sweep_dir / "study.journal")))
    elif record["storage"] == "sqlite":
        storage = f"sqlite:///{sweep_dir / 'study.db'}"
    else:
        raise ConfigError(f"hydra.sweeper.storage is {record['storage']}", allowed="journal, sqlite")
    return optuna.create_study(
        storage=storage,
        study_name=STUDY,
        direction=record["direction"],
        pruner=make_pruner(record),
        load_if_exists=True,
    )


def make_pruner(record: dict[str, Any]) -> Any:
    """Hyperband is told the number of epochs, unless the options give another."""
    import optuna

    learns = record["pruner"] == "HyperbandPruner" and "max_resource" not in record["pruner_options"]
    more = {"max_resource": record["epochs"]} if learns else {}
    return make(optuna.pruners, "Pruner", record, **more)


def make(module: Any, kind: str, options: dict[str, Any], **defaults: Any) -> Any:
    """A sampler or pruner of Optuna by its name, with its arguments. Raises ConfigError for unknown ones."""
    option = kind.lower()
    name = options[option]
    arguments = options[f"{option}_options"]
    allowed = [name for name in module.__all__ if name.endswith(kind) and name != f"Base{kind}"]
    if name not in allowed:
        raise ConfigError(f"hydra.sweeper.{option} is {name}", allowed=", ".join(allowed))
    try:
        return getattr(module, name)(**defaults, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"hydra.sweeper.{option}_options {arguments} do not fit {name}: {error}") from error


def pruner(run_dir: Path, monitor: str) -> Callable[[int, float], str]:
    """Told the epoch and the monitored metric of a validation: why to give up, or ''."""
    import_optuna()
    from optuna.trial import Trial

    record = atomic.read_json(run_dir / layout.TRIAL)
    study = open_study(run_dir.parent, record)
    frozen = study.trials[record["number"]]
    trial = Trial(study, frozen._trial_id)
    known = set(frozen.intermediate_values)

    def report(epoch: int, value: float) -> None:
        if epoch not in known and not math.isnan(value):
            trial.report(value, epoch)
            known.add(epoch)

    for row in read_table(run_dir / layout.METRICS):  # of earlier starts, should the study not have them
        if row["split"] == "val":
            report(int(row["epoch"]), float(row[monitor]))

    def prune(epoch: int, value: float) -> str:
        report(epoch, value)
        return f"pruned after epoch {epoch} by {record['pruner']}" if trial.should_prune() else ""

    return prune
