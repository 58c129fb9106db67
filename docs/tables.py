"""Prints the figures of the tables in docs/recipes.md from the files of the sweeps in docs/results/.

    python docs/tables.py

After sweep=ablation copy ranking.csv, sweep.csv and sweep.png of its directory to results/ablation.csv,
results/ablation_jobs.csv and results/ablation.png; after sweep=ablation_folds ranking.csv and sweep.csv to
results/folds.csv and results/folds_jobs.csv; after sweep=nuclei_ablation sweep.csv to
results/nuclei_ablation_jobs.csv.
"""

import csv
import statistics
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
SCORES = ("v_rand_tta", "v_info_tta", "pixel_error_tta", "pixel_f1_tta")


def read(name: str) -> list[dict[str, str]]:
    with open(RESULTS / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def mean_and_sd(row: dict[str, str], name: str) -> str:
    sd = row[f"{name}_sd"]
    return f"{float(row[name]):.3f}" + (f"±{float(sd):.3f}" if sd else "")


def place(row: dict[str, str]) -> tuple[bool, int, str]:
    """The numbered steps in their order, then the variants of number 8."""
    number, name = row["point"].split(" ", 1)
    variant = number == "8" and name != "+ stronger"
    return variant, int(number), name


def ablation() -> list[str]:
    lines = [
        "| arm | V-Rand | V-Info | pixel error | membrane F1 |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(read("ablation.csv"), key=place):
        cells = [mean_and_sd(row, name) for name in SCORES]
        lines.append("| " + " | ".join([row["point"], *cells]) + " |")
    return lines


def folds() -> list[str]:
    jobs = read("folds_jobs.csv")
    places = sorted({job["data.fold"] for job in jobs})
    lines = [
        "| arm | " + " | ".join(f"fold {place}" for place in places) + " | mean |",
        "|---" * (len(places) + 2) + "|",
    ]
    for point in sorted({job["point"] for job in jobs}):
        mine = {
            job["data.fold"]: [float(job[name]) for name in SCORES[:2]]
            for job in jobs
            if job["point"] == point
        }
        pairs = [
            *(mine[place] for place in places),
            [statistics.fmean(v) for v in zip(*mine.values(), strict=True)],
        ]
        lines.append(f"| {point} | " + " | ".join(f"{rand:.3f}, {info:.3f}" for rand, info in pairs) + " |")
    return lines


def nuclei() -> list[str]:
    """Mean and sd over the seeds of each arm: AP by fixed thresholds, AP and F1 by chosen, AP with tta."""
    jobs = read("nuclei_ablation_jobs.csv")
    lines = ["| arm | AP fixed | AP | F1 | AP with tta |", "|---|---|---|---|---|"]
    for point in dict.fromkeys(job["point"] for job in jobs):
        cells = []
        for name in ("best", "object_ap", "object_f1", "object_ap_tta"):
            values = [float(job[name]) for job in jobs if job["point"] == point]
            sd = f"±{statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{sd}")
        lines.append("| " + " | ".join([point, *cells]) + " |")
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join([*ablation(), "", *folds(), "", *nuclei()]) + "\n")
