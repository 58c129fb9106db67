"""What was probably meant by a key that there is not."""

import difflib

# The last word of a key: what other programs call it, where that is not alike.
ALIASES = {
    "batch_size": "bs batch",
    "classes": "num_classes n_classes",
    "clip_norm": "grad_clip gradient_clip_val",
    "data": "dataset",
    "device": "gpu cuda accelerator",
    "devices": "gpus num_gpus",
    "early_stop": "patience early_stopping",
    "hydra.run.dir": "output_dir save_dir log_dir run_dir",
    "loss": "criterion",
    "lr": "learning_rate",
    "model": "net network arch",
    "num_workers": "workers",
    "optimizer": "opt",
    "precision": "amp fp16 bf16",
    "resume": "checkpoint ckpt ckpt_path",
    "root": "data_dir data_root data_path",
    "seed": "random_seed random_state",
    "weight_decay": "wd",
}
WORDS = ("task", "resume", "from_run", "experiment", "sweep", "hydra.run.dir")  # keys of no schema
OF_SWEEPS = {  # short names of the settings of a sweep
    "sweep_dir": "hydra.sweep.dir",
    "points": "hydra.sweeper.points",
    "confirm": "hydra.sweeper.confirm",
    "top": "hydra.sweeper.top",
    "n_trials": "hydra.sweeper.n_trials",
    "n_jobs": "hydra.launcher.n_jobs",
    "gpus": "hydra.launcher.gpus",
    "job_minutes": "hydra.launcher.job_minutes",
    "fail_fast": "hydra.launcher.fail_fast",
}


def unknown_key(key: str, known: list[str]) -> str:
    """What to say of a dotted key that there is not. known: the dotted keys that there are."""
    likely = likely_key(key, [*known, *WORDS])
    meant = f"; did you mean '{likely}'?" if likely else ""
    if key in OF_SWEEPS:
        return f"belongs to a sweep (add -m, or sweep=NAME){meant}"
    return f"is not a known key{meant}"


def likely_key(key: str, known: list[str]) -> str | None:
    """A key that ends in this name or in what it is called here, else the nearest beside it, else of all."""
    parent, _, name = key.rpartition(".")
    name = next((here for here, names in ALIASES.items() if name in names.split()), name)
    same = [one for one in known if name in (one, one.rpartition(".")[2])]
    if same:
        return min(same, key=lambda one: one.count("."))
    beside = {one.rpartition(".")[2]: one for one in known if one.rpartition(".")[0] == parent}
    near = difflib.get_close_matches(name, beside, n=1)
    if near:
        return beside[near[0]]
    return next(iter(difflib.get_close_matches(key, known, n=1, cutoff=0.75)), None)
