"""Random changes of grey values and colours; the label stays. Each happens with its `probability`.

Nothing is clipped, and amounts are shares of what the image itself has, so that images of any range of values
can be used. Ranges are drawn from evenly. Defaults of the arguments: config.components.
"""

import numpy as np
from scipy import ndimage

from unet_exp.data.transforms import Sample
from unet_exp.data.warp import resample

Range = tuple[float, float]


class RandomGamma:
    """value ** gamma on the image's own range, every other time of the inverted image."""

    def __init__(self, gamma: Range, probability: float) -> None:
        self.gamma = gamma
        self.probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        image = sample["input"]
        gamma = rng.uniform(*self.gamma)
        inverted = rng.random() < 0.5
        low = image.min()
        high = image.max()
        unit = (image - low) / max(high - low, np.finfo(np.float32).tiny)
        unit = 1 - unit if inverted else unit
        unit **= np.float32(gamma)
        return sample | {"input": low + (1 - unit if inverted else unit) * (high - low)}


class RandomBrightness:
    """value + shift; the shift is a share of the image's range of values."""

    def __init__(self, shift: Range, probability: float) -> None:
        self.shift = shift
        self.probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        image = sample["input"]
        share = rng.uniform(*self.shift)
        return sample | {"input": image + np.float32(share * np.ptp(image))}


class RandomContrast:
    """Distance from the mean of each channel, times a factor."""

    def __init__(self, factor: Range, probability: float) -> None:
        self.factor = factor
        self.probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        image = sample["input"]
        mean = sample["input"].mean((0, 1), keepdims=True)
        return sample | {"input": mean + (image - mean) * np.float32(rng.uniform(*self.factor))}


class RandomNoise:
    """Gaussian noise; its standard deviation is drawn as a share of the image's own."""

    def __init__(self, share: Range, probability: float) -> None:
        self.share = share
        self.probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        image = sample["input"]
        share = rng.uniform(*self.share)
        noise = rng.standard_normal(image.shape, np.float32)
        return sample | {"input": image + noise * np.float32(share * image.std())}


class RandomBlur:
    """A Gaussian of standard deviation `sigma` pixels."""

    def __init__(self, sigma: Range, probability: float) -> None:
        self.sigma = sigma
        self.probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        sigma = rng.uniform(*self.sigma)
        return sample | {"input": ndimage.gaussian_filter(sample["input"], (sigma, sigma, 0), mode="mirror")}


class RandomLowResolution:
    """Reduced to a share `zoom` of its height and width by the nearest pixels and enlarged bicubically."""

    def __init__(self, zoom: Range, probability: float) -> None:
        self.zoom = zoom
        self.probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        image = sample["input"]
        zoom = rng.uniform(*self.zoom)
        sizes = [max(2, round(length * zoom)) for length in image.shape[:2]]
        places = [
            np.linspace(0, length - 1, size) for length, size in zip(image.shape[:2], sizes, strict=True)
        ]
        small = image[np.ix_(*(np.rint(place).astype(int) for place in places))]
        rows, columns = np.meshgrid(
            *(
                np.linspace(0, size - 1, length, dtype=np.float32)
                for length, size in zip(image.shape[:2], sizes, strict=True)
            ),
            indexing="ij",
        )
        return sample | {"input": resample(small, rows, columns, "bicubic")}
