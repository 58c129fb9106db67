"""The report of one run: report.html, which is read without the program."""

import math
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from unet_exp.comparison.image_scores import ImageTable, column, groups_of, images_or_none
from unet_exp.comparison.settings import Reader
from unet_exp.config.defaults import default_settings
from unet_exp.messages import counted, duration, resume_command, shown_path
from unet_exp.plots.curves import curves_figure
from unet_exp.plots.style import as_svg
from unet_exp.report import methods
from unet_exp.report.html import bullets, code, drawing, page, paragraph, picture, section, table, text
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.provenance import starts
from unet_exp.rundir.tables import Row, read_csv
from unet_exp.statistics.difference import mean_of_images

MOST_IMAGES = 8  # in the table of the worst
SCORE_WORDS = (
    ("dice", "Dice, mean over classes"),
    ("iou", "IoU, mean over classes"),
    ("predict_dice", "Dice at the chosen threshold"),
    ("v_rand", "V-Rand at the chosen threshold"),
    ("v_info", "V-Info at the chosen threshold"),
    ("v_rand_tta", "V-Rand, mean over symmetries"),
    ("v_info_tta", "V-Info, mean over symmetries"),
    ("cells_v_rand", "V-Rand of cells"),
    ("ap", "AP of objects"),
    ("f1", "F1 of objects, IoU 0.5"),
    ("object_ap", "AP of objects by the chosen rule"),
    ("object_f1", "F1 of objects by the chosen rule"),
)


def report_run(run_dir: Path, path: Path | None = None) -> Path:
    """Writes the report of a run and returns its path. Raises CheckpointError for what is no run."""
    settings = Reader().settings(run_dir)
    labels = Reader().labels(run_dir)
    status = layout.read_status(run_dir)
    environment = starts(run_dir)[-1] if (run_dir / layout.ENVIRONMENT).exists() else {}
    images = split_counts(run_dir)
    title = str(labels["name"] or f"Run {run_dir.resolve().name}")
    content = page(
        title,
        [
            head_of(run_dir, settings, status, labels),
            section(
                "What was asked",
                paragraph(f"Command: {code(command_of(environment))}") if environment else "",
                settings_table(settings),
            ),
            data_section(run_dir, settings, images),
            curves_section(run_dir, settings, status),
            section(
                "Scores",
                *[scores_table(name, images_table) for name, images_table in tables_of(run_dir)],
                class_table(run_dir, status),
            ),
            pictures_section(run_dir),
            provenance_section(run_dir, environment, status),
            methods_section(settings, images, environment),
        ],
    )
    path = path or run_dir / layout.REPORT
    atomic.write_text(path, content)
    return path


def head_of(run_dir: Path, settings: dict[str, Any], status: dict[str, Any], labels: dict[str, Any]) -> str:
    """What came out, in a sentence; notes and tags."""
    monitor = status.get("monitor") or settings.get("trainer.monitor")
    score = status.get("best_metric")
    result = "No validation gave a score."
    if score is not None:
        result = (
            f"Best {monitor} on the validation images: {score:.4f}, in epoch {status.get('best_epoch')} of "
            f"{settings.get('epochs')}."
        )
    facts = f"{status.get('state', 'never began')}, {status.get('time', '')}, {shown_path(run_dir)}".strip(
        ", "
    )
    lines = [paragraph(f"<strong>{text(result)}</strong>", "lead"), paragraph(text(facts))]
    if labels["notes"]:
        lines.append(paragraph(text(labels["notes"])))
    if labels["tags"]:
        lines.append(paragraph(f"Tags: {text(', '.join(labels['tags']))}"))
    return "\n".join(lines)


def command_of(environment: dict[str, Any]) -> str:
    words = environment.get("command") or []
    return shlex.join(["python", *map(str, words)])


def settings_table(settings: dict[str, Any]) -> str:
    """What differs from the defaults of this version."""
    defaults = default_settings()
    if defaults is None:
        return ""
    rows = [
        [key, shown(defaults.get(key)), shown(value)]
        for key, value in settings.items()
        if key not in ("name", "notes", "tags") and defaults.get(key) != value
    ]
    if not rows:
        return paragraph("All settings are the defaults.")
    return table(["setting", "default", "this run"], rows, "Settings that differ from the defaults")


def shown(value: Any) -> str:
    return "null" if value is None else str(value)


def split_counts(run_dir: Path) -> dict[str, int]:
    path = run_dir / layout.SPLIT
    return dict(Counter(row["split"] for row in read_csv(path))) if path.exists() else {}


def data_section(run_dir: Path, settings: dict[str, Any], images: dict[str, int]) -> str:
    where = settings.get("data.root") or f"generated ({settings.get('data.kind')})"
    rows = [[{"train": "training", "val": "validation"}.get(name, name), n] for name, n in images.items()]
    return section(
        "Data",
        paragraph(f"{text(where)}; classes: {text(classes_of(settings))}"),
        table(["split", "images"], rows),
        picture(
            run_dir / layout.PLOTS / "data.png",
            "training images, and below them the same with their labels in colour",
            "Training images as the network gets them in its first epoch, with their labels",
        ),
    )


def classes_of(settings: dict[str, Any]) -> str:
    classes = settings.get("data.classes")
    return ", ".join(map(str, classes)) if isinstance(classes, list) else str(classes)


