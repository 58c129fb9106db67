"""What a best epoch would score on images that had no say in choosing it."""

from collections.abc import Sequence

import numpy as np


def left_out_scores(
    validations: np.ndarray, groups: Sequence[str], smoothing: float = 0.0, lower: bool = False
) -> np.ndarray:
    """float images: each image's score in the epoch that the other groups' images would have chosen.

    The best epoch's own scores are too good: of many validations the highest is chosen, luck included, and
    more so the more there are. An image that was left out of the choice brings no luck into it, as in
    cross-validation. validations: float epochs x images, without nan. groups: a name for each image.
    smoothing, lower: as trainer.smoothing, and whether a lower score is better."""
    places = np.unique(list(groups), return_inverse=True)[1]
    num_groups = int(places.max()) + 1
    if num_groups < 2:
        return np.asarray(validations[best_epoch(validations.mean(1), smoothing, lower)], float)
    scores = np.empty(validations.shape[1])
    total = validations.sum(1)
    for group in range(num_groups):
        left_out = places == group
        others = (total - validations[:, left_out].sum(1)) / (~left_out).sum()
        scores[left_out] = validations[best_epoch(others, smoothing, lower), left_out]
    return scores


def best_epoch(scores: np.ndarray, smoothing: float = 0.0, lower: bool = False) -> int:
    """The index of the best score, of equal ones the first; by a moving average as trainer.smoothing has
    it."""
    signed = -scores if lower else scores
    smoothed = np.array(signed, float)
    for index in range(1, len(smoothed)):
        smoothed[index] = smoothing * smoothed[index - 1] + (1 - smoothing) * signed[index]
    return int(smoothed.argmax())
