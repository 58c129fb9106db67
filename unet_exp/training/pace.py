"""How long a run will still take."""

import time

from unet_exp.config.schema import Config
from unet_exp.messages import duration


class Pace:
    """Epochs done since this start, and the time that they took. seconds: of earlier starts."""

    def __init__(self, config: Config, seconds: float) -> None:
        minutes = config.trainer.max_minutes
        self.longest = None if minutes is None else max(60 * minutes - seconds, 0)
        self.epochs = config.epochs
        self.since = time.perf_counter()
        self.first: float | None = None
        self.done = 0.0

    def reached(self, epochs: float) -> None:
        """epochs: finished ones, and the share of the one under way. The first call is the start."""
        if self.first is None:
            self.first = epochs
            self.since = time.perf_counter()
        self.done = epochs

    def left(self) -> str:
        """'12m left', with validations as often as so far; '' where nothing is known or left."""
        if self.first is None or not self.first < self.done < self.epochs:
            return ""
        elapsed = time.perf_counter() - self.since
        seconds = elapsed * (self.epochs - self.done) / (self.done - self.first)
        if self.longest is not None:
            seconds = min(seconds, max(self.longest - elapsed, 0))
        return f"{duration(seconds)} left"
