"""The configs of a sweep's jobs as plain values, composed once for jobs that differ in plain values alone.

Hydra composes one job of each kind. Jobs of a kind have the same overrides but for numbers, words and
switches: they are that job with their own values put in. That is what Hydra composes for them, byte for byte,
in a fiftieth of the time. Where it is not certain Hydra composes each job: where a key comes twice, or is
mentioned within a longer text or a call.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_exp.config.checks import absent_keys, problems_of_values, unresolved
from unet_exp.config.saved import leaves, without_calls, without_hydra
from unet_exp.config.whole import REFERENCE

Values = dict[str, Any]
PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class Composed:
    """The config of a job. Its parts are not to be changed: jobs share what they have in common.

    raw: as Hydra composed it, without Hydra's own node, which is `hydra`. saved: with calls such as
    ${oc.env:HOME} replaced by their values. values: with every reference resolved. problem: why that fails.
    """

    raw: Values
    saved: Values
    values: Values
    hydra: Values
    problem: str = ""

    def problems(self) -> list[str]:
        """What is wrong with it, a sentence for each."""
        absent = absent_keys(self.raw)
        return absent or ([self.problem] if self.problem else problems_of_values(self.values))


@dataclass(frozen=True)
class Template:
    """A job that others of its kind are made of. places: of each key that jobs of the kind set, the keys that
    have its value. floats: those of them that are floats where whole numbers are given."""

    composed: Composed
    places: dict[str, list[str]]
    floats: set[str]


class Composer:
    """Composes jobs. master: the config of the sweep without its axes."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader = loader
        self.master = master
        self.parsed: dict[str, Override] = {}
        self.plain: dict[str, bool] = {}
        self.groups: dict[str, bool] = {}
        self.templates: dict[tuple[Any, ...], Template | None] = {}

    def compose(self, overrides: Sequence[str]) -> Composed:
        """The config of these overrides. Raises what Hydra raises."""
        parsed = [self.parse(override) for override in overrides]
        own = {one.key_or_group: one.value() for one in parsed if self.plain[str(one.input_line)]}
        kind = tuple(
            (key, type(own[key])) if (key := one.key_or_group) in own else one.input_line for one in parsed
        )
        template = self.templates.get(kind)
        if template is not None:
            return put(template, own, parsed)
        composed = self.by_hydra(overrides)
        if kind not in self.templates:
            keys = [one.key_or_group for one in parsed if not self.is_group(one.key_or_group)]
            self.templates[kind] = template_of(composed, own, keys)
        return composed

    def parse(self, override: str) -> Override:
        if override not in self.parsed:
            parser = OverridesParser.create(config_loader=self.loader)
            (self.parsed[override],) = parser.parse_overrides([override])
            self.plain[override] = self.is_plain(self.parsed[override])
        return self.parsed[override]

    def is_plain(self, override: Override) -> bool:
        """Whether it gives a key that is there a number, a word or a switch."""
        if override.type != OverrideType.CHANGE or override.package is not None:
            return False
        if override.is_sweep_override() or override.is_hydra_override():
            return False
        value = override.value()
        good = type(value) in PLAIN and not (isinstance(value, str) and ("${" in value or value == "???"))
        return good and not self.is_group(override.key_or_group)

    def is_group(self, key: str) -> bool:
        if key not in self.groups:
            self.groups[key] = bool(self.loader.get_group_options(key.replace(".", "/"), results_filter=None))
        return self.groups[key]

    def by_hydra(self, overrides: Sequence[str]) -> Composed:
        config = self.loader.load_sweep_config(self.master, [*overrides])
        node = OmegaConf.to_container(config.hydra, resolve=False, enum_to_str=True)
        own = without_hydra(config)
        raw = plain_values(own)
        try:
            values = plain_values(own, resolve=True)
            saved = plain_values(without_calls(own))
        except OmegaConfBaseException as error:
            return Composed(raw, {}, {}, dict(node), unresolved(error))  # type: ignore[arg-type]
        return Composed(raw, saved, values, dict(node))  # type: ignore[arg-type]


