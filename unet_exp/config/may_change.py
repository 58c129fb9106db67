"""What `resume=` may give another value."""

from dataclasses import fields, is_dataclass

from unet_exp.config.components import UNetConfig
from unet_exp.config.schema import MAY_CHANGE as MARK
from unet_exp.config.schema import Config


def keys_that_may_change(schema: type = Config, prefix: str = "") -> tuple[str, ...]:
    """Dotted names of the knobs to which `resume=` may give another value."""
    names: list[str] = []
    for entry in fields(schema):
        if is_dataclass(entry.type):
            names += keys_that_may_change(entry.type, f"{prefix}{entry.name}.")  # type: ignore[arg-type]
        elif entry.metadata.get("on_resume") == MARK:
            names.append(prefix + entry.name)
    return tuple(names)


MAY_CHANGE = (*keys_that_may_change(Config), *keys_that_may_change(UNetConfig, "model."))
