"""The threshold: chosen on the validation samples, kept by the run, used by evaluate and predict."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score

import unet_exp
from tests.conftest import TINY, Cli, composed, train
from tests.support import blobs, save
from tests.tasks.common import read_json, rows_of
from unet_exp.config.task_schema import EvaluateConfig, PredictConfig
from unet_exp.data.synthetic import generate_membranes
from unet_exp.errors import UserError
from unet_exp.metrics.em import THRESHOLDS, em_table
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict
from unet_exp.training.checkpoint import load, weights_sha256


@pytest.mark.parametrize("metric", ["dice", "v_rand"])
def test_a_run_keeps_the_threshold_that_is_best_on_validation(metric: str, tmp_path: Path) -> None:
    size = ["data.size=64", "data.split.train=4", "data.split.val=2", "data.split.test=1", "epochs=3"]
    run_dir = train(tmp_path / "run", *size, f"trainer.choose_threshold={metric}")
    stored = read_json(run_dir / "threshold.json")
    scores = read_json(run_dir / "status.json")["scores"]
    predictor = unet_exp.load_run(run_dir)
    items = composed(*size)
    labels, images = [], []
    for index in range(4, 6):  # drawn after the four of training
        image, label = generate_membranes(items.data.seed, index, 64)
        images.append(image)
        labels.append(label == 1)
    for name, ending in (("plain", ""), ("tta", "_tta")):
        ours = predictor.with_options(tta=name == "tta")
        assert ours.cut == stored[name]["threshold"]
        maps = [ours.probabilities(image)[1] for image in images]
        by_hand = {}
        for threshold in np.arange(1, 20) / 20:
            if metric == "v_rand":
                by_hand[threshold] = em_table(maps, labels, [threshold])[0]["v_rand"]
            else:
                predicted = np.ravel([m > threshold for m in maps])
                by_hand[threshold] = f1_score(np.ravel(labels), predicted, average="macro")
        assert stored[name][metric] == pytest.approx(max(by_hand.values()), abs=1e-6)
        assert scores[f"{metric}{ending}"] == stored[name][metric]
        assert by_hand[np.float64(stored[name]["threshold"])] == pytest.approx(
            max(by_hand.values()), abs=1e-6
        )
    save(tmp_path / "images/a.png", (images[0]).astype(np.uint8))
    options: dict[str, Any] = {"run": str(run_dir), "input": str(tmp_path / "images"), "tta": True}
    for given, used in (("auto", stored["tta"]["threshold"]), (0.9, 0.9)):
        output = tmp_path / f"{given}"
        predict(PredictConfig(**options, output=str(output), threshold=given))
        expected = predictor.with_options(tta=True).probabilities(images[0])[1] > used
        assert np.array_equal(np.array(Image.open(output / "a.png")), expected)
    evaluate(EvaluateConfig(run=str(run_dir), split="test", tta=True, worst=0))
    test = read_json(run_dir / "evaluation/test_tta/evaluation.json")["em"]
    if metric == "v_rand":
        assert (test["threshold"], test["threshold_from"]) == (stored["tta"]["threshold"], "threshold.json")
    else:  # V-Rand has a threshold of its own
        assert test["threshold_from"] == "val"


def test_evaluate_scores_the_masks_that_predict_writes(
    membranes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the threshold of the run, with and without tta, against the files and another library's F1."""
    sha256 = weights_sha256(load(membranes / "checkpoints/best.pt"))
    pairs = [generate_membranes(0, index, 64) for index in range(8, 11)]  # drawn after the eight of training
    # About half of the pixels above, whatever this machine has taught the network; of em.THRESHOLDS, not 0.5.
    predictor = unet_exp.load_run(membranes)
    cuts = [
        float(np.median([predictor.with_options(tta=tta).probabilities(image)[1] for image, _ in pairs]))
        for tta in (False, True)
    ]
    others = [threshold for threshold in THRESHOLDS if threshold != 0.5]
    plain, tta_cut = (others[int(np.abs(np.array(others) - cut).argmin())] for cut in cuts)
    stored = {
        "metric": "dice",
        "weights_sha256": sha256,
        "plain": {"threshold": plain},
        "tta": {"threshold": tta_cut},
    }
    (membranes / "threshold.json").write_text(json.dumps(stored))
    try:
        for number, (image, _) in enumerate(pairs):
            save(tmp_path / f"new/{number}.png", image)
        for tta, threshold in ((False, f"{plain:.2f}"), (True, f"{tta_cut:.2f}")):
            output = tmp_path / f"masks{tta}"
            predict(
                PredictConfig(run=str(membranes), input=str(tmp_path / "new"), output=str(output), tta=tta)
            )
            masks = [np.array(Image.open(output / f"{number}.png")) for number in range(3)]
            capsys.readouterr()
            evaluate(EvaluateConfig(run=str(membranes), tta=tta))
            printed = capsys.readouterr().out
            folder = membranes / f"evaluation/val{'_tta' * tta}"
            found = read_json(folder / "evaluation.json")
            labels = [label for _, label in pairs]
            pooled = f1_score(np.ravel(labels), np.ravel(masks), average=None)
            assert found["predict"]["threshold"] == float(threshold)
            of_classes = [found["predict"][f"dice_{name}"] for name in ("membrane", "interior")]
            assert of_classes == pytest.approx(list(pooled))
            assert found["predict"]["dice"] == pytest.approx(pooled.mean())
            each = [
                f1_score(np.ravel(a), np.ravel(b), average="macro")
                for a, b in zip(labels, masks, strict=True)
            ]
            images = rows_of(folder / "images.csv")
            assert [float(row["predict_dice"]) for row in images] == pytest.approx(each)
            by_class = [float(row["predict_dice"]) for row in rows_of(folder / "classes.csv")]
            assert by_class == pytest.approx(list(pooled))
            assert found["dice"] != pytest.approx(pooled.mean(), abs=1e-4)
            expected = em_table(
                [mask.astype(float) for mask in masks], [label == 1 for label in labels], [0.5]
            )[0]
            assert found["predict"]["v_rand"] == pytest.approx(expected["v_rand"])
            assert (
                f"threshold 0.50, as in training {threshold:>19}, as predict".split()
                == printed.splitlines()[1].split()
            )
            assert f"at {threshold}, as predict" in printed or f"at {threshold}, the best of val" in printed
            assert f"{pooled.mean():.4f}" in printed
            assert max(map(len, printed.splitlines())) <= 80
    finally:
        (membranes / "threshold.json").unlink()
    evaluate(EvaluateConfig(run=str(membranes), worst=0))
    assert "threshold 0.50, as in training and predict" in capsys.readouterr().out


