"""Opened labels: a file, of which a window is read and mapped, or a folder of masks, one for each object."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unet_exp.config.label_map import LabelMap
from unet_exp.data.formats import WHOLE, Source, open_array, read_array, read_window
from unet_exp.data.items import Item
from unet_exp.data.labels import class_indices, component_numbers, object_numbers, one_kind
from unet_exp.data.tiff import Window
from unet_exp.errors import DataError
from unet_exp.messages import counted


class ClassIndices:
    """The class indices of an opened label file, mapped when a window of it is read."""

    def __init__(self, source: Source, item: Item, labels: LabelMap) -> None:
        page = "" if item.page is None else f" page {item.page}"
        self.source = source
        self.path = item.label
        self.name = f"{item.label}{page}"
        self.labels = labels
        self.shape = source.shape

    def __getitem__(self, window: Window) -> np.ndarray:
        return class_indices(read_window(self.source, window, self.path), self.name, self.labels)


class ObjectNumbers(ClassIndices):
    """The object numbers of an opened label file, int32 h x w x 1, read by window."""

    def __getitem__(self, window: Window) -> np.ndarray:
        return object_numbers(read_window(self.source, window, self.path), self.name)


class Components:
    """The connected pieces of an opened label file, numbered in the whole of it, int32 H x W x 1."""

    def __init__(self, source: Source, item: Item, labels: LabelMap) -> None:
        label = read_window(source, WHOLE, item.label)
        self.numbers = component_numbers(label, str(item.label), labels.object_value)
        self.shape = self.numbers.shape

    def __getitem__(self, window: Window) -> np.ndarray:
        return self.numbers[window]


class ObjectMasks:
    """Object numbers int32 H x W x 1 of masks: 1 where the first is not 0, 2 where the second is, and so on.

    A pixel of several masks belongs to the first of them; num_shared counts such pixels.
    Raises DataError for masks that can't be read or differ in size.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        first = read_mask(paths[0])
        self.numbers = first.astype(np.int32)[..., np.newaxis]
        self.shape = self.numbers.shape
        num_masks = first.astype(np.int32)
        for number, path in enumerate(paths[1:], start=2):
            mask = read_mask(path)
            if mask.shape != first.shape:
                raise DataError(
                    f"{path} is {mask.shape[0]} x {mask.shape[1]}, but {paths[0]}, a mask of the same image, "
                    f"is {first.shape[0]} x {first.shape[1]}",
                    do="export all masks at the size of their image",
                )
            self.numbers[mask & (num_masks == 0)] = number
            num_masks += mask
        self.num_shared = int((num_masks > 1).sum())

    def __getitem__(self, window: Window) -> np.ndarray:
        return self.numbers[window]


Label = ClassIndices | Components | ObjectMasks


def read_mask(path: Path) -> np.ndarray:
    """bool H x W: where a mask is not 0."""
    return np.asarray(one_kind(read_array(path, label=True), str(path)).any(axis=2))


def open_label(item: Item, labels: LabelMap) -> Label:
    """The label of a sample, read by window where it is one file. Raises DataError."""
    if item.masks:
        return ObjectMasks(item.masks)
    source = open_array(item.label, item.page, label=True)
    if labels.objects is None:
        return ClassIndices(source, item, labels)
    return (Components if labels.components else ObjectNumbers)(source, item, labels)


def about_shared(shared: Sequence[int]) -> str:
    """A line on the pixels of several masks, '' if there are none. shared: their number in each image."""
    several = [count for count in shared if count]
    if not several:
        return ""
    pixels = counted(sum(several), "pixel")
    images = counted(len(several), "image")
    return f"{pixels} of {images} lie in several masks; each counts for the first of these by name"
