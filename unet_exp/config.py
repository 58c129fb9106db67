"""The typed configuration: registered with Hydra before composing, checked as a whole after it."""

import dataclasses
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_exp import runs
from unet_exp.errors import ConfigError, did_you_mean
from unet_exp.models.sizes import nearest_sizes, output_size
from unet_exp.schema import TARGETS, Config, UNetConfig

BOUNDS = {"minimum": "at least", "above": "above", "maximum": "at most", "below": "below"}
GROUPS = ("model", "loss", "optimizer", "scheduler")  # each one node with a _target_
ALLOW_VARIABLE = "UNET_EXP_ALLOW"
ALLOWED_TARGETS = {
    "model": ("unet_exp.models.", "torch.nn."),
    "loss": ("unet_exp.losses.", "torch.nn."),
    "optimizer": ("torch.optim.",),
    "scheduler": ("torch.optim.lr_scheduler.",),
    "transform": ("unet_exp.data.transforms.",),
}


def register() -> None:
    """Make the schema known to Hydra; conf/config.yaml and conf/model/*.yaml build on it."""
    store = ConfigStore.instance()
    store.store(name="base_schema", node=Config)
    store.store(group="schema", name="unet", node=UNetConfig)


def allowed_prefixes(group: str) -> tuple[str, ...]:
    """Where the targets of a group may come from; one's own packages by the environment variable."""
    own = os.environ.get(ALLOW_VARIABLE, "").split(",")
    return ALLOWED_TARGETS[group] + tuple(f"{name.strip()}." for name in own if name.strip())


class CheckAtStart(Callback):
    """Checks a run before its directory exists and before torch is imported; exits with 1."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        runs.composed()
        # Hydra turns exceptions of a callback into warnings, so a refusal has to leave by exit.
        run_dir = Path(str(config.hydra.run.dir))
        problems = find_problems(job_config(config))
        problems += [problem for problem in (output_problem(run_dir),) if problem]
        if problems:
            print(f"error: {config_error(problems)}", file=sys.stderr)
            sys.exit(1)
        runs.remember_start(run_dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        runs.composed()


def job_config(config: DictConfig) -> DictConfig:
    """The config without Hydra's own node."""
    keys = [str(key) for key in config if key != "hydra"]
    return OmegaConf.masked_copy(config, keys)


def config_error(problems: list[str]) -> ConfigError:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    numbered = [f"  {number}. {problem}" for number, problem in enumerate(problems, start=1)]
    return ConfigError("\n".join([f"{count} in the configuration", *numbered]))


def output_problem(run_dir: Path) -> str | None:
    """Why a run can't be written to this directory, or None."""
    parent = run_dir.absolute()
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        return f"{run_dir} can't be made: {parent} is a file; choose another hydra.run.dir=DIR"
    if not os.access(parent, os.W_OK):
        return f"{run_dir} can't be written: no permission in {parent}; choose hydra.run.dir=DIR"
    if runs.has_checkpoints(run_dir) and not runs.is_resuming():
        return (
            f"{run_dir} already holds the checkpoints of a run; continue it with resume={run_dir} "
            "or choose another hydra.run.dir=DIR"
        )
    return None


def check(cfg: DictConfig) -> Config:
    """The typed config with every default filled in and every interpolation resolved.

    Raises ConfigError naming all problems at once.
    """
    problems = find_problems(cfg)
    if problems:
        raise config_error(problems)
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    for group in GROUPS:
        values[group] = filled(values[group])
    for part in ("train", "eval"):
        steps = values["transform"][part]
        values["transform"][part] = {name: filled(step) for name, step in steps.items() if step}
    return typed_config(values)


def filled(node: dict[str, Any]) -> dict[str, Any]:
    """A node with the schema's defaults for keys it lacks; nodes of other people's targets as they are."""
    schema = TARGETS.get(node["_target_"])
    if schema is None:
        return node
    merged = OmegaConf.merge(OmegaConf.structured(schema), node)
    return dict(OmegaConf.to_container(merged))  # type: ignore[arg-type]


MAY_CHANGE = (
    "epochs", "num_workers", "device", "data.root", "data.cache", "data.cache_limit_mb",
    "trainer.max_minutes", "trainer.early_stop", "trainer.save_every", "trainer.keep", "trainer.log_every", "trainer.images_every",
    "trainer.images_max", "trainer.images_each_batch",
)  # fmt: skip


