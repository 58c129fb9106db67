"""How far onnxruntime on the exported graph and PyTorch are apart, for each network of conf/model as shipped.

    python benchmarks/export_networks.py     # two minutes on two cores; prints the table of docs/predict.md

Random weights (seed 0), normalised noise, one channel, two classes, fp32. Each image is answered as a whole;
the figure is the largest difference of a probability in it.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import onnxruntime
import torch
from hydra import compose, initialize_config_dir

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from unet_exp.config.hydra_hooks import register
from unet_exp.config.resolve import check
from unet_exp.inference.any_size import AnySize
from unet_exp.inference.export import answers_of, compare
from unet_exp.inference.onnx_graph import depth_and_padding, onnx_graph
from unet_exp.models.unet import UNet
from unet_exp.rundir.provenance import cpu_name
from unet_exp.training.build import build_model

SIZES = {"same": [(64, 96), (97, 129), (1, 50)], "valid": [(188, 188), (204, 236), (220, 188)]}

FITTING = {"unet2015": ["data.size=252"]}


def network(option: str) -> torch.nn.Module | None:
    """The network of conf/model/OPTION.yaml; None where its package is not installed."""
    config = check(compose("config", overrides=[f"model={option}", *FITTING.get(option, [])]))
    if importlib.util.find_spec(config.model["_target_"].partition(".")[0]) is None:
        return None
    known = dict.fromkeys(("in_channels", "out_channels", "classes"), 1)
    config.model |= {key: known[key] for key, value in config.model.items() if value == "auto"}
    torch.manual_seed(0)
    model = build_model(config).eval()
    return model if isinstance(model, UNet) else AnySize(model).eval()


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    register()
    print(f"{cpu_name()}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}\n")
    print("| `model=` | height x width: largest difference of a probability |", "|---|---|", sep="\n")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for path in sorted((ROOT / "conf" / "model").glob("*.yaml")):
            model = network(path.stem)
            if model is None:
                print(f"| `{path.stem}` | untried: its package is not installed |")
                continue
            answers = answers_of(model, 1, 2, SIZES[depth_and_padding(model)[1]])
            found = compare(onnx_graph(model, 1, 2), answers)
            cells = [f"{height} x {width}: {largest:.1e}" for (height, width), largest in found.items()]
            print(f"| `{path.stem}` | {', '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
