"""torch's optimizers without the compiler, whose import takes longer than a small run trains.

torch.optim imports torch._dynamo (1.1-1.5 s) only to tell it what not to compile. The loop compiles at most
the network, never the optimizer, so its functions are called without asking. Where torch is built otherwise
than expected nothing is changed, and the start is slow again.
"""

import types
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

ASKING = ("add_param_group", "state_dict", "load_state_dict", "zero_grad")  # under torch._disable_dynamo


def spare_compiler() -> None:
    """Call before an optimizer is built."""
    for name in ASKING:
        inner = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if inner is not None and not hasattr(inner, "__dynamo_disable"):
            inner.__dynamo_disable = inner


def spare_compiler_in_step(optimizer: Optimizer) -> None:
    """The optimizer's step without marks for the compiler; its hooks and its no_grad stay."""
    step: Callable[..., Any] | None = type(optimizer).step
    while step is not None and "graph_break" not in step.__code__.co_names:
        step = getattr(step, "__wrapped__", None)
    if step is None:  # somebody's own optimizer, or another torch
        return
    inner = step.__wrapped__  # type: ignore[attr-defined]

    def plain_step(self: Optimizer, closure: Callable[[], float] | None = None) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return inner(self, closure)

    optimizer.step = types.MethodType(Optimizer.profile_hook_step(plain_step), optimizer)  # type: ignore[method-assign]
