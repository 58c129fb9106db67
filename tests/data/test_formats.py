"""Image files of every kind: what is read is what the file holds, as a viewer shows it, or it is refused."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.conftest import Cli, composed, write_folder
from tests.data.written_files import HEIGHT, WIDTH, pattern, write_tiff
from unet_exp import load_run
from unet_exp.data.channels import open_image
from unet_exp.data.formats import count_pages, open_array, orientation, read_array
from unet_exp.data.samples import load_samples
from unet_exp.data.splits import find_splits
from unet_exp.errors import DataError
from unet_exp.tasks.check_data import check_data


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "raw.tif", "tiff_lzw.tif", "jpeg.tif", "planes.tif"])
def test_pictures_are_turned_as_viewers_turn_them(number: int, ending: str, tmp_path: Path) -> None:
    stored, path = pattern(channels=3), tmp_path / f"a.{ending}"
    picture, exif = Image.fromarray(stored), Image.Exif()
    exif[0x0112] = number
    if ending == "planes.tif":
        write_tiff(path, stored, "zstd", photometric=2, planes=True, tags={274: ("H", (number,))})
    elif ending.endswith("tif"):
        picture.save(path, compression=ending.removesuffix(".tif"), tiffinfo={274: number})
    else:
        picture.save(path, exif=exif)
    with Image.open(path) as seen:
        if ending != "planes.tif":
            stored = np.asarray(ImageOps.exif_transpose(seen))
    if ending == "planes.tif":
        again = BytesIO()
        picture.save(again, "PNG", exif=exif)
        stored = np.asarray(ImageOps.exif_transpose(Image.open(again)))
    for label in (False, True):
        assert np.array_equal(read_array(path, label=label), stored)
    assert orientation(path) == number


def test_turned_windows_are_parts_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 9):
        path = write_tiff(
            tmp_path / f"{number}.tif",
            pattern("uint16", 3),
            "lzw",
            photometric=2,
            tile=16,
            tags={274: ("H", (number,))},
        )
        whole = read_array(path)
        monkeypatch.setattr("unet_exp.data.formats.MOST_PIXELS", 1 << 10)
        assert np.array_equal(open_array(path)[5:33, 11:37], whole[5:33, 11:37])
        monkeypatch.undo()


def test_photographs_with_a_preview(tmp_path: Path) -> None:
    photo = Image.fromarray(pattern(channels=3))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "a.jpg", quality=90, exif=exif)
    preview = photo.resize((10, 8))
    photo.save(tmp_path / "b.JPG", "MPO", save_all=True, append_images=[preview], quality=90, exif=exif)
    assert np.array_equal(read_array(tmp_path / "b.JPG"), read_array(tmp_path / "a.jpg"))
    assert read_array(tmp_path / "b.JPG").shape == (WIDTH, HEIGHT, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "AVIF"])
def test_a_wrong_ending_is_named(kind: str, tmp_path: Path) -> None:
    Image.fromarray(pattern(channels=3)).save(tmp_path / "a", kind)
    (tmp_path / "a").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match=f"its content is {kind}"):
        read_array(tmp_path / "a.png")


def test_a_wrong_ending_that_is_read_all_the_same(tmp_path: Path) -> None:
    """By its content: nothing is lost through another reader."""
    bands = pattern("uint16", 5)
    write_tiff(tmp_path / "a.png", bands, "lzw")
    assert np.array_equal(read_array(tmp_path / "a.png"), bands)
    Image.fromarray(pattern(channels=3)).save(tmp_path / "b.tif", "PNG")
    assert np.array_equal(read_array(tmp_path / "b.tif"), pattern(channels=3))
    assert count_pages(tmp_path / "b.tif") == 1


def mixed_folder(root: Path) -> Path:
    write_folder(root)
    for number, mode in enumerate(["L", "RGB", "RGBA", "LA", "RGB", "L"]):
        path = root / "images" / f"{number:02d}.png"
        grey = Image.open(path)
        colours = Image.merge("RGB", [grey, grey.rotate(90), grey.rotate(180)])
        (colours if mode.startswith("RGB") else grey).convert(mode).save(path)
    return root


@pytest.mark.parametrize("rule", ["grey", "rgb"])
def test_grey_and_colour_images_are_one_kind(rule: str, tmp_path: Path) -> None:
    root = mixed_folder(tmp_path)
    config = composed("data=image_folder", f"data.root={root}", f"data.channels={rule}")
    splits = find_splits(config.data)
    for part in ("train", "val"):
        samples = load_samples(splits[part], part, "ram", 0)
        assert samples.channels == {"grey": 1, "rgb": 3}[rule]
        for item, pair in zip(samples.items, samples.pairs or [], strict=True):
            with Image.open(item.image) as seen:
                want = np.asarray(seen.convert({"grey": "L", "rgb": "RGB"}[rule])).reshape(pair[0].shape)
            assert np.array_equal(pair[0], want)
    mixed = composed("data=image_folder", f"data.root={root}")
    with pytest.raises(DataError, match=r"data\.channels=rgb"):
        load_samples(find_splits(mixed.data)["train"], "train", "ram", 0)


def test_check_data_proposes_one_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed_folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    check_data(composed("data=image_folder", "data.root=data"))
    assert "data.channels=rgb" in next(
        line for line in capsys.readouterr().out.splitlines() if "run.py" in line
    )


def test_brightness_of_16_bits_and_floats(tmp_path: Path) -> None:
    for dtype in ("uint16", "float32"):
        np.save(tmp_path / "a.npy", pattern(dtype, 3))
        found = open_image(tmp_path / "a.npy", None, "grey")[:, :]
        want = pattern(dtype, 3).astype(float) @ [0.299, 0.587, 0.114]
        assert found.dtype == dtype
        assert np.abs(found[..., 0] - want).max() < (1 if dtype == "uint16" else 1e-3)
    bands = write_tiff(tmp_path / "a.tif", pattern(channels=4), "none", photometric=2)
    with pytest.raises(DataError, match="4 channels"):  # near infrared, not alpha
        open_image(bands, None, "rgb")
    alpha = write_tiff(
        tmp_path / "b.tif", pattern(channels=4), "none", photometric=2, tags={338: ("H", (2,))}
    )
    assert np.array_equal(open_image(alpha, None, "rgb")[:, :], pattern(channels=4)[..., :3])


def test_a_run_takes_grey_and_colour_everywhere(cli: Cli, tmp_path: Path) -> None:
    root = mixed_folder(tmp_path / "data")
    words = ["data=image_folder", f"data.root={root}", "data.channels=rgb", "batch_size=2", "epochs=1"]
    small = ["model.depth=2", "model.base_channels=4", "threads=1", "hydra.run.dir=run"]
    done = cli(*words, *small, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    predictor = load_run(tmp_path / "run", "cpu")
    path = root / "images" / "00.png"
    with Image.open(path) as grey:
        array = np.asarray(grey)
        three = np.repeat(array[..., None], 3, 2)
        for given in (path, array, grey, grey.convert("RGBA"), three):
            assert np.array_equal(predictor.predict(given), predictor.predict(three))
