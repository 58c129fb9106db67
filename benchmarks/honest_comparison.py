"""Is the interval of task=compare right? Comparisons with known truth, beside other methods.

    python benchmarks/honest_comparison.py --pool outputs/pool.npy --device cuda --workers 8
    python benchmarks/honest_comparison.py --pool outputs/pool.npy

The first trains the pool, if there is none: a few minutes on an H100, a day or two on one core. The
comparisons take 20 minutes on one core. --seeds 4 --comparisons 20 is a short try.

The pool: five recipes of tiny U-Nets, each trained with 100 seeds and validated after each of 30 epochs on
1,000 drawn membranes. It is the population: a comparison draws trainings and images from it, independently
and with replacement, so the means over the whole pool are the truth. An interval is counted as right if it
holds the true difference. Shifting a recipe by a constant shifts every interval by it, so the chance of a
false verdict where nothing differs is the chance that the interval leaves out the truth.

Regimes: "none" (the mean of each training is made equal), "natural" (the best of 30 epochs by 100 other
images), "dominant" (deviations between trainings times 5), "best epoch" (30 validations against 3, the best
chosen by the images that are compared), "heavy tails" (best of 10 epochs, when some trainings have not
learned yet), "few vary more" and "few vary less" (natural, 3 trainings of one recipe against 10 of another:
the few vary twice as much, or half as much). Power is the share of a z test's that knows the variances,
where the latter's is 0.9 and 0.99.
"""

import argparse
import csv
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch.nn.functional import cross_entropy

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from unet_exp.data.synthetic import generate_membranes
from unet_exp.metrics.confusion import class_scores, confusion_per_image, predict_classes
from unet_exp.models.unet import UNet
from unet_exp.statistics.difference import difference, variance_of_trainings
from unet_exp.statistics.selection import best_epoch, left_out_scores

SIZE, TRAIN_IMAGES, TEST_IMAGES, BATCH, EPOCHS = 64, 24, 1000, 4, 30
CHOOSE = 100  # the last images of the pool choose the epoch, where other images do
RARE = np.array([9, 19, 29])  # a recipe that is validated three times
RESAMPLES = 400
BOOTSTRAPPED = 300  # comparisons for the bootstraps
SEEDS, IMAGES = (3, 5, 10), (10, 30, 100)
ORACLE = (0.9, 0.99)

Rng = np.random.Generator
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """One arm of the pool."""

    base: int
    lr: float
    images: int = TRAIN_IMAGES


