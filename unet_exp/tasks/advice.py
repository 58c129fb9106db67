"""From the survey of a data set to the one command to use, and why it has more than was typed."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from unet_exp.config import quoting
from unet_exp.config.label_map import parse_value
from unet_exp.config.paths import PATH_KEYS
from unet_exp.config.schema import IGNORE, SYNTHETIC, Config, DataConfig, SplitConfig
from unet_exp.data.stats import Facts, better_statistics
from unet_exp.data.survey import Survey, is_mixed
from unet_exp.data.up_and_down import classes_with_a_place
from unet_exp.messages import counted, program, shortened
from unet_exp.training import setup

OPTIONS = (*SYNTHETIC, "csv", "npy_folder", "tiff_stack")  # of data=, named as their data.kind
NOT_ASKED = ("kind", "root", "split", "cache", "cache_limit_mb", "cache_dir", "fingerprint_limit_mb")


def line_to_use(config: Config, typed: Sequence[str], survey: Survey) -> str:
    """The command that trains on this set as it was read here, with what it needs.

    typed: the settings of the user, which stay unless the survey says otherwise.
    """
    words = {word.partition("=")[0]: word for word in typed}
    if config.data.kind not in SYNTHETIC:
        others = {key: word for key, word in words.items() if key.partition(".")[0] != "data"}
        words = of_data(config) | others
    chosen = {word.partition("=")[0].partition(".")[0] for word in typed}
    return quoting.command(list((words | needs(config, chosen, survey)).values()), program())


def of_data(config: Config) -> dict[str, str]:
    """Key -> setting, for the layout of the data set and the meaning of its labels."""
    data = config.data
    words = {}
    words["data"] = f"data={data.kind if data.kind in OPTIONS else 'image_folder'}"
    words["data.root"] = quoting.setting("data.root", data.root, verbatim=True)
    parts: list[tuple[str, Any, Any]] = [
        ("data.split.", data.split, SplitConfig()),
        ("data.", data, DataConfig()),
    ]
    for prefix, given, usual in parts:
        for one in dataclasses.fields(given):
            key = prefix + one.name
            value = getattr(given, one.name)
            of_option = key == "data.split.mode" and data.kind == "npy_folder"
            if one.name not in NOT_ASKED and value != getattr(usual, one.name) and not of_option:
                words[key] = quoting.setting(key, value, verbatim=key in PATH_KEYS)
    words["data.classes"] = words.pop("data.classes", quoting.setting("data.classes", data.classes))
    if data.label_map is not None:
        named = {value_word(key): str(name) for key, name in data.label_map.items()}
        words["data.label_map"] = quoting.setting("data.label_map", named)
    return words


def without_up_and_down(config: Config, train: list[Facts], survey: Survey) -> dict[str, str]:
    """Key -> setting, so that images with an up and a down are not turned over; adds what shows it."""
    places = classes_with_a_place(train, len(config.data.classes))
    if not places or config.data.symmetries != "all":
        return {}
    sides = {True: "above", False: "below"}
    shown = [
        f"{config.data.classes[index]} lies {sides[height < 0.5]} the middle ({height:.2f} of the height)"
        for index, height in sorted(places.items(), key=lambda one: -abs(one[1] - 0.5))
    ]
    survey.findings.append(f"the images have an up and a down: {shortened(shown, 2)}")
    steps = config.transform["train"]
    words = {"data.symmetries": "left_right"}
    if (steps.get("flip") or {}).get("_target_", "").endswith(".RandomFlip"):  # not a class of the user's own
        words["++transform.train.flip.up_down"] = "false"
    if steps.get("rotate90"):
        words["transform.train.rotate90"] = "null"
    if "up_down" in (steps.get("crop") or {}):
        crop = {"up_down": "false", "turn": "false", "rotation": "15"}
        words |= {f"transform.train.crop.{name}": value for name, value in crop.items()}
    return {key: f"{key}={value}" for key, value in words.items()}


def value_word(key: Any) -> str:
    """A file value or colour as a key in Hydra's grammar."""
    value = parse_value(key)
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(key)


def needs(config: Config, chosen: set[str], survey: Survey) -> dict[str, str]:
    """Key -> setting that the images and labels need; adds a finding for what training would refuse.

    chosen: the groups that the user has set, which no other option replaces.
    """
    train = [facts for _, facts in survey.facts.get("train", [])]
    everything = [facts for _, _, facts in survey.everything]
    words = {"data.channels": "data.channels=rgb"} if is_mixed(survey) else {}
    if not train:
        return words
    batch_size = min(config.batch_size, len(train))
    if batch_size < config.batch_size:
        survey.findings.append(
            f"batch_size={config.batch_size} is more than the {counted(len(train), 'training image')}"
        )
    crop, margin = setup.crop_size(config)
    sizes = {facts.shape[:2] for facts in train}
    smallest = min(min(size) for size in sizes)
    fitting = min(256, smallest // 32 * 32)
    if crop is not None and smallest + 2 * margin < crop and fitting:
        survey.findings.append(f"crops of {crop} pixels do not fit into images of {smallest}")
        words["transform.train.crop.size"] = f"transform.train.crop.size={fitting}"
    elif crop is None and (len(sizes) > 1 or smallest > 768):
        if len(sizes) > 1 and batch_size > 1:
            survey.findings.append(f"images of {len(sizes)} sizes need crops, or batch_size=1")
        if fitting and "transform" not in chosen:
            words["transform"] = "transform=crop"
            words["transform.train.crop.size"] = f"transform.train.crop.size={fitting}"
        elif len(sizes) > 1:
            batch_size = 1
    if batch_size < config.batch_size:
        words["batch_size"] = f"batch_size={batch_size}"
    words |= without_up_and_down(config, train, survey)
    step = config.transform["eval"].get("normalize") or {}
    better = better_statistics(everything)
    if better and step.get("mean", 0.5) == 0.5:
        words |= {f"transform.{name}": f"transform.{name}={better}" for name in ("mean", "std")}
    pixels = sum((facts.pixels for facts in everything), np.zeros(256, np.int64))[:IGNORE]
    occurring = pixels[pixels > 0]
    if len(occurring) and occurring.min() < 0.01 * pixels.sum() and "loss" not in chosen:
        words["loss"] = "loss=ce_dice"
    return words
