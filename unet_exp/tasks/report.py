"""task=report: one page with all of a run, a sweep or a comparison, to hand on."""

from unet_exp.config.paths import expanded
from unet_exp.config.task_schema import CompareConfig, ReportConfig
from unet_exp.errors import ConfigError
from unet_exp.messages import say, shown_path
from unet_exp.report.run import report_run
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.found import runs_of
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
        compare(CompareConfig(runs=options.runs), output)
        return
    directory = expanded(str(options.run or options.sweep_dir))
    if layout.is_run(directory):
        path = report_run(directory, output)
    else:
        if not any(directory.glob(f"*/{layout.JOB}")):
            runs_of(directory)  # raises the error that says what is there
        path = report_of_sweep(directory, output)
    say(f"written: {shown_path(path)}")
