"""task=report: one page with all of a run, a sweep or a comparison, to hand on."""

from pathlib import Path

from unet_exp.config.paths import expanded
from unet_exp.config.task_schema import CompareConfig, ReportConfig
from unet_exp.errors import ConfigError
from unet_exp.messages import say, shown_path
from unet_exp.report.run import report_run
from unet_exp.rundir import atomic, layout
from unet_exp.sweeps.results import report_of_sweep
from unet_exp.tasks.compare import compare


def report(options: ReportConfig) -> None:
    """Writes report.html. Raises CheckpointError, ConfigError."""
    given = [name for name in ("run", "sweep_dir", "runs") if getattr(options, name) is not None]
    if len(given) != 1:
        raise ConfigError(
            f"task=report was given {', '.join(given) or 'nothing to report on'}",
            allowed="one of run=RUN_DIR, sweep_dir=DIR, runs=[A,B]",
        )
    output = None if options.output is None else expanded(options.output)
    if output is not None:
        if output.suffix not in (".html", ".htm"):
            raise ConfigError(f"output={options.output} is no page", allowed="a name that ends in .html")
        atomic.make_directory(output.parent)
    if options.runs is not None:
        folder = Path("comparison") if output is None else output.parent
        compare(CompareConfig(runs=options.runs, output=str(folder)), output)
        return
    if options.run is not None and layout.is_run(expanded(options.run)):
        path = report_run(expanded(options.run), output)
    else:
        path = report_of_sweep(expanded(str(options.sweep_dir or options.run)), output)
    say(f"written: {shown_path(path)}")