def check_resume(saved: DictConfig, config: Config) -> None:
    """Raises ConfigError naming what a run that is continued can't change, with both values."""
    old, new = (flat(dataclasses.asdict(part)) for part in (check(saved), config))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    problems = [
        f"{key} was {old.get(key)!r} and can't become {new.get(key)!r} on resume"
        for key in changed
        if key not in MAY_CHANGE
    ]
    if "epochs" in changed and "total_steps" in config.scheduler.values():
        problems.append(
            f"epochs was {old['epochs']} and the schedule was laid out for it; more epochs on resume need "
            "a scheduler that does not count them (constant, plateau)"
        )
    if problems:
        lines = [f"  {number}. {problem}" for number, problem in enumerate(problems, start=1)]
        raise ConfigError(
            "\n".join(["this run can't be continued so", *lines]),
            do="leave these keys out, or start a new run with from_run=RUN_DIR",
        )


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} as {'a.b': 1}."""
    if not isinstance(values, dict):
        return {prefix[:-1]: values}
    return {k: v for key, value in values.items() for k, v in flat(value, f"{prefix}{key}.").items()}


def save_resolved(config: Config, path: Path) -> None:
    """Write what really runs, every 'auto' decided."""
    runs.write_text(path, OmegaConf.to_yaml(OmegaConf.structured(config)))


def find_problems(cfg: DictConfig) -> list[str]:
    """Every problem of a composed configuration, each in one sentence with what to do."""
    try:
        # Without the types of nodes: what Hydra composed from UNetConfig is a mapping like any other here.
        cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[assignment]
        problems = node_problems(cfg, Config, "")
        for group in GROUPS:
            problems += target_problems(cfg.get(group), group, group)
        problems += transform_problems(cfg.get("transform"))
        # Only a config whose parts are sound can be checked for how they fit together.
        return problems or fitting_problems(typed_config(cfg))
    except OmegaConfBaseException as error:
        return [str(error).splitlines()[0]]


def typed_config(values: Any) -> Config:
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values))
    assert isinstance(config, Config)
    return config


def node_problems(node: DictConfig, schema: type, prefix: str) -> list[str]:
    """Unknown keys, wrong types and values out of range of a node that has a schema."""
    fields = {field.name: field for field in dataclasses.fields(schema)}
    problems = [
        f"{prefix}{key!s} is not a known key{did_you_mean(str(key), list(fields))}"
        for key in node
        if key not in fields
    ]
    typed = OmegaConf.structured(schema)
    for name, field in fields.items():
        if dataclasses.is_dataclass(field.type):
            child = node.get(name)
            if isinstance(child, DictConfig):
                problems += node_problems(child, field.type, f"{prefix}{name}.")  # type: ignore[arg-type]
            continue
        try:
            if name in node:
                if OmegaConf.is_missing(node, name):
                    raise ValueError("has no value; give one")
                typed[name] = node[name]
            elif OmegaConf.is_missing(typed, name):
                raise ValueError("is not there; give it a value")
            problem = rule_problem(typed[name], field.metadata)
        except OmegaConfBaseException as error:
            problem = str(error).splitlines()[0]
        except ValueError as error:
            problem = str(error)
        if problem:
            problems.append(
                f"{prefix}{name} {problem}" if not problem[0].isupper() else f"{prefix}{name}: {problem}"
            )
    return problems


def rule_problem(value: Any, rules: Any) -> str | None:
    """What a value breaks of its field's rules, or None."""
    if value is None:
        return None
    if "choices" in rules:
        choices = rules["choices"]
        if value in choices:
            return None
        words = [str(choice) for choice in choices]
        return f"is {value!r}; allowed: {', '.join(words)}{did_you_mean(str(value), words)}"
    bounds = {name: rules[name] for name in BOUNDS if name in rules}
    if not bounds:
        return None
    if isinstance(value, str):
        return None if value == "auto" else f"is {value!r}; allowed: auto or a number"
    fits = (
        math.isfinite(value)
        and value >= bounds.get("minimum", -math.inf)
        and value > bounds.get("above", -math.inf)
        and value <= bounds.get("maximum", math.inf)
        and value < bounds.get("below", math.inf)
    )
    allowed = " and ".join(f"{BOUNDS[name]} {bound:g}" for name, bound in bounds.items())
    return None if fits else f"is {value}; allowed: {allowed}"


def target_problems(node: Any, group: str, key: str) -> list[str]:
    """Problems of one node that names a class: its _target_, and its arguments where they are ours."""
    if not isinstance(node, DictConfig) or not isinstance(node.get("_target_"), str):
        return [f"{key} needs a _target_: the dotted path of a class"]
    target = node["_target_"]
    prefixes = allowed_prefixes(group)
    if not target.startswith(prefixes):
        return [
            f"{key}._target_ {target!r} is not allowed; allowed: {', '.join(p + '*' for p in prefixes)}; "
            f"for a package of your own set {ALLOW_VARIABLE}={target.split('.')[0]}"
        ]
    for inner, value in node.items():
        if inner != "_target_" and "'_target_':" in str(value):
            return [f"{key}.{inner!s} holds a _target_ of its own, which is not allowed here"]
    if target in TARGETS:
        return node_problems(node, TARGETS[target], f"{key}.")
    problems = [
        f"{key}.{name} {problem}"
        for name in ("lr", "weight_decay", "momentum")
        if name in node and (problem := number_problem(node[name]))
    ]
    return problems