ARMS = {
    "narrow": Recipe(4, 3e-3),
    "wide": Recipe(8, 3e-3),
    "fast": Recipe(4, 1e-2),
    "slow": Recipe(4, 1.5e-3),
    "half": Recipe(4, 3e-3, TRAIN_IMAGES // 2),
}
LEARNED = (0, 1, 2)  # the arms whose trainings all succeed by epoch 30
UNEQUAL = {
    "few vary more": (0, 1),
    "few vary less": (1, 0),
}  # trainings of narrow vary twice as much as of wide
MANY = 10  # trainings of the second recipe there


@dataclass(frozen=True)
class Cell:
    """One row of the plan. kind: "main", with all methods, or "small", with few images or trainings."""

    regime: str
    seeds: int
    images: int
    kind: str = "main"


@dataclass(frozen=True)
class Case:
    """One comparison: float trainings x images of two recipes, and the true differences, second less first.

    true: of means over the pool; of_images: over all trainings on these images; of_trainings: of these
    trainings on all images; of_medians: of medians over the pool. naive: the scores of the best epochs.
    """

    pair: tuple[int, int]
    first: np.ndarray
    second: np.ndarray
    true: float
    of_images: float = math.nan
    of_trainings: float = math.nan
    of_medians: float = math.nan
    naive: tuple[np.ndarray, np.ndarray] | None = None


# the pool


@cache
def membranes(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """float N1HW images and int64 NHW labels: the training images, then the test images."""
    indices = [(0, n) for n in range(TRAIN_IMAGES)] + [(1, n) for n in range(TEST_IMAGES)]
    drawn = [generate_membranes(series, index, SIZE) for series, index in indices]
    images = torch.from_numpy(np.stack([image for image, _ in drawn])).float()[:, None] / 255
    labels = torch.from_numpy(np.stack([label for _, label in drawn])).long()
    return ((images - 0.5) / 0.25).to(device), labels.to(device)


@torch.inference_mode()
def scored(net: UNet, images: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """The mean Dice of each image."""
    net.eval()
    found = []
    for start in range(0, len(images), 500):
        some = slice(start, start + 500)
        counts = confusion_per_image(predict_classes(net(images[some])), labels[some, None], 2)
        found.append(torch.nanmean(class_scores(counts)["dice"], 1).cpu())
    return torch.cat(found).numpy()


def train(job: tuple[int, int], device: str) -> tuple[int, int, np.ndarray]:
    """Arm, seed, and the scores after each epoch, float epochs x images. job: arm, seed."""
    arm, seed = job
    torch.set_num_threads(1)
    images, labels = membranes(device)
    recipe = list(ARMS.values())[arm]
    torch.manual_seed(1000 * arm + seed)
    net = UNet(in_channels=1, out_channels=2, base_channels=recipe.base, depth=2).to(device)
    optimizer = torch.optim.Adam(net.parameters(), recipe.lr)
    epochs = []
    for _ in range(EPOCHS):
        net.train()
        rounds = TRAIN_IMAGES // recipe.images
        order = torch.cat([torch.randperm(recipe.images) for _ in range(rounds)])
        for batch in order.reshape(-1, BATCH):
            loss = cross_entropy(net(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        epochs.append(scored(net, images[TRAIN_IMAGES:], labels[TRAIN_IMAGES:]))
    return arm, seed, np.stack(epochs)


def make_pool(file: Path, seeds: int, device: str, workers: int) -> None:
    """Train all arms with all seeds; write float16 arms x seeds x epochs x images."""
    pool = np.zeros((len(ARMS), seeds, EPOCHS, TEST_IMAGES), np.float16)
    jobs = [(arm, seed) for seed in range(seeds) for arm in range(len(ARMS))]
    with get_context("spawn").Pool(workers) as processes:
        trained = processes.imap_unordered(partial(train, device=device), jobs)
        for number, (arm, seed, scores) in enumerate(trained, 1):
            pool[arm, seed] = scores
            print(f"\rtraining {number} of {len(jobs)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, pool)


@cache
def load_pool(file: Path) -> np.ndarray:
    """float arms x seeds x epochs x images."""
    pool: np.ndarray = np.load(file).astype(float)
    return pool


# draws


def best_of(pool: np.ndarray, arm: int, epochs: int) -> np.ndarray:
    """float seeds x images: each training in the best of its first epochs, chosen by the last images."""
    chosen = pool[arm, :, :epochs, -CHOOSE:].mean(2).argmax(1)
    scores: np.ndarray = pool[arm, np.arange(pool.shape[1]), chosen, :-CHOOSE]
    return scores


def spread_out(scores: np.ndarray, factor: float) -> np.ndarray:
    """The deviations between the means of the trainings times a factor; 0: none is left."""
    moved: np.ndarray = scores + (factor - 1) * (scores.mean(1, keepdims=True) - scores.mean())
    return moved


def populations(pool: np.ndarray, regime: str) -> list[np.ndarray]:
    """float seeds x images of each arm of this regime."""
    if regime == "heavy tails":
        return [best_of(pool, arm, 10) for arm in range(len(pool))]
    factor = {"none": 0.0, "dominant": 5.0}.get(regime, 1.0)
    return [spread_out(best_of(pool, arm, EPOCHS), factor) for arm in LEARNED]


def cases(rng: Rng, pool: np.ndarray, cell: Cell, count: int) -> Iterator[Case]:
    """Comparisons of a regime whose epochs other images chose."""
    arms = populations(pool, cell.regime)
    means = [float(arm.mean()) for arm in arms]
    medians = [float(np.median(arm)) for arm in arms]
    pairs = [UNEQUAL[cell.regime]] if cell.regime in UNEQUAL else list(combinations(range(len(arms)), 2))
    sizes = (cell.seeds, MANY if cell.regime in UNEQUAL else cell.seeds)
    for _ in range(count):
        a, b = pairs[rng.integers(len(pairs))]
        images = rng.integers(arms[0].shape[1], size=cell.images)
        rows = [rng.integers(len(arms[arm]), size=size) for arm, size in zip((a, b), sizes, strict=True)]
        yield Case(
            (a, b),
            arms[a][np.ix_(rows[0], images)],
            arms[b][np.ix_(rows[1], images)],
            means[b] - means[a],
            float(arms[b][:, images].mean() - arms[a][:, images].mean()),
            float(arms[b][rows[1]].mean() - arms[a][rows[0]].mean()),
            medians[b] - medians[a],
        )


def true_best(rng: Rng, pool: np.ndarray, arm: int, epochs: np.ndarray, images: int) -> float:
    """The mean score, on all images, of the epochs that so many images choose."""
    scores = pool[arm][:, epochs]
    everywhere = scores.mean(2)
    found = []
    for _ in range(300):
        drawn = rng.integers(pool.shape[3], size=images)
        chosen = scores[:, :, drawn].mean(2).argmax(1)
        found.append(everywhere[np.arange(len(chosen)), chosen].mean())
    return float(np.mean(found))


def best_epoch_cases(rng: Rng, pool: np.ndarray, cell: Cell, count: int) -> Iterator[Case]:
    """A recipe that is validated 3 times against one that is validated 30 times: the second."""
    epochs = (RARE, np.arange(EPOCHS))
    names = [str(index) for index in range(cell.images)]
    true = {
        (arm, side): true_best(rng, pool, arm, epochs[side], cell.images)
        for arm in LEARNED
        for side in (0, 1)
    }
    for _ in range(count):
        a, b = (int(arm) for arm in rng.choice(LEARNED, 2, replace=False))
        images = rng.integers(pool.shape[3], size=cell.images)
        naive, left_out = [], []
        for side, arm in enumerate((a, b)):
            seeds = rng.integers(pool.shape[1], size=cell.seeds)
            runs = [pool[arm, seed][np.ix_(epochs[side], images)] for seed in seeds]
            naive.append(np.stack([run[best_epoch(run.mean(1))] for run in runs]))
            left_out.append(np.stack([left_out_scores(run, names) for run in runs]))
        yield Case((a, b), left_out[0], left_out[1], true[b, 1] - true[a, 0], naive=(naive[0], naive[1]))


# methods


def shipped(first: np.ndarray, second: np.ndarray, rng: Rng) -> Bounds:
    """The interval of task=compare."""
    found = difference(first, second)
    return found.low, found.high


def shipped_anyway(first: np.ndarray, second: np.ndarray, rng: Rng) -> Bounds:
    """The same, of other images too, however few there are."""
    found = difference(first, second, fewest=2)
    return found.low, found.high


def t_bounds(mean: float, variance: float, df: int) -> Bounds:
    """Student's interval."""
    half = float(stats.t.ppf(0.975, df)) * math.sqrt(variance)
    return mean - half, mean + half


def over_images(first: np.ndarray, second: np.ndarray, rng: Rng) -> Bounds:
    """A paired t test whose unit is the image; the trainings are averaged."""
    each = second.mean(0) - first.mean(0)
    return t_bounds(float(each.mean()), float(each.var(ddof=1)) / len(each), len(each) - 1)


def over_seeds(first: np.ndarray, second: np.ndarray, rng: Rng) -> Bounds:
    """A t test whose unit is the training; the images are averaged."""
    return t_bounds(float(second.mean() - first.mean()), *variance_of_trainings(first, second))


def resampled(first: np.ndarray, second: np.ndarray, rng: Rng, count: int) -> tuple[np.ndarray, np.ndarray]:
    """float count x trainings x images of each: trainings and images drawn anew, images for both alike."""
    images = rng.integers(first.shape[1], size=(count, 1, first.shape[1]))
    drawn = [
        scores[rng.integers(len(scores), size=(count, len(scores), 1)), images] for scores in (first, second)
    ]
    return drawn[0], drawn[1]


def percentile(first: np.ndarray, second: np.ndarray, rng: Rng) -> Bounds:
    """The percentile bootstrap over both levels."""
    one, two = resampled(first, second, rng, RESAMPLES)
    low, high = np.quantile(two.mean((1, 2)) - one.mean((1, 2)), [0.025, 0.975])
    return float(low), float(high)


def percentile_of_medians(first: np.ndarray, second: np.ndarray, rng: Rng) -> Bounds:
    """The same of the difference of medians, each over all trainings and images."""
    one, two = resampled(first, second, rng, RESAMPLES)
    low, high = np.quantile(np.median(two, (1, 2)) - np.median(one, (1, 2)), [0.025, 0.975])
    return float(low), float(high)


def standard_errors(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of the difference, over both levels, of many comparisons at once: count x trainings x images each. The
    formula of unet_exp/statistics/difference.py, where each image is its own group."""
    num_first, num_second, num_images = first.shape[1], second.shape[1], first.shape[2]
    share, df = 1 / num_first + 1 / num_second, num_first + num_second - 2
    each = second.mean(1) - first.mean(1)
    images = each.var(1, ddof=1) / num_images
    of_trainings, of_rest = np.zeros(len(first)), np.zeros(len(first))
    for scores in (first, second):
        means = scores.mean(2) - scores.mean((1, 2))[:, None]
        rest = scores - scores.mean(1, keepdims=True) - means[:, :, None]
        of_trainings += (means**2).sum(1)
        of_rest += (rest**2).sum((1, 2))
    trainings = of_trainings / df * share
    both = trainings + images - of_rest / df / num_images / (num_images - 1) * share
    errors: np.ndarray = np.sqrt(np.maximum(both, np.maximum(trainings, images)))
    return errors


def bootstrap_t(first: np.ndarray, second: np.ndarray, rng: Rng) -> Bounds:
    """The studentised bootstrap over both levels."""
    mean = float(second.mean() - first.mean())
    error = float(standard_errors(first[None], second[None])[0])
    one, two = resampled(first, second, rng, RESAMPLES)
    ratios = (two.mean((1, 2)) - one.mean((1, 2)) - mean) / np.maximum(standard_errors(one, two), 1e-12)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(mean - high * error), float(mean - low * error)


Method = Callable[[np.ndarray, np.ndarray, Rng], Bounds]
SHIPPED = "two-level t (shipped)"
QUICK: dict[str, Method] = {SHIPPED: shipped, "t over images": over_images, "t over seeds": over_seeds}
MEDIANS = "medians, bootstrap"
SLOW: dict[str, Method] = {
    "percentile bootstrap": percentile,
    "bootstrap-t": bootstrap_t,
    MEDIANS: percentile_of_medians,
}
SMALL: dict[str, Method] = {SHIPPED: shipped, "two-level t anyway": shipped_anyway}
NAIVE = "two-level t, naive scores"


def methods_of(cell: Cell, number: int) -> dict[str, Method]:
    """The methods for this comparison of the cell, from 0: bootstraps are slow, so they see fewer."""
    if cell.kind == "small":
        return SMALL if cell.seeds > 1 else {SHIPPED: shipped}
    methods = QUICK | (SLOW if number < BOOTSTRAPPED else {})
    if cell.regime == "best epoch":
        methods.pop(MEDIANS, None)
    return methods


def intervals(case: Case, methods: dict[str, Method], rng: Rng) -> dict[str, Bounds]:
    """Bounds of each method, less the true difference: without any difference they would be these."""
    found = {}
    for name, method in methods.items():
        low, high = method(case.first, case.second, rng)
        true = truth_for(name, case)
        found[name] = (low - true, high - true)
    if case.naive:
        low, high = shipped(*case.naive, rng)
        found[NAIVE] = (low - case.true, high - case.true)
    return found


def truth_for(method: str, case: Case) -> float:
    """What this method's interval is meant to hold; docs/compare.md has it for the shipped one."""
    if method == MEDIANS:
        return case.of_medians
    if method == SHIPPED and len(case.first) == 1:
        return case.of_trainings
    if method == SHIPPED and case.first.shape[1] < 10:
        return case.of_images
    return case.true


# results


def evaluate(cell: Cell, file: Path, count: int) -> list[dict[str, str | int | float]]:
    """One row for each method. Drawn from the cell's own seed, whatever the others do."""
    began = time.perf_counter()
    pool = load_pool(file)
    rng = np.random.default_rng([*cell.regime.encode(), cell.seeds, cell.images])
    draw = best_epoch_cases if cell.regime == "best epoch" else cases
    bounds: dict[str, list[Bounds]] = {}
    pairs, errors = [], []
    for number, case in enumerate(draw(rng, pool, cell, count)):
        pairs.append(case.pair)
        errors.append(float(case.second.mean() - case.first.mean()) - case.true)
        for name, own in intervals(case, methods_of(cell, number), rng).items():
            bounds.setdefault(name, []).append(own)
    scales = scales_of(pairs, np.array(errors))
    rows = [row(cell, name, np.array(own), np.array(errors), scales) for name, own in bounds.items()]
    print(
        f"{cell.regime}, {cell.seeds} seeds, {cell.images} images: {time.perf_counter() - began:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return rows


def scales_of(pairs: list[tuple[int, int]], errors: np.ndarray) -> np.ndarray:
    """The true standard error of each comparison: that of all comparisons of its two recipes."""
    which = np.unique(np.array(pairs), axis=0, return_inverse=True)[1].reshape(-1)
    spreads = [errors[which == pair].std() for pair in range(which.max() + 1)]
    return np.array(spreads)[which]


def row(
    cell: Cell, name: str, bounds: np.ndarray, errors: np.ndarray, scales: np.ndarray
) -> dict[str, str | int | float]:
    """Coverage, false verdicts and power. bounds: low, high of each comparison, less the truth."""
    low, high = bounds.T
    errors, scales = errors[: len(low)], scales[: len(low)]
    found: dict[str, str | int | float] = {
        "regime": cell.regime,
        "seeds": cell.seeds,
        "images": cell.images,
        "method": name,
        "comparisons": len(low),
        "coverage": float(((low <= 0) & (high >= 0)).mean()),
        "false_first_better": float((high < 0).mean()),
        "false_second_better": float((low > 0).mean()),
        "width": float((high - low).mean()),
        "bias": float(((low + high) / 2).mean()),
    }
    limit = float(stats.norm.ppf(0.975))
    for level in ORACLE:
        effect = (limit + float(stats.norm.ppf(level))) * scales
        own = (low + effect > 0).mean() + (high - effect < 0).mean()
        known = (errors + effect > limit * scales).mean() + (errors - effect < -limit * scales).mean()
        found[f"power_of_{level}"] = float(own / known) if cell.kind == "main" else math.nan
    return found


def plan() -> list[Cell]:
    """All cells, the slow ones last."""
    regimes = ("none", "natural", "dominant", "heavy tails", "best epoch")
    few = [Cell(regime, seeds, 5, "small") for regime in regimes[:3] for seeds in SEEDS]
    two = [Cell(regime, 2, images) for regime in regimes[:3] for images in IMAGES]
    one = [Cell(regime, 1, images, "small") for regime in regimes[:3] for images in IMAGES]
    main_cells = [Cell(regime, seeds, images) for regime in regimes for seeds in SEEDS for images in IMAGES]
    unequal = [Cell(regime, 3, images) for regime in UNEQUAL for images in IMAGES]
    return [*few, *one, *two, *unequal, *main_cells]


def shown(rows: list[dict[str, str | int | float]], method: str) -> str:
    """The table of one method."""
    lines = [f"{method}\nregime       seeds images  coverage  first, second better  power 0.9, 0.99    bias"]
    for found in rows:
        if found["method"] != method:
            continue
        figures = [f"{found['regime']:<12} {found['seeds']:>5} {found['images']:>6}"]
        figures += [
            f"{found[key]:>9.3f}" for key in ("coverage", "false_first_better", "false_second_better")
        ]
        figures += [f"{found[f'power_of_{level}']:>9.2f}" for level in ORACLE]
        lines.append(" ".join([*figures, f"{found['bias']:>9.4f}"]))
    return "\n".join(lines)


def main() -> None:
    """Make the pool if there is none, draw the comparisons, write and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=Path, default=Path("outputs/honest_pool.npy"), help="made if absent")
    parser.add_argument("--device", default="cpu", help="trains the pool")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--seeds", type=int, default=100, help="of each recipe of the pool")
    parser.add_argument("--comparisons", type=int, default=2000, help="of each cell")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs/results/honest_comparison.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.pool.exists():
        make_pool(options.pool, options.seeds, options.device, options.workers)
    work = partial(evaluate, file=options.pool, count=options.comparisons)
    if options.workers > 1:
        with get_context("spawn").Pool(options.workers) as processes:
            rows = [found for cell in processes.imap(work, plan()) for found in cell]
    else:
        rows = [found for cell in map(work, plan()) for found in cell]
    with open(options.out, "w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for found in rows:
            writer.writerow({key: f"{v:.4f}" if isinstance(v, float) else v for key, v in found.items()})
    for method in dict.fromkeys(str(found["method"]) for found in rows):
        print(shown(rows, method), end="\n\n")


if __name__ == "__main__":
    main()
