"""Random fields and local coordinates, of which synthetic images are made."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Field = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Rng = np.random.Generator
Window = tuple[slice, slice]


def noise(rng: Rng, size: int, scale: float) -> Field:
    """Smooth random field (size, size), mean about 0 and deviation about 1, grain ``scale`` px."""
    if scale < 2:
        white = rng.standard_normal((size, size), dtype=np.float32)
        fine: Field = ndimage.gaussian_filter(white, scale, mode="wrap")
        return fine * np.float32(2 * np.sqrt(np.pi) * scale)
    # Coarse values under a cubic B-spline cost far less than a wide blur.
    step = 1.5 * scale
    values = rng.standard_normal((int(size / step) + 5,) * 2, dtype=np.float32)
    whole, t = np.divmod(np.arange(size) / step + rng.random(), 1)
    taps = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    for _ in range(2):  # along one axis, then, transposed, along the other
        picked = np.stack([values[whole.astype(int) + k] for k in range(4)])
        values = (np.stack(taps).astype(np.float32)[:, :, None] * picked).sum(axis=0).T
    return values * np.float32(2.09 / 36)  # a B-spline evens out: back to deviation 1


def ramp(values: Field, low: float, high: float) -> Field:
    """0 up to low, 1 from high, smooth between."""
    t: Field = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    smooth: Field = t * t * (3 - 2 * t)
    return smooth


def window(at: tuple[float, float], reach: float, size: int) -> tuple[Window, Field, Field]:
    """The part of the slice within reach of a place, and each pixel's offset from there."""
    y, x = at
    y0, y1 = (int(np.clip(v, 0, size)) for v in (y - reach, y + reach + 1))
    x0, x1 = (int(np.clip(v, 0, size)) for v in (x - reach, x + reach + 1))
    v = (np.arange(y0, y1, dtype=np.float32) - np.float32(y))[:, None]
    u = (np.arange(x0, x1, dtype=np.float32) - np.float32(x))[None, :]
    return (slice(y0, y1), slice(x0, x1)), v, u


def turn(v: Field, u: Field, angle: float) -> tuple[Field, Field]:
    """Offsets (v, u) along and across a direction."""
    c = np.float32(np.cos(angle))
    s = np.float32(np.sin(angle))
    return u * c + v * s, v * c - u * s
