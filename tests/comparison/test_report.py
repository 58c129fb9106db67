"""report.html of a run, a sweep and a comparison: one file, whole, readable by machines that read aloud."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import TINY, Cli


class Page(HTMLParser):
    """What is in a page: its text, tags with their attributes, and whether every tag is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def check(path: Path) -> Page:
    """One file, small, without scripts or links to others; pictures have words, tables have heads."""
    page = Page(path)
    assert page.open == []
    assert path.stat().st_size < 5_000_000
    assert not {"script", "iframe", "object", "link"} & {tag for tag, _ in page.tags}
    for picture in page.of("img"):
        assert picture["alt"]
        assert str(picture["src"]).startswith("data:image/")
    assert all(svg["aria-label"] for svg in page.of("svg"))
    assert all(cell["scope"] in ("row", "col") for cell in page.of("th"))
    assert page.of("html")[0]["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in page.of("meta"))
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page.source)
    return page


def test_a_run_ends_with_its_report(cli: Cli, tmp_path: Path) -> None:
    words = ["name=<b>first</b> & best", "notes=a $test", "lr=3e-3", "data.split.val=12", "hydra.run.dir=run"]
    words += ["trainer.report=true", "trainer.plots=true"]
    done = cli(*TINY, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    page = check(tmp_path / "run/report.html")
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert "<b>first</b> & best" in page.text
    assert "a $test" in page.text
    assert f"{status['best_metric']:.4f}, in epoch {status['best_epoch']} of 2" in page.text
    for word in ("lr", "0.003", "0.001", "12", "data.split.val", "from_run=run", "Methods", "Adam", "U-Net"):
        assert word in page.text
    assert len(page.of("img")) == 2  # the training images, and the worst and best
    assert len(page.of("svg")) == 1
    assert "trainer.precision" not in page.text  # decided by the machine, not set
    before = page.source
    assert cli("task=report", "run=run", "output=out/r.html", cwd=tmp_path).returncode == 0
    assert len(check(tmp_path / "out/r.html").source) == len(before)


def test_it_can_be_left_out(cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, "trainer.report=false", "trainer.plots=false", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / "run/report.html").exists()
    assert cli("task=report", "run=run", cwd=tmp_path).returncode == 0
    assert check(tmp_path / "run/report.html").of("img") == []


def test_a_sweep_has_one_and_its_jobs_none(recipes: Path) -> None:
    page = check(recipes / "multirun/two/report.html")
    assert not list(recipes.glob("multirun/two/*/report.html"))
    for word in ("4 of 4 jobs finished", "95 % interval of dice", "lr, seed", "(n = 2, 12 images)"):
        assert word in page.text
    assert len(page.of("img")) == 1


def test_a_comparison(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("task=report", "runs=multirun/two", f"output={tmp_path}/a/page.html", cwd=recipes)
    assert done.returncode == 0, done.stdout
    page = check(tmp_path / "a/page.html")
    for word in ("B - A", "Satterthwaite", "lr=0.001", "12 images"):
        assert word in page.text
    assert len(page.of("svg")) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "was given nothing to report on"),
        (["run=a", "sweep_dir=b"], "was given run, sweep_dir"),
        (["run=nowhere"], "nowhere is no run and no sweep (the folder is not there)"),
        (["sweep_dir=multirun/two", "output=a.pdf"], "a.pdf is no page"),
    ],
)
def test_what_cannot_be_reported_is_said(words: list[str], said: str, recipes: Path, cli: Cli) -> None:
    done = cli("task=report", *words, cwd=recipes)
    assert done.returncode == 1
    assert said in done.stdout
    assert "Traceback" not in done.stdout