def number_problem(value: Any) -> str | None:
    """Optimizers differ, but these arguments are numbers of at least zero in all of them."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"is {value!r}; allowed: a number of at least 0"
    return None if math.isfinite(value) and value >= 0 else f"is {value}; allowed: at least 0"


def transform_problems(node: Any) -> list[str]:
    if not isinstance(node, DictConfig) or not {"train", "eval"} <= set(node):
        return ["transform needs the parts train and eval, each a mapping of named steps"]
    problems = [
        f"transform.{key!s} is not a known key{did_you_mean(str(key), ['train', 'eval', 'mean', 'std'])}"
        for key in node
        if key not in ("train", "eval", "mean", "std")
    ]
    for part in ("train", "eval"):
        for name, step in (node[part] or {}).items():
            if step is None:  # a step switched off
                continue
            key = f"transform.{part}.{name}"
            problems += target_problems(step, "transform", key)
            if part == "eval" and ".Random" in str(step.get("_target_", "")):
                problems.append(f"{key} is random; validation never augments, so remove it")
        last = [step for step in (node[part] or {}).values() if step is not None][-1:]
        if not last or not str(last[0].get("_target_", "")).endswith(".ToTensor"):
            problems.append(f"transform.{part} has to end with ToTensor")
    return problems


def fitting_problems(config: Config) -> list[str]:
    """Parts that are sound but do not fit each other, this machine or its files."""
    problems = size_problems(config)
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        problems.append(f"device is {config.device!r}; allowed: auto, cpu, cuda, cuda:N, mps")
    problems += data_problems(config)
    metrics = metric_names(config.data.classes)
    monitor, mode = config.trainer.monitor, config.trainer.mode
    if monitor not in metrics:
        problems.append(
            f"trainer.monitor is {monitor!r}; allowed: {', '.join(metrics)}{did_you_mean(monitor, metrics)}"
        )
    elif mode not in ("auto", "min" if monitor == "loss" else "max"):
        problems.append(f"trainer.mode is {mode!r}, but a better {monitor} is the other way; use auto")
    classes, head = len(config.data.classes), config.model.get("out_channels")
    if isinstance(head, int) and head not in allowed_heads(config):
        words = " or ".join(str(number) for number in allowed_heads(config))
        problems.append(f"model.out_channels is {head}; allowed for {classes} classes and this loss: {words}")
    return problems


def metric_names(classes: list[str]) -> list[str]:
    """The columns of metrics.csv that trainer.monitor may name."""
    return ["loss", "dice", "iou"] + [f"{m}_{name}" for m in ("dice", "iou") for name in classes]


def allowed_heads(config: Config) -> list[int]:
    """Logits per pixel that fit the classes and the loss; the first is what 'auto' means."""
    classes = len(config.data.classes)
    softmax = str(config.loss["_target_"]).endswith("CrossEntropyLoss")
    return [classes] if softmax or classes > 2 else [1]


def size_problems(config: Config) -> list[str]:
    """Training sizes that the U-Net would have to pad; unknown for other people's models."""
    model = OmegaConf.create(config.model)
    if model["_target_"] != UNetConfig._target_:
        return []
    unet = OmegaConf.merge(OmegaConf.structured(UNetConfig), model)
    depth, padding = unet.depth, unet.padding
    sizes = {
        f"transform.train.{name}.size": step["size"]
        for name, step in config.transform["train"].items()
        if step and step["_target_"].endswith(".RandomCrop")
    }
    if config.data.kind == "membranes":
        for key, size in sizes.items():
            if size > config.data.size:
                return [f"{key} is {size}, but the images are {config.data.size} pixels wide (data.size)"]
        sizes = sizes or {"data.size": config.data.size}
    problems = []
    for key, size in sizes.items():
        if output_size(size, depth, padding) is None:
            near = " or ".join(str(s) for s in nearest_sizes(size, depth, padding))
            what = f"2**{depth} = {2**depth}" if padding == "same" else "the valid convolutions"
            problems.append(
                f"{key} is {size}, which model.depth={depth} can't use ({what} must fit); use {near}"
            )
    return problems


def data_problems(config: Config) -> list[str]:
    data = config.data
    problems = []
    if len(data.classes) != 2 or len(set(data.classes)) != 2:
        problems.append(
            f"data.classes is {data.classes}; allowed: two different names, of label 0 and of label 1"
        )
    problems += [
        f"data.classes: {name!r} has characters that a column name can't have; use letters, digits and _"
        for name in data.classes
        if not re.fullmatch(r"[\w-]+", name)
    ]
    for part in ("train", "val", "test"):
        value = getattr(data.split, part)
        if data.split.mode == "listed":
            good = isinstance(value, list) or value in (0, None)
            allowed = "a list of names (with * and ?)"
        else:
            good = value == "rest" or (isinstance(value, (int, float)) and value >= 0)
            good = good and not isinstance(value, bool) and not (isinstance(value, float) and value >= 1)
            allowed = "rest, a count, or a fraction below 1"
        if not good:
            problems.append(f"data.split.{part} is {value!r}; allowed with mode {data.split.mode}: {allowed}")
    if data.kind == "membranes":
        return problems
    if data.root is None:
        problems.append(f"data.root has no value; give the folder of the data: data.root=DIR ({data.kind})")
    elif not Path(data.root).is_dir():
        found = "is a file" if Path(data.root).exists() else "is not there"
        problems.append(
            f"data.root={data.root} {found} (seen from {Path.cwd()}); give a folder: data.root=DIR"
        )
    return problems