def curves_section(run_dir: Path, settings: dict[str, Any], status: dict[str, Any]) -> str:
    best = int(status.get("best_epoch") or 0)
    figure = curves_figure(run_dir, str(settings.get("trainer.monitor")), best)
    if figure is None:
        return ""
    alt = "four curves over epochs: loss, Dice and IoU of training and validation, and the learning rate"
    return section("Training", drawing(as_svg(figure), f"{alt}; epoch {best} is the best"))


def tables_of(run_dir: Path) -> list[tuple[str, ImageTable]]:
    """The scores of images that a run has: of its best epoch, and of each evaluation."""
    found = []
    own = images_or_none(run_dir)
    if own is not None:
        found.append((f"validation images, epoch {own.epoch}", own))
    for path in sorted(run_dir.glob(f"evaluation/*/{layout.IMAGES}")):
        if own is None or path != own.source:
            found.append((f"{path.parent.name} (task=evaluate)", ImageTable(path, read_csv(path), None)))
    return found


def scores_table(title: str, images: ImageTable) -> str:
    """Means over images with their intervals, of this network."""
    rows = []
    groups = groups_of(images)
    several = len(set(groups.values())) > 1
    for name, words in SCORE_WORDS:
        if name not in images.scores:
            continue
        values = {n: v for n, v in column(images, name).items() if not math.isnan(v)}
        if values:
            units = [groups[n] if several else n for n in values]
            one = mean_of_images(as_array(list(values.values())), units)
            interval = "too few images" if math.isnan(one.low) else f"{one.low:.4f} to {one.high:.4f}"
            rows.append([words, f"{one.mean:.4f}", interval])
    caption = f"{title}: means over {counted(len(images.rows), 'image')}; intervals of this one network"
    return table(["score", "mean", "95 % interval"], rows, caption)


def as_array(values: list[float]) -> Any:
    import numpy as np

    return np.array([values])


def class_table(run_dir: Path, status: dict[str, Any]) -> str:
    """Each class in the best epoch, over all pixels."""
    path = run_dir / layout.METRICS
    rows = read_csv(path) if path.exists() else []
    of_best = [r for r in rows if r["split"] == "val" and r["epoch"] == str(status.get("best_epoch"))]
    if not of_best:
        return ""
    best: Row = of_best[0]
    names = [key.removeprefix("dice_") for key in best if key.startswith("dice_")]
    metrics = ("dice", "iou", "precision", "recall")
    cells = [[name, *(number(best.get(f"{metric}_{name}", "")) for metric in metrics)] for name in names]
    return table(["class", *metrics], cells, "Classes, over all pixels of the validation images")


def number(value: str) -> str:
    try:
        return f"{float(value):.4f}"
    except ValueError:
        return "-"


def pictures_section(run_dir: Path) -> str:
    alt = "worst and best validation images: input, label, prediction, errors in red and blue"
    own = images_or_none(run_dir)
    worst: list[list[object]] = []
    if own is not None and len(own.rows) > 1:
        ranked = sorted(own.rows, key=lambda row: float(row["dice"] or "nan"))
        worst = [[row["name"], number(row["dice"]), number(row["iou"])] for row in ranked[:MOST_IMAGES]]
    objects = sorted(run_dir.glob("evaluation/*/worst_objects.png"))
    return section(
        "Best and worst images",
        picture(run_dir / layout.PLOTS / "samples.png", alt, "The worst images above, the best below"),
        table(["image", "Dice", "IoU"], worst, "The worst validation images"),
        *(
            picture(path, "objects that were missed, split or merged", f"Objects, {path.parent.name}")
            for path in objects[:2]
        ),
    )


def provenance_section(run_dir: Path, environment: dict[str, Any], status: dict[str, Any]) -> str:
    """Where it ran and what repeats it."""
    git = environment.get("git") or {}
    packages = environment.get("packages") or {}
    rows = [
        ["code", str(git.get("commit") or environment.get("code_sha256", ""))[:12] or "-"],
        ["changes since the commit", git.get("patch") or "none"],
        ["machine", environment.get("cpu", "-")],
        [
            "device",
            f"{environment.get('device', '-')}, {counted(int(environment.get('threads') or 0), 'thread')}",
        ],
        ["time", duration(float(status.get("seconds") or 0.0))],
        [
            "Python, torch, numpy",
            f"{environment.get('python')}, {packages.get('torch')}, {packages.get('numpy')}",
        ],
    ]
    where = shown_path(run_dir)
    commands = [
        f"the same settings again: {code(f'python run.py from_run={where}')}",
        f"prove every step: {code(f'python run.py task=reproduce run={where}')}",
        (
            f"train longer: {code(f'{resume_command(run_dir)} epochs=NUMBER')}"
            if status.get("state") == "finished"
            else f"go on: {code(resume_command(run_dir))}"
        ),
    ]
    return section("Provenance", table(["", "this run"], rows) if environment else "", bullets(commands))


def methods_section(settings: dict[str, Any], images: dict[str, int], environment: dict[str, Any]) -> str:
    device = str(environment.get("cpu") or environment.get("device") or "an unknown machine")
    if str(environment.get("device", "")).startswith("cuda"):
        device = str((environment.get("chip") or {}).get("name") or "a GPU")
    packages = environment.get("packages") or {}
    words, sources = methods.training_sentences(settings, images, packages, device)
    sources += ["dice"]
    return section(
        "Methods",
        paragraph(
            text(
                f"{words} Scores are means over images, with 95 % intervals by Student's t over images "
                "(of this network; the luck of training is not in them)."
            )
        ),
        bullets([text(source) for source in methods.citations(sources)]),
    )
