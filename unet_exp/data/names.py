"""File names: their order, when two are equal, which mean train, val or test. Standard library only."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from unet_exp.config.paths import decoded, is_utf8
from unet_exp.config.schema import SPLIT
from unet_exp.errors import DataError
from unet_exp.messages import counted

SPLITS = ("train", "val", "test")
SPELLINGS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
Key = Callable[[str], object]
# Formats that are not read, and what to save them as; the last hold outlines or tables, not images.
OTHER_PICTURES = {
    **dict.fromkeys((".gif", ".webp", ".jp2", ".j2k", ".heic", ".avif", ".ppm", ".pgm", ".tga"), "png"),
    **dict.fromkeys((".dcm", ".dicom", ".nii", ".nii.gz", ".nrrd", ".mha"), "tif or npy, slice by slice"),
    **dict.fromkeys((".czi", ".nd2", ".lif", ".svs", ".h5", ".hdf5", ".mat"), "tif or npy"),
}
OUTLINES = dict.fromkeys((".json", ".xml", ".txt", ".svg"), "png masks, drawn from their outlines")
IGNORED_FILES = ("thumbs.db", "desktop.ini")
LABEL_WORDS = ("label", "lbl", "mask", "gt", "truth", "seg", "annot", "target", "manual")
IMAGE_WORDS = ("image", "img", "jpeg", "photo", "raw", "input", "original", "picture", "frame", "volume")
WORD_OF = {word: split for split, words in SPELLINGS.items() for word in words}
ANY_PART = "|".join(sorted(WORD_OF, key=len, reverse=True))
A_SPLIT = re.compile(rf"(?<![A-Za-z])(?i:{ANY_PART})(?![A-Za-z])")  # train, images_train, 2train
BEGINS_WITH_SPLIT = re.compile(rf"(?<![A-Za-z])(?i:{ANY_PART})")  # trainannot, but testis as well


def below(path: Path, root: str | None) -> str:
    """The path from `root` on (None: from here), with / between its parts, ../ where it lies elsewhere."""
    text = path.as_posix()
    start = f"{Path(root).as_posix()}/" if root else ""
    if start and text.startswith(start) and "/../" not in text:
        return text[len(start) :]  # a tenth of relpath's time, of each of many files
    return Path(os.path.relpath(path, root or "")).as_posix()


def split_named(word: str) -> str | None:
    """The split that a word means, in any case: 'Validation' is val. None for any other word."""
    return next((split for split, words in SPELLINGS.items() if word.strip().lower() in words), None)


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts slice 2 before slice 10. Only decimal digits count: m² has no number."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def composed(name: str) -> str:
    """The name in one Unicode form: macOS stores an accent, or a Korean letter, in pieces."""
    return unicodedata.normalize("NFC", name)


def ends_with(stem: str, suffix: str) -> bool:
    """Whether a name ends so, in either of its Unicode forms."""
    return composed(stem).endswith(composed(suffix))


def as_stored(folder: Path, name: str) -> Path:
    """A path below a folder, each part in the Unicode form that it has on disk."""
    for part in Path(name).parts:
        if not os.path.lexists(folder / part) and folder.is_dir():
            part = next((one for one in os.listdir(folder) if composed(one) == composed(part)), part)
        folder = folder / part
    return folder


def numbered(name: str) -> tuple[tuple[int, str], ...]:
    """The name with its numbers as numbers: 7 and 007 are equal."""
    return tuple(natural(composed(name)))


def partners(images: dict[str, Path], labels: dict[str, Path], keys: Iterable[Key]) -> dict[str, str]:
    """Image name -> label name: the same name, else the first key under which both are equal.

    Raises DataError if several files of one side have the same key and one of them is needed.
    """
    label_of = {name: name for name in images if name in labels}
    for key in keys:
        alone = labels.keys() - label_of.values()
        if len(label_of) == len(images):
            break
        of_images = by_key(images, key)
        of_labels = by_key(labels, key)
        for name in [name for name in images if name not in label_of]:
            mine = of_images[key(name)]
            theirs = of_labels.get(key(name), [])
            for paths, several, other in ((images, mine, theirs), (labels, theirs, mine)):
                if len(several) > 1 and other:
                    both = " and ".join(sorted(str(paths[one]) for one in several))
                    raise DataError(
                        f"{both} differ only in leading zeros or in the Unicode form of a letter",
                        do="give each pair of image and label a name of its own",
                    )
            if theirs and theirs[0] in alone:
                label_of[name] = theirs[0]
    return label_of


def by_key(names: Iterable[str], key: Key) -> dict[object, list[str]]:
    groups: dict[object, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def ending(name: str) -> str:
    """'.png' of a.PNG, '.nii.gz' of a.nii.gz, '' of a."""
    match = re.search(r"(?<!^)(\.nii)?\.[^.]+$", name.lower())
    return match[0] if match else ""


def not_read(names: Iterable[str]) -> str:
    """What was skipped, as '6 .gif, such as 00.gif (save them as png), 1 .csv'; empty for no names."""
    names = list(names)
    endings = Counter(ending(name) or "without an extension" for name in names)
    words = []
    for kind, count in endings.most_common(5):
        example = next(name for name in names if (ending(name) or "without an extension") == kind)
        known = (OTHER_PICTURES | OUTLINES).get(kind)
        words.append(f"{count} {kind}" + f", such as {example} (save them as {known})" * (known is not None))
    return ", ".join(words)


def refuse_other_encodings(names: Iterable[str], where: str) -> None:
    """Raises DataError for names whose bytes are not UTF-8, as from an old Korean or Windows zip file."""
    wrong = [name for name in names if not is_utf8(name)]
    if wrong:
        raise DataError(
            f"{counted(len(wrong), 'name')} in {where} not in UTF-8, such as {decoded(wrong[0])}",
            do="rename them, for instance: convmv -f cp949 -t utf8 -r --notest DIR, or unpack the archive "
            "again with its encoding: unzip -O cp949 FILE",
        )


def has_word(path: str, words: tuple[str, ...]) -> bool:
    return any(word in path.lower() for word in words)


def with_split(path: str, names: re.Pattern[str]) -> tuple[str, str]:
    """The path with {split} in place of the last split that it names, and this split; '' if it names none."""
    pieces = PurePosixPath(path).parts
    exact = [WORD_OF[piece.lower()] for piece in pieces if piece.lower() in WORD_OF]
    inside = [WORD_OF[word[0].lower()] for piece in pieces for word in names.finditer(piece)]
    split = ["", *inside, *exact][-1]

    def in_its_place(word: re.Match[str]) -> str:
        return SPLIT if WORD_OF[word[0].lower()] == split else word[0]

    named = [
        SPLIT if WORD_OF.get(piece.lower()) == split else names.sub(in_its_place, piece) for piece in pieces
    ]
    return (str(PurePosixPath(*named)), split) if split else (path, "")
