"""A trained run as one object that takes images: no config, no files, no Hydra."""

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unet_exp.config.label_map import Colour
from unet_exp.data.channels import as_channels
from unet_exp.data.formats import Source, read_window, row_blocks
from unet_exp.data.stats import Values, Watch, finite_unit
from unet_exp.errors import DataError, ModelError
from unet_exp.inference import given
from unet_exp.inference.any_size import OTHER_DEPTH
from unet_exp.inference.tiles import Tiling, receptive_radius, unet_margin
from unet_exp.inference.tiling import Network, Write, predict_tiles
from unet_exp.losses import class_probabilities
from unet_exp.models.unet import UNet
from unet_exp.objects.cells import find_cells, repaired
from unet_exp.objects.joining import Joining
from unet_exp.objects.rules import Rule, objects_of
from unet_exp.sizes import nearest_sizes, output_size
from unet_exp.training.machine import Precision

log = logging.getLogger("unet_exp")


@dataclass(frozen=True)
class Predictor:
    """Networks of one or several runs (an ensemble: their probabilities are averaged) and what they expect.

    statistics: each network's mean and std, as Normalization has them ("image": of each whole image).
    thresholds: class 1 of two is where its probability is above; plain, and with tta, unless `threshold` says
    otherwise. tile, overlap: see tiles. batch, tta, symmetries: see tiling. seen: what the training images
    held, of each run that keeps it. data_channels: what data.channels makes of grey and colour images.
    object_rules: how objects are made of maps, plain and with tta; None for a run on classes. engines: what
    computes the networks, where it is not torch.
    """

    networks: list[nn.Module]
    precision: Precision
    classes: list[str]
    palette: list[Colour]
    channels: int
    statistics: list[tuple[Any, Any]]
    logits_per_pixel: int
    thresholds: tuple[float, float]
    tile: int
    overlap: float
    batch: int
    tta: bool
    symmetries: str
    threshold: float | None = None
    seen: list[Values] = dataclasses.field(default_factory=list)
    data_channels: str = "stored"
    object_rules: tuple[Rule, Rule] | None = None
    engines: list[Any] | None = None  # Engine

    @property
    def cut(self) -> float:
        """The threshold in use."""
        return self.thresholds[self.tta] if self.threshold is None else self.threshold

    def predict(self, image: Any) -> np.ndarray:
        """Class indices uint8 H x W of one image.

        image: the path of a file with one image (str or Path), read as training reads it; or an array H x W
        or H x W x C as it is stored: uint8 (white is 255), uint16 (white is 65535), floats (taken as they
        are, in the unit of the training images) or bool (true is white), in any memory layout and byte order;
        also a torch tensor H x W or H x W x C, a PIL image, or nested lists of such values.
        Raises DataError for other channels, channels in front, integers of other types (convert them, since
        nobody knows what white is), several images at once, and nan or infinity. Values far from those of the
        training images are warned about in one line.
        """
        return self.classes_of(self.probabilities(image))

    def probabilities(self, image: Any) -> np.ndarray:
        """float32 K x H x W for K classes, summing to 1; image as in predict."""
        array, name = given.opened(image, self.data_channels)
        result = np.empty((len(self.classes), *array.shape[:2]), np.float32)

        def write(top: int, rows: np.ndarray) -> None:
            result[:, top : top + rows.shape[1]] = rows

        remark = self.predict_rows(array, write, name=name)
        if remark is not None:
            log.warning("%s", remark)
        return result

    @property
    def object_rule(self) -> Rule:
        """The rule in use, of a run on objects. Raises ModelError for another."""
        if self.object_rules is None:
            raise ModelError(
                "this run was trained on classes, so it finds no objects",
                do="train with data.labels_are=objects, or cells with trainer.learn_borders=true",
            )
        return self.object_rules[self.tta]

    def objects(self, image: Any) -> np.ndarray:
        """Object numbers int32 H x W of one image, 0 for none; image as in predict.

        Raises ModelError for a run that was not trained on objects.
        """
        rule = self.object_rule
        return objects_of(self.probabilities(image), rule)

    def repaired(self, image: Any) -> np.ndarray:
        """float32 H x W: the probability of the interior, changed so that any threshold gives the cells.

        Raises ModelError for a run without trainer.learn_borders.
        """
        rule = self.object_rule
        if not isinstance(rule, Joining):
            raise ModelError("this run has not learnt borders of cells", do="trainer.learn_borders=true")
        interior = self.probabilities(image)[1]
        return repaired(interior, *find_cells(interior, rule))

    def classes_of(self, probabilities: np.ndarray) -> np.ndarray:
        """Class indices uint8 H x W of probabilities K x H x W."""
        if len(self.classes) == 2:
            return np.asarray(probabilities[1] > self.cut, np.uint8)
        return np.asarray(probabilities.argmax(0), np.uint8)

    def predict_rows(
        self,
        image: Source,
        write: Write,
        progress: Callable[[int], None] | None = None,
        name: str = "the image",
    ) -> str | None:
        """Probabilities of an opened image, K x h x W from row `top` on, handed to write(top, rows) in order.

        The image is read by windows and never held as a whole. Returns a line to warn with, where its values
        are far from those of the training images. Raises DataError.
        """
        if image.shape[2] in (1, 3):
            image = as_channels(image, self.data_channels, name)
        if image.shape[2] != self.channels:
            raise given.misfit(name, image.shape, self.channels)
        size = (image.shape[0], image.shape[1])
        of_image = statistics_of(image, name) if ("image", "image") in self.statistics else None
        watch = Watch(self.seen)

        def read(rows: slice, columns: slice) -> np.ndarray:
            unit = finite_unit(read_window(image, (rows, columns), name), image, name)
            watch.look(unit)
            return unit

        def write_numbers(top: int, rows: np.ndarray) -> None:
            if not np.isfinite(rows).all():
                raise DataError(
                    f"the network returns nan or infinity for {name}, whose values are {watch.low:.3g} to "
                    f"{watch.high:.3g}",
                    do="convert it to the unit of the training images",
                )
            write(top, rows)

        def run(group: "Predictor", write: Write) -> None:
            networks = group.forwards(of_image)
            options: dict[str, Any] = {"batch": self.batch, "tta": self.tta, "symmetries": self.symmetries}
            predict_tiles(networks, read, size, write, group.tiling(), progress=progress, **options)

        groups = self.groups()
        if len(groups) == 1:
            run(groups[0], write_numbers)
        else:
            self.write_mean(groups, run, size, write_numbers)
        return watch.remark(name, image.dtype)

    def write_mean(
        self,
        groups: Sequence["Predictor"],
        run: Callable[["Predictor", Write], None],
        size: tuple[int, int],
        write: Write,
    ) -> None:
        """The mean over all networks of these groups; the sums lie in a temporary file."""
        with tempfile.TemporaryFile() as file:
            sums = np.memmap(file, np.float32, "w+", shape=(len(self.classes), *size))
            for group in groups:
                share = np.float32(len(group.networks) / len(self.networks))
                is_last = group is groups[-1]

                def add(top: int, rows: np.ndarray, share: Any = share, is_last: bool = is_last) -> None:
                    place = sums[:, top : top + rows.shape[1]]
                    if is_last:
                        write(top, rows * share + place)
                    else:
                        place += rows * share

                run(group, add)

    def forwards(self, of_image: tuple[np.ndarray, np.ndarray] | None) -> list[Network]:
        """The networks as functions of tiles. of_image: mean and std of this image, where they are used."""
        for network in self.networks:
            network.eval()
        computed: Sequence[Callable[[Tensor], Tensor]] = self.engines or self.networks
        return [
            self.forward(model, *(of_image if of_image is not None and mean == "image" else (mean, std)))
            for model, (mean, std) in zip(computed, self.statistics, strict=True)
        ]

    def forward(self, model: Callable[[Tensor], Tensor], mean: Any, std: Any) -> Network:
        """Tiles N x C x h x w in [0, 1] to probabilities N x K x h x w, in the run's precision."""
        shift, scale = (
            torch.tensor(np.asarray(value, np.float32)).reshape(-1, 1, 1) for value in (mean, std)
        )
        scale = torch.where(scale == 0, 1.0, scale)

        def forward(tiles: Tensor) -> Tensor:
            with torch.inference_mode(), self.precision.autocast():
                logits = model(self.precision.to_device((tiles - shift) / scale)).float()
            return class_probabilities(logits)

        return forward

    def groups(self) -> list["Predictor"]:
        """One for each margin that networks have: those of another margin need other tiles."""
        of_margin: dict[int, list[int]] = {}
        for index, model in enumerate(self.networks):
            margin = unet_margin(model.halvings, model.padding) if isinstance(model, UNet) else 0
            of_margin.setdefault(margin, []).append(index)
        return [
            self.with_options(
                networks=[self.networks[index] for index in indices],
                statistics=[self.statistics[index] for index in indices],
                engines=self.engines and [self.engines[index] for index in indices],
            )
            for indices in of_margin.values()
        ]

    def count_tiles(self, size: tuple[int, int]) -> int:
        """How many tiles predict_rows will report for an image of this height and width."""
        return sum(group.tiling().count(size) for group in self.groups())

    def tiling(self) -> Tiling:
        """How the networks of one group cut an image: as the one that halves it most often needs."""
        model = max(self.networks, key=lambda network: getattr(network, "halvings", OTHER_DEPTH))
        if not isinstance(model, UNet):
            multiple = 2**OTHER_DEPTH
            tile = -(-self.tile // multiple) * multiple
            return Tiling(tile, self.overlap, margin=0, multiple=multiple, halo=0)
        depth = model.halvings
        padding = model.padding
        tile = self.tile
        if output_size(tile, depth, padding) is None:
            tile = nearest_sizes(tile, depth, padding)[0]
        radii = [
            receptive_radius(network.depth, network.upsample, padding, network.stride)
            for network in self.networks
            if isinstance(network, UNet)
        ]
        halo = min(max(radii), tile // 4)
        return Tiling(tile, self.overlap, unet_margin(depth, padding), multiple=2**depth, halo=halo)

    def with_options(self, **options: Any) -> "Predictor":
        """The same with other threshold, tile, overlap, batch or tta."""
        return dataclasses.replace(self, **options)


def statistics_of(image: Source, name: str) -> tuple[np.ndarray, np.ndarray]:
    """mean and std of each channel of a whole image in the unit of to_unit, read by rows."""
    count = image.shape[0] * image.shape[1]
    sums = np.zeros(image.shape[2])
    squares = np.zeros(image.shape[2])
    for window in row_blocks(image.shape):
        unit = finite_unit(read_window(image, window, name), image, name).astype(np.float64)
        sums += unit.sum((0, 1))
        squares += (unit**2).sum((0, 1))
    mean = sums / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))
