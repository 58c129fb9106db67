"""task=evaluate gives the numbers of training."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Cli, composed, train
from tests.tasks.common import read_json, rows_of
from unet_exp.config.task_schema import EvaluateConfig
from unet_exp.errors import UserError
from unet_exp.tasks.evaluate import evaluate


def test_evaluation_gives_the_numbers_of_training(membranes: Path) -> None:
    evaluate(EvaluateConfig(run=str(membranes)))
    found = read_json(membranes / "evaluation" / "val" / "evaluation.json")
    epoch = str(found["epoch"])
    row = next(r for r in rows_of(membranes / "metrics.csv") if r["split"] == "val" and r["epoch"] == epoch)
    same = [name for name in row if name not in ("epoch", "step", "split", "lr")]
    assert len(same) == 13
    assert {name: found[name] for name in same} == {name: float(row[name]) for name in same}
    images = rows_of(membranes / "evaluation" / "val" / "images.csv")
    assert np.mean([float(image["dice"]) for image in images]) == pytest.approx(found["image_dice"])
    assert {"v_rand", "v_info", "pixel_error", "threshold"} <= set(found["em"])


def test_the_threshold_comes_from_validation(membranes: Path) -> None:
    evaluate(EvaluateConfig(run=str(membranes), worst=0))
    val = read_json(membranes / "evaluation" / "val" / "evaluation.json")["em"]["threshold"]
    evaluate(EvaluateConfig(run=str(membranes), split="test", worst=0))
    stored = read_json(membranes / "evaluation" / "test" / "evaluation.json")["em"]
    assert stored["threshold"] == val
    (membranes / "evaluation" / "val" / "evaluation.json").unlink()
    evaluate(EvaluateConfig(run=str(membranes), split="test", worst=0))
    assert read_json(membranes / "evaluation" / "test" / "evaluation.json")["em"]["threshold"] == val


def test_symmetries_are_averaged_and_all_splits_are_one(membranes: Path, tmp_path: Path) -> None:
    parts = {}
    for split in ("train", "val", "test", "all"):
        evaluate(
            EvaluateConfig(run=str(membranes), split=split, worst=0, em=False, output=str(tmp_path / split))
        )
        parts[split] = rows_of(tmp_path / split / "classes.csv")
    for number in range(2):
        each = [int(parts[split][number]["label_pixels"]) for split in ("train", "val", "test")]
        assert int(parts["all"][number]["label_pixels"]) == sum(each)
    evaluate(EvaluateConfig(run=str(membranes), tta=True, worst=0))
    evaluate(EvaluateConfig(run=str(membranes), worst=0))
    folder = membranes / "evaluation"
    plain, averaged = (read_json(folder / name / "evaluation.json")["loss"] for name in ("val", "val_tta"))
    assert averaged != plain


def test_a_metric_sees_each_image_with_what_it_names_whatever_the_ranks(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mymetrics.py").write_text(
        "class Order:\n"
        "    def reset(self): self.sum = self.images = 0\n"
        "    def update(self, prediction, label, objects, probabilities):\n"
        "        assert prediction.shape == label.shape == objects.shape == (1, 64, 64)\n"
        "        assert probabilities.shape == (1, 4, 64, 64)\n"
        "        assert ((objects > 0) == (label > 0)).float().mean() > 0.9\n"
        "        assert (probabilities.sum(1) - 1).abs().max() < 1e-3\n"
        "        self.images += 1\n"
        "        self.sum += self.images * int(objects.max())\n"
        "    def compute(self): return self.sum\n"
    )
    arguments = [
        *("data=nuclei", "data.size=64", "data.split.train=2", "data.split.val=5", "data.split.test=0"),
        *(
            "model.depth=2",
            "model.base_channels=4",
            "epochs=1",
            "batch_size=2",
            "device=cpu",
            "num_workers=0",
        ),
        *("trainer.images_every=0", "+metrics.order._target_=mymetrics.Order"),
    ]
    found = []
    for name, devices in (("one", 1), ("two", 2)):
        more = [f"trainer.devices={devices}", f"hydra.run.dir={name}"]
        done = cli(*arguments, *more, cwd=tmp_path, UNET_EXP_ALLOW="mymetrics", PYTHONPATH=str(tmp_path))
        assert done.returncode == 0, done.stdout
        found += [row["order"] for row in rows_of(tmp_path / name / "metrics.csv") if row["split"] == "val"]
    assert found[0] == found[1] != ""
    assert float(found[0]) > 0
    arguments[0] = "data=membranes"
    refused = cli(*arguments, cwd=tmp_path, UNET_EXP_ALLOW="mymetrics", PYTHONPATH=str(tmp_path))
    assert refused.returncode == 1
    assert "compares objects, but data.labels_are=classes" in refused.stdout


def test_a_metric_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mymetrics.py").write_text(
        "class Wrong:\n"
        "    def __init__(self, factor): self.factor = factor; self.reset()\n"
        "    def reset(self): self.bad = self.all = 0\n"
        "    def update(self, prediction, label):\n"
        "        assert prediction.shape == label.shape and prediction.ndim == 3\n"
        "        self.bad += int((prediction != label).sum()); self.all += label.numel()\n"
        "    def compute(self): return self.factor * self.bad / self.all\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("UNET_EXP_ALLOW", "mymetrics")
    metric = "+metrics.wrong={_target_: mymetrics.Wrong, factor: 100}"
    small = ["data.size=32", "data.split.train=4", "data.split.val=2", "data.split.test=0", "epochs=2"]
    run_dir = train(tmp_path / "run", *small, metric, "trainer.monitor=wrong", "trainer.mode=min")
    rows = rows_of(run_dir / "metrics.csv")
    assert [row["wrong"] == "" for row in rows] == [row["split"] == "train" for row in rows]
    for row in rows:
        if row["split"] == "val":
            assert 0 < float(row["wrong"]) < 100
    evaluate(EvaluateConfig(run=str(run_dir), worst=0))
    found = read_json(run_dir / "evaluation" / "val" / "evaluation.json")
    assert found["wrong"] == min(float(row["wrong"]) for row in rows if row["wrong"])
    with pytest.raises(UserError, match=r"allowed: loss, dice, iou.*wrong"):
        composed(metric, "trainer.monitor=wrnog")
    with pytest.raises(UserError, match="min or max"):
        composed(metric, "trainer.monitor=wrong")
    with pytest.raises(UserError, match="not allowed"):
        composed("+metrics.x._target_=os.system")
