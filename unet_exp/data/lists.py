"""Lists of files: a csv with the columns image,label, and why a row of it can't be used."""

import csv
import logging
import os
from collections import Counter
from pathlib import Path

from unet_exp.config.schema import DataConfig
from unet_exp.data.items import Item, listing, pages_of
from unet_exp.data.mask_folders import with_masks
from unet_exp.data.names import SPLITS, as_stored, composed, refuse_other_encodings, split_named
from unet_exp.errors import DataError
from unet_exp.messages import counted, shortened_lines

log = logging.getLogger("unet_exp")
MOST_PROBLEMS = 10
LEFT_OUT = "unlabelled"  # in the column split of a run's own split.csv: an image without a label
Row = dict[str, str]


def csv_items(folder: Path, data: DataConfig, left_out: list[Path] | None = None) -> list[Item]:
    """The rows of a csv list: image,label (paths from data.root), and perhaps split and group.

    A label may be a folder of masks, one for each object, if data.labels_are=objects. left_out: receives the
    images without a label if data.unlabelled=skip. Raises DataError naming the lines that can't be used.
    """
    path = as_stored(folder, data.csv)
    columns, rows = read_list(path, folder)
    masks = data.labels_are == "objects"
    items: list[Item] = []
    problems: list[tuple[int, str, Row]] = []
    skipped: list[Path] = []
    num_moved = 0
    for number, row in rows:
        split = split_named(row["split"]) if "split" in columns else None
        listed = Path(row["image"])
        name = listed.with_suffix("").as_posix() if listed.name else ""
        num_moved += find_moved(row, folder)
        image = folder / row["image"]
        may_lack = data.unlabelled == "skip" or row.get("split") == LEFT_OUT
        problem = problem_of(row, folder, columns, masks)
        if row["image"].strip() and not row["label"].strip() and may_lack:
            skipped.append(image)
        elif problem is not None:
            problems.append((number, problem, row))
        else:
            items.append(Item(name, image, folder / row["label"], split=split, group=row.get("group")))
    if problems:
        raise unusable(path, problems)
    if num_moved:
        gone = counted(num_moved, "whole path")
        log.info("%s: %s no longer there, read below %s instead", path, gone, folder)
    say_what_is_doubled(path, rows)
    refuse_other_encodings((item.name for item in items), str(path))
    if left_out is not None:
        left_out += skipped
    items = with_masks(items) if masks else items
    return [page for item in items for page in pages_of(item)]


def read_list(path: Path, folder: Path) -> tuple[list[str], list[tuple[int, Row]]]:
    """As read_rows, of a list of images and labels. Raises DataError for a file that is none."""
    if not path.is_file():
        raise DataError(
            f"{path} is not there",
            allowed=f"found in {folder}: {listing(folder)}",
            do="name it: data.csv=FILE",
        )
    columns, rows = read_rows(path)
    if not {"image", "label"} <= set(columns):
        raise DataError(
            f"{path} has the columns {', '.join(columns) or 'none'}",
            allowed="image,label and perhaps split (train, val, test) and group, named in the first line",
        )
    if not rows:
        raise DataError(f"{path} has no rows below its first line", do="name an image and its label in each")
    return columns, rows


def find_moved(row: Row, folder: Path) -> int:
    """Replace absolute paths that are gone by where their files are now; returns how many."""
    num_moved = 0
    for key in ("image", "label"):
        now = where_now(row[key], folder)
        num_moved += now != row[key]
        row[key] = now
    return num_moved


def problem_of(row: Row, folder: Path, columns: list[str], masks: bool) -> str | None:
    """Why a row can't be used, or None. masks: a label may be a folder of masks."""
    if "" in row:
        return f"has more cells than the first line: {row['']}"
    if not row["image"].strip() or not row["label"].strip():
        return f"names no {'label' if row['image'].strip() else 'image'}"
    is_label = os.path.exists if masks else os.path.isfile
    if not os.path.isfile(folder / row["image"]) or not is_label(folder / row["label"]):
        return why_missing(row, folder)
    if "split" in columns and split_named(row["split"]) is None:
        return f"split is {row['split'] or None!r}; allowed: {', '.join(SPLITS)}"
    return None