def test_the_threshold_of_one_class(tmp_path: Path) -> None:
    size = ["data.size=64", "data.split.train=4", "data.split.val=2", "epochs=2"]
    run_dir = train(tmp_path / "run", *size, "trainer.choose_threshold=dice_membrane")
    stored = read_json(run_dir / "threshold.json")
    assert stored["metric"] == "dice_membrane"
    evaluate(EvaluateConfig(run=str(run_dir), worst=0))
    found = read_json(run_dir / "evaluation/val/evaluation.json")
    assert found["predict"]["dice_membrane"] == pytest.approx(stored["plain"]["dice_membrane"])
    assert found["predict"]["dice_membrane"] >= found["dice_membrane"]
    with pytest.raises(UserError, match=r"allowed: dice, dice_membrane, dice_interior, v_rand.*did you mean"):
        composed("trainer.choose_threshold=dice_membran")


def test_a_finished_run_is_given_a_threshold(cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, "epochs=1", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    before = (tmp_path / "run/metrics.csv").read_bytes()
    done = cli("resume=run", "trainer.choose_threshold=v_rand", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert read_json(tmp_path / "run/threshold.json")["metric"] == "v_rand"
    assert "v_rand" in read_json(tmp_path / "run/status.json")["scores"]
    assert (tmp_path / "run/metrics.csv").read_bytes() == before
    done = cli("resume=run", cwd=tmp_path)
    assert "nothing to do" in done.stdout


def test_no_threshold_is_chosen_on_labels_of_one_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(4):
        save(tmp_path / f"images/{index}.png", blobs(index) * 255)
        save(tmp_path / f"labels/{index}.png", blobs(index) * 255 * np.uint8(index < 3))
    options = ["data=image_folder", f"data.root={tmp_path}", "data.split.val=1", "batch_size=1", "epochs=1"]
    run_dir = train(tmp_path / "run", *options, "trainer.choose_threshold=v_rand")
    assert not (run_dir / "threshold.json").exists()
    assert "no threshold is chosen" in caplog.text
    assert unet_exp.load_run(run_dir).cut == 0.5


def test_a_threshold_of_other_weights_is_not_used(membranes: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert unet_exp.load_run(membranes).cut == 0.5
    assert not caplog.text
    row = {"threshold": 0.9}
    stored = {"metric": "dice", "weights_sha256": "0" * 64, "plain": row, "tta": row}
    (membranes / "threshold.json").write_text(json.dumps(stored))
    try:
        assert unet_exp.load_run(membranes).cut == 0.5
        assert "threshold.json is of other weights than best.pt, so the threshold is 0.5" in caplog.text
    finally:
        (membranes / "threshold.json").unlink()
