"""File values of a label to class indices. Nothing is guessed: what is not in the map stops the run."""

import numpy as np

from unet_exp.errors import DataError


def class_indices(label: np.ndarray, name: str) -> np.ndarray:
    """uint8 H x W x 1 with 0 and 1 of an H x W x C label that holds 0 and 1, or 0 and 255.

    Colour files count where all their channels agree. Raises DataError with the values and their counts.
    """
    if label.shape[2] > 1 and (label[..., 1:3] != label[..., :1]).any():
        raise DataError(
            f"label {name} is a colour image", allowed="one channel of 0 and 1, or of 0 and 255",
            do="save the label as a grey image",
        )  # fmt: skip
    label = label[..., :1]
    values, counts = np.unique(label, return_counts=True)
    if set(values.tolist()) <= {0, 1}:
        return label.astype(np.uint8)
    if set(values.tolist()) <= {0, 255}:
        return np.asarray(label == 255, dtype=np.uint8)
    shown = ", ".join(f"{value} ({count} px)" for value, count in list(zip(values, counts, strict=True))[:8])
    more = f" and {len(values) - 8} more" if len(values) > 8 else ""
    raise DataError(
        f"label {name} has values that are not binary: {shown}{more}",
        allowed="0 and 1, or 0 and 255",
        do="save it without smoothing or JPEG, as 0 for class 0 and 255 for class 1",
    )
