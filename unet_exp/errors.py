"""Errors meant for the user: what was given, what is allowed, what to do. Never shown with a traceback."""


class UserError(Exception):
    """Something the user can put right.

    what: what was given and why it can't be used; allowed: what would be accepted;
    do: the next thing to type or look at. The last two may be empty.
    """

    def __init__(self, what: str, allowed: str = "", do: str = "") -> None:
        self.what, self.allowed, self.do = what, allowed, do
        super().__init__(what, allowed, do)

    def __str__(self) -> str:
        lines = [self.what]
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        if self.do:
            lines.append(f"  to do:   {self.do}")
        return "\n".join(lines)


class ConfigError(UserError):
    """The configuration can't be run."""


class DataError(UserError):
    """Images or labels can't be used as they are."""


class ModelError(UserError):
    """The network can't be built, or can't take this input."""


class CheckpointError(UserError):
    """A run directory or checkpoint can't be read, written or continued."""


class TrainingError(UserError):
    """Training can't go on, for instance because the loss is not a number."""


def first_line(error: Exception) -> str:
    """The first line of another package's error; its type if it has no text."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__)


def did_you_mean(given: str, known: list[str]) -> str:
    """'; did you mean 'lr'?' for the nearest known name, or an empty string."""
    import difflib

    near = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
