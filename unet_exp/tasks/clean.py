"""task=clean: what of the runs below a folder can be removed, and with yes=true its removal."""

from unet_exp.config.paths import expanded
from unet_exp.config.task_schema import CleanConfig
from unet_exp.errors import ConfigError
from unet_exp.messages import counted, in_columns, program, say, shortened_lines, shown_path
from unet_exp.rundir.cleaning import proposals, remove

MOST_LINES = 40


def clean(options: CleanConfig) -> None:
    """Proposes, and says the space; removes with yes=true. Raises ConfigError for what is no folder."""
    root = expanded(options.root)
    if not root.is_dir():
        raise ConfigError(
            f"root={options.root} is no folder", allowed="a folder with runs, such as outputs or multirun"
        )
    found = proposals(root)
    if not found:
        say(f"{shown_path(root)}: nothing to remove (what can go on or is in use stays)")
        return
    cells = [[amount(one.size), shown_path(one.path), one.reason] for one in found]
    total = amount(sum(one.size for one in found))
    if not options.yes:
        say("\n".join(shortened_lines(in_columns(cells), MOST_LINES)))
        say(f"{total} in {counted(len(found), 'place')}; nothing is removed yet")
        say(f"to remove: {program()} task=clean root={shown_path(root)} yes=true")
        return
    gone = [one for one in found if remove(one)]
    say(f"removed {amount(sum(one.size for one in gone))} in {counted(len(gone), 'place')}")
    if len(gone) < len(found):
        say(f"{counted(len(found) - len(gone), 'place')} left: in use by now")


def amount(size: int) -> str:
    """'3.2 GB', '480 MB' or '12 kB'."""
    for unit, number in (("GB", 1e9), ("MB", 1e6)):
        if size >= number:
            return f"{size / number:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"