def unusable(path: Path, problems: list[tuple[int, str, Row]]) -> DataError:
    """The error for a list with these lines, each with its number and its problem."""
    lines = [f"  line {number}: {problem}" for number, problem, _ in problems]
    lines = shortened_lines(lines, MOST_PROBLEMS)
    lacks = any("" not in row and row["image"].strip() and not row["label"].strip() for _, _, row in problems)
    return DataError(
        "\n".join([f"{path} can't be used", *lines]),
        do="name a label, or leave rows without one out: data.unlabelled=skip" if lacks else "",
    )


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, Row]]]:
    """The columns, and each row with its line number; rows of empty cells are skipped.

    Surplus cells of a row are under the key "". Raises DataError for a file that is not csv.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header = next((line for line in file if line.strip(",;\t \r\n")), "")
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=header.count))
            filled = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read: {error}", do="save it as UTF-8 text") from error
    columns = [cell.strip() for cell in filled[0][1]] if filled else []
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise DataError(f"{path} has two columns {twice[0]}", do="keep one of them")
    rows = []
    for number, cells in filled[1:]:
        more = [cell for cell in cells[len(columns) :] if cell.strip()]
        cells = cells + [""] * (len(columns) - len(cells))
        row = {name: cell for name, cell in zip(columns, cells, strict=False) if name}
        rows.append((number, row | ({"": ", ".join(more)} if more else {})))
    return [name for name in columns if name], rows


def has_splits(path: Path) -> bool:
    """Whether a list has a column split."""
    return path.is_file() and "split" in read_rows(path)[0]


def where_now(cell: str, folder: Path) -> str:
    """For an absolute path that is gone: its tail, if that is a file below the folder (after a move)."""
    path = Path(cell)
    if not path.is_absolute() or os.path.isfile(path):
        return cell
    ends = (Path(*path.parts[first:]) for first in range(1, len(path.parts)))
    return next((str(end) for end in ends if os.path.isfile(folder / end)), cell)


def say_what_is_doubled(path: Path, rows: list[tuple[int, Row]]) -> None:
    """Log one line if a pair is listed more than once, since it is then trained on as often."""
    first: dict[tuple[str, str], int] = {}
    again = [
        (number, before)
        for number, row in rows
        if (before := first.setdefault((row["image"], row["label"]), number)) != number
    ]
    if again:
        what = "1 row repeats" if len(again) == 1 else f"{len(again)} rows repeat"
        log.info("%s: %s an earlier one, such as line %d (line %d)", path, what, *again[0])


def why_missing(row: Row, folder: Path) -> str:
    """Why the files of a row are missing, as 'DIR/a.png is not there; A.png is there: capitals differ'."""
    gone = [row[key] for key in ("image", "label") if not os.path.isfile(folder / row[key])]
    near = [text for cell in gone if (text := nearest(cell, folder))]
    shown = [str(folder / (cell if len(cell) < 200 else f"{cell[:60]}...")) for cell in gone]
    return "; ".join([f"{' and '.join(shown)} is not there", *near])


def nearest(cell: str, folder: Path) -> str:
    """The existing file with nearly this name, and how the list differs; empty if there is none."""
    if os.path.isdir(folder / cell):
        return f"{cell} is a folder"
    if "://" in cell:
        return "it is a URL: download the file"
    cleaned = cell.strip().strip("'\"").strip()
    parts = [part for part in cleaned.replace("\\", "/").split("/") if part not in ("", ".")]
    for start in range(len(parts)):
        path = like(folder, parts[start:])
        if path is None:
            continue
        existing = path.relative_to(folder).as_posix()
        wanted = "/".join(parts[start:])
        reasons = {
            "the list has a space before or after it": cell.strip() != cell,
            "the list has quotes around it": cell.strip().strip("'\"") != cell.strip(),
            "the list has \\ instead of /": "\\" in cleaned,
            f"paths are taken from {folder}": start > 0 or cleaned.startswith("/"),
            "the Unicode form differs": composed(existing) == composed(wanted) and existing != wanted,
            "capitals differ": existing.lower() == wanted.lower() and existing != wanted,
            "extensions differ": os.path.splitext(existing)[1].lower() != os.path.splitext(wanted)[1].lower(),
        }
        return f"{existing} is there: {', '.join(reason for reason, holds in reasons.items() if holds)}"
    return ""


def like(folder: Path, parts: list[str]) -> Path | None:
    """The file of these names below the folder, in any case and Unicode form; else with another extension."""
    for part in parts[:-1]:
        folder = next((one for one in entries(folder) if alike(one.name) == alike(part)), folder / part)
    files = [one for one in entries(folder) if one.is_file()]
    for form in (alike, lambda name: alike(os.path.splitext(name)[0])):
        for one in files:
            if form(one.name) == form(parts[-1]):
                return one
    return None


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def alike(name: str) -> str:
    return composed(name).casefold()
