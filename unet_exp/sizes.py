"""The arithmetic of image sizes through a U-Net, without torch, so that a config can be checked by it."""


def output_size(size: int, depth: int, padding: str) -> int | None:
    """Height (or width) of the logits for an input of `size` pixels; None where it does not fit.

    padding="same": `size` itself, if 2**depth divides it. padding="valid": two 3x3 convolutions
    take 4 pixels at every level and each pooling needs an even size (Ronneberger et al., 2015, Fig. 1).
    """
    if padding == "same":
        return size if size > 0 and size % 2**depth == 0 else None
    for _ in range(depth):
        size -= 4
        if size <= 0 or size % 2:
            return None
        size //= 2
    size -= 4
    for _ in range(depth):
        size = 2 * size - 4
    return size if size > 0 else None


def nearest_sizes(size: int, depth: int, padding: str) -> list[int]:
    """The next smaller and larger sizes that fit, in that order; the smaller may not exist."""
    smaller = next((s for s in range(size - 1, 0, -1) if output_size(s, depth, padding)), None)
    larger = size + 1
    while output_size(larger, depth, padding) is None:
        larger += 1
    return [larger] if smaller is None else [smaller, larger]
