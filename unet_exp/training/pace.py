"""How long a run will still take."""

import math
import time

from unet_exp.config.schema import Config
from unet_exp.messages import duration


class Pace:
    """Epochs done since this start, and the time that they took. seconds: of earlier starts."""

    def __init__(self, config: Config, seconds: float) -> None:
        minutes = config.trainer.max_minutes
        self.limit = math.inf if minutes is None else 60 * minutes - seconds
        self.epochs = config.epochs
        self.start: tuple[float, float] | None = None  # when, and after how many epochs
        self.done = 0.0

    def reached(self, epochs: float) -> None:
        """epochs: finished ones, and the share of the one under way. The first call is the start."""
        if self.start is None:
            self.start = (time.perf_counter(), epochs)
        self.done = epochs

    def left(self) -> str:
        """'12m left', with validations as often as so far; '' where nothing is known or left."""
        if self.start is None:
            return ""
        since, first = self.start
        if not first < self.done < self.epochs:
            return ""
        elapsed = time.perf_counter() - since
        seconds = elapsed * (self.epochs - self.done) / (self.done - first)
        return f"{duration(max(min(seconds, self.limit - elapsed), 0))} left"
