"""The paragraph "Methods" of a report, its numbers filled in, and what it cites."""

from collections.abc import Mapping
from typing import Any

from unet_exp.messages import counted

SOURCES = {
    "unet": "Ronneberger, Fischer, Brox: U-Net. MICCAI 2015. doi 10.1007/978-3-319-24574-4_28",
    "torch": "Paszke et al.: PyTorch. NeurIPS 2019. arXiv 1912.01703",
    "Adam": "Kingma, Ba: Adam. ICLR 2015. arXiv 1412.6980",
    "AdamW": "Loshchilov, Hutter: Decoupled weight decay regularization. ICLR 2019. arXiv 1711.05101",
    "dice": "Dice: Measures of the amount of ecologic association. Ecology 1945. doi 10.2307/1932409",
    "em": "Arganda-Carreras et al.: Crowdsourcing the creation of image segmentation algorithms for "
    "connectomics. Front. Neuroanat. 2015. doi 10.3389/fnana.2015.00142",
    "t": "Satterthwaite: An approximate distribution of estimates of variance components. Biometrics 1946. "
    "doi 10.2307/3002019",
    "Holm": "Holm: A simple sequentially rejective multiple test procedure. Scand. J. Statist. 1979",
}


def training_sentences(
    settings: Mapping[str, Any], images: Mapping[str, int], versions: Mapping[str, Any], device: str
) -> tuple[str, list[str]]:
    """How a network was trained, and the keys of SOURCES. images: how many of each split."""
    network = class_name(settings.get("model._target_"))
    optimizer = class_name(settings.get("optimizer._target_"))
    sources = ["torch"]
    details = [
        f"{words} {settings[key]}"
        for key, words in (("model.depth", "depth"), ("model.base_channels", "base channels"))
        if settings.get(key) is not None
    ]
    inner = f" ({', '.join(details)})" if details else ""
    shown = "U-Net" if network == "UNet" else network
    sources += ["unet"] * (network == "UNet")
    sources += [optimizer] * (optimizer in SOURCES)
    steps = [
        key.split(".")[2]
        for key in settings
        if key.startswith("transform.train.") and key.endswith("._target_") and settings[key]
    ]
    augmentation = [step.replace("_", " ") for step in steps if step not in ("normalize", "to_tensor")]
    monitor = settings.get("trainer.monitor")
    chosen = (
        "the weights of the last validation were kept"
        if settings.get("trainer.best_by") == "last"
        else f"the weights of the epoch with the best {monitor} on the validation images were kept"
    )
    rate = settings.get("lr", settings.get("optimizer.lr"))
    sentences = [
        f"A {shown}{inner} was trained with PyTorch {versions.get('torch')} on "
        f"{counted(images.get('train', 0), 'image')} for {settings.get('epochs')} epochs with {optimizer} "
        f"(learning rate {rate}, batches of {settings.get('batch_size')}, "
        f"{class_name(settings.get('loss._target_'))}, seed {settings.get('seed')}) on {device}.",
        f"Training images were augmented by: {', '.join(augmentation)}." if augmentation else "",
        f"{counted(images.get('val', 0), 'image')} validated; {chosen}.",
    ]
    if images.get("test"):
        sentences.append(f"{counted(images['test'], 'image')} were set aside for testing.")
    return " ".join(sentence for sentence in sentences if sentence), sources


def class_name(target: Any) -> str:
    return str(target).rpartition(".")[2]


def citations(keys: list[str]) -> list[str]:
    return [SOURCES[key] for key in dict.fromkeys(keys) if key in SOURCES]
