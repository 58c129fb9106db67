"""How labels are named after their images: the same names, a suffix, or a regex."""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from unet_exp.data.names import composed

FIRST_NUMBER = r"(\d+)"
LAST_NUMBER = r"(\d+)\D*$"


@dataclass(frozen=True)
class Pairing:
    """How labels are named after images. count: pairs among the training files."""

    count: int
    suffix: str = ""
    regex: str | None = None


def pair(images: list[str], labels: list[str], together: bool) -> Pairing | None:
    """How these names pair; None if they do not. together: images and labels are in one folder."""
    stems = [[os.path.splitext(composed(name))[0] for name in names] for names in (images, labels)]
    of_images = set(stems[0])
    alike = len(of_images & set(stems[1]))
    if not together and alike >= 0.5 * min(map(len, stems)):
        return Pairing(alike)
    endings = Counter(
        stem[cut:]
        for stem in stems[1]
        for cut in range(1, len(stem))
        if stem[:cut] in of_images and re.search("[^0-9]", stem[cut:])
    )
    suffix, count = max(endings.items(), key=lambda pair: (pair[1], pair[0]), default=("", 0))
    if count >= 0.5 * min(len(stems[0]), len(stems[1]) / (1 + together)):
        return Pairing(count, suffix)
    return None if together else pair_by_affixes(stems[0], stems[1])


def pair_by_affixes(images: list[str], labels: list[str]) -> Pairing | None:
    """Pair names that differ in a prefix or suffix common to all images or all labels: img_1 and mask_1."""
    affixes = [(head(stems), tail(stems)) for stems in (images, labels)]
    cores = [
        {stem[len(before) : len(stem) - len(after)] for stem in stems}
        for stems, (before, after) in zip((images, labels), affixes, strict=True)
    ]
    count = len(cores[0] & cores[1] - {""})
    if count < 2 or count < 0.5 * min(map(len, cores)):
        return None
    before, after = ({re.escape(pair[i]) for pair in affixes} for i in (0, 1))
    return Pairing(count, regex=rf"^{one_of(before)}(.+?){one_of(after)}\.[^.]+$")


def one_of(words: set[str]) -> str:
    return f"(?:{'|'.join(sorted(words, reverse=True))})" if words != {""} else ""


def head(stems: list[str]) -> str:
    """The common prefix of all names, without digits at its end, which are part of a number."""
    least = min(stems)
    most = max(stems)
    same = next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), len(least))
    return re.sub(r"\d+$", "", least[:same])


def tail(stems: list[str]) -> str:
    return head([stem[::-1] for stem in stems])[::-1]


def numbers_that_pair(images: dict[str, Path], labels: dict[str, Path]) -> str | None:
    """The regex whose number gives each image one label, if there is one."""
    for regex in (FIRST_NUMBER, LAST_NUMBER):
        matches = [[re.search(regex, name) for name in names] for names in (images, labels)]
        numbers = [sorted(int(match[1]) for match in side if match) for side in matches]
        if numbers[0] == numbers[1] and len(set(numbers[0])) == len(images) == len(labels):
            return regex
    return None
