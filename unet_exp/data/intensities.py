"""Random changes of grey values and colours; the label stays. Each happens with its `probability`.

Nothing is clipped, and amounts are shares of what the image itself has, so that images of any range of values
can be used. Ranges are drawn from evenly. Arguments: config.components.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from unet_exp.config import components
from unet_exp.data.transforms import Sample
from unet_exp.data.warp import resample


class Intensity:
    """A change of the image alone, with a probability."""

    probability: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        return sample | {"input": self.changed(sample["input"], rng)}

    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """float32 H x W x C of the same."""
        raise NotImplementedError


def between(limits: Sequence[float], rng: np.random.Generator) -> float:
    low, high = limits
    return float(rng.uniform(low, high))


class RandomGamma(Intensity, components.RandomGammaConfig):
    """value ** gamma on the image's own range, every other time of the inverted image."""

    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        gamma = between(self.gamma, rng)
        inverted = rng.random() < 0.5
        low = image.min()
        high = image.max()
        unit = (image - low) / max(high - low, np.finfo(np.float32).tiny)
        unit = 1 - unit if inverted else unit
        unit **= np.float32(gamma)
        return np.asarray(low + (1 - unit if inverted else unit) * (high - low))


class RandomBrightness(Intensity, components.RandomBrightnessConfig):
    """value + shift; the shift is a share of the image's range of values."""

    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.asarray(image + np.float32(between(self.shift, rng) * np.ptp(image)))


class RandomContrast(Intensity, components.RandomContrastConfig):
    """Distance from the mean of each channel, times a factor."""

    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mean = image.mean((0, 1), keepdims=True)
        return np.asarray(mean + (image - mean) * np.float32(between(self.factor, rng)))


class RandomNoise(Intensity, components.RandomNoiseConfig):
    """Gaussian noise; its standard deviation is drawn as a share of the image's own."""

    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        share = between(self.share, rng)
        noise = rng.standard_normal(image.shape, np.float32)
        return np.asarray(image + noise * np.float32(share * image.std()))


class RandomBlur(Intensity, components.RandomBlurConfig):
    """A Gaussian of standard deviation `sigma` pixels."""

    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sigma = between(self.sigma, rng)
        return np.asarray(ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="mirror"))


class RandomLowResolution(Intensity, components.RandomLowResolutionConfig):
    """Reduced to a share `zoom` of its height and width by the nearest pixels and enlarged bicubically."""

    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        zoom = between(self.zoom, rng)
        lengths = image.shape[:2]
        sizes = [max(2, round(length * zoom)) for length in lengths]
        places = [
            np.rint(np.linspace(0, length - 1, size)).astype(int)
            for length, size in zip(lengths, sizes, strict=True)
        ]
        axes = [
            np.linspace(0, size - 1, length, dtype=np.float32)
            for length, size in zip(lengths, sizes, strict=True)
        ]
        rows, columns = np.meshgrid(*axes, indexing="ij")
        return resample(image[np.ix_(*places)], rows, columns, "bicubic")