def plain_values(config: DictConfig, resolve: bool = False) -> Values:
    return dict(OmegaConf.to_container(config, resolve=resolve))  # type: ignore[arg-type]


def template_of(composed: Composed, own: Mapping[str, Any], keys: Sequence[str]) -> Template | None:
    """The template of a job's kind; None where each job has to be composed by itself.

    own: the plain values that it sets. keys: all that it sets, groups aside.
    """
    if composed.problem or len(set(keys)) < len(keys):
        return None
    if any(one.startswith(f"{other}.") for one in keys for other in keys):
        return None
    texts = {key: text for key, text in leaves(composed.raw) if isinstance(text, str) and "${" in text}
    places = {}
    floats = set()
    for key, given in own.items():
        found = lookup(composed.raw, key)
        if type(found) is float and type(given) is int:
            floats.add(key)
        elif type(found) is not type(given):
            return None
        if found != given:  # what Hydra made of it would have to be known
            return None
        followers = [key, *followers_of(key, texts)]
        if any(
            mentions(text, place) for place in followers for at, text in texts.items() if at not in followers
        ):
            return None
        used = [lookup(composed.values, place) for place in followers]
        if any(type(one) is not type(found) or repr(one) != repr(used[0]) for one in used):
            return None
        places[key] = followers
    return Template(composed, places, floats)


def followers_of(key: str, texts: Mapping[str, str]) -> list[str]:
    """The keys whose value is ${key}, or that of such a one."""
    direct = [at for at, text in texts.items() if text == f"${{{key}}}"]
    return [*direct, *(further for at in direct for further in followers_of(at, texts))]


def mentions(text: str, key: str) -> bool:
    """Whether a text may refer to this key, or to a node that holds it: better once too often."""
    reference = REFERENCE.fullmatch(text)
    if reference is not None:
        return key == reference[1] or key.startswith(f"{reference[1]}.")
    return "${." in text or any(re.search(rf"\b{re.escape(name)}\b", text) for name in (key, *above(key)))


def above(key: str) -> list[str]:
    """a and a.b of a.b.c."""
    words = key.split(".")
    return [".".join(words[:end]) for end in range(1, len(words))]


def put(template: Template, own: Mapping[str, Any], parsed: Sequence[Override]) -> Composed:
    """The job of this kind with these plain values."""
    base = template.composed
    given = {key: float(value) if key in template.floats else value for key, value in own.items()}
    everywhere = {place: value for key, value in given.items() for place in template.places[key]}
    lines = [str(one.input_line) for one in parsed if not one.is_hydra_override()]
    named = {"overrides.task": lines, "job.override_dirname": directory_name(base.hydra, parsed)}
    return replace(
        base,
        raw=changed(base.raw, given),
        saved=changed(base.saved, given),
        values=changed(base.values, everywhere),
        hydra=changed(base.hydra, named),
    )


def directory_name(hydra: Values, parsed: Sequence[Override]) -> str:
    """hydra.job.override_dirname, as Hydra makes it."""
    rules = hydra["job"]["config"]["override_dirname"]
    own = [one for one in parsed if not one.is_hydra_override()]
    lines = sorted(str(one.input_line) for one in own if one.key_or_group not in rules["exclude_keys"])
    return re.sub("=", rules["kv_sep"], rules["item_sep"].join(lines))


def lookup(values: Any, key: str) -> Any:
    """The value of a dotted key; None where there is none."""
    for name in key.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def changed(values: Values, new: Mapping[str, Any]) -> Values:
    """A copy with other values at these dotted keys; what is not above one of them is shared."""
    copied = dict(values)
    inner: dict[str, dict[str, Any]] = {}
    for key, value in new.items():
        first, _, rest = key.partition(".")
        if rest:
            inner.setdefault(first, {})[rest] = value
        else:
            copied[first] = value
    for first, rest_of_them in inner.items():
        copied[first] = changed(copied[first], rest_of_them)
    return copied
