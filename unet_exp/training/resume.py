"""What a checkpoint holds of the parts, putting it back, and laying out a schedule for more epochs."""

import logging
import warnings
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from unet_exp.errors import CheckpointError, UserError, first_line
from unet_exp.training import checkpoint, machine
from unet_exp.training.checkpoint import Saved
from unet_exp.training.parts import Parts
from unet_exp.training.state import State

log = logging.getLogger(__name__)


def contents(parts: Parts) -> dict[str, Any]:
    """Tensors and plain containers of a checkpoint, all that `restore` reads."""
    return {
        "model": parts.model.state_dict(),
        "ema": None if parts.ema is None else parts.ema.module.state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "scheduler": parts.scheduler.state_dict(),
        "scaler": parts.scaler.state_dict(),
        "rng": machine.rng_state(parts.precision.device),
    }


def restore(parts: Parts, saved: Saved, epochs: int) -> State:
    """Put a checkpoint into freshly built parts; returns its state. epochs: how many the run is to have now.

    Raises CheckpointError if it is of another model or optimizer.
    """
    contents, state, path = saved
    try:
        checkpoint.load_weights(parts.model, contents["model"], path)
        if parts.ema is not None and contents["ema"] is not None:
            checkpoint.load_weights(parts.ema.module, contents["ema"], path)
            parts.ema.n_averaged.fill_(1)  # any number but 0, which would copy the weights once more
        if state.epochs == epochs or isinstance(parts.scheduler, ReduceLROnPlateau):
            parts.optimizer.load_state_dict(contents["optimizer"])
            parts.scheduler.load_state_dict(contents["scheduler"])
        else:
            lay_out_again(parts, contents["optimizer"], state, epochs)
        parts.scaler.load_state_dict(contents["scaler"])
        machine.set_rng_state(contents["rng"], parts.precision.device)
    except UserError:
        raise
    except Exception as error:  # a checkpoint of something else raises whatever it likes
        reason = first_line(error)
        raise CheckpointError(f"{path} does not fit this run: {reason}") from error
    state.epochs = epochs
    return state


def lay_out_again(parts: Parts, optimizer: dict[str, Any], state: State, epochs: int) -> None:
    """Go on with the schedule that a run of `epochs` would follow from this step on, and say so.

    The fresh scheduler is stepped to where the run stands; what it set in the optimizer's groups (lr,
    momentum) replaces what the shorter schedule had left there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # stepping before the first update is meant here
        for _ in range(state.step if parts.scheduler_interval == "step" else state.epoch):
            parts.scheduler.step()
    settings = [{k: v for k, v in g.items() if k != "params"} for g in parts.optimizer.param_groups]
    parts.optimizer.load_state_dict(optimizer)
    before = parts.optimizer.param_groups[0]["lr"]
    for group, values in zip(parts.optimizer.param_groups, settings, strict=True):
        group.update(values)
    after = parts.optimizer.param_groups[0]["lr"]
    log.info(
        "epochs: %d -> %d; %s goes on as if laid out for %d from the start: lr %s",
        state.epochs,
        epochs,
        type(parts.scheduler).__name__,
        epochs,
        f"stays {after:.3g}" if before == after else f"{before:.3g} -> {after:.3g}",
    )
