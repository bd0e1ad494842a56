"""A bundle: the folder `model/` of a run, from which the model is rebuilt anywhere.

    model/bundle.json         what to build (plain configuration), layout and lengths, versions
    model/model.safetensors   weights: all of them if the backbone is random, else the trained ones
    model/processor/          tokenizer, chat template, image processor

Nothing in it is code and nothing is pickled.
"""

from __future__ import annotations

import json
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmreward.config import build, plain_config
from mmreward.data.encoding import Encoder
from mmreward.data.prefix import Collate
from mmreward.errors import UserError
from mmreward.model.backbone import Backbone
from mmreward.model.processor import load_processor
from mmreward.model.reward import RewardModel

FORMAT = 1


def trained_state(model: RewardModel) -> dict[str, torch.Tensor]:
    """The weights a bundle must hold to rebuild this model."""
    backbone = model.backbone
    assert isinstance(backbone, Backbone)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if name in trained or backbone.path is None or not name.startswith("backbone.")
    }


def save_bundle(
    folder: Path, model: RewardModel, model_config: dict[str, Any], collate: Collate
) -> None:
    """Writes model/ of a run. `model_config` is the resolved `model` node."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(trained_state(model), folder / "model.safetensors")
    backbone = model.backbone
    (backbone.processor or backbone.tokenizer).save_pretrained(folder / "processor")
    if backbone.path and Path(backbone.path).is_dir():  # found again from any working directory
        model_config = deepcopy(model_config)
        model_config["backbone"]["path"] = str(Path(backbone.path).resolve())
    description = {
        "format": FORMAT,
        "model": model_config,
        "base": backbone.base,
        "layout": collate.layout,
        "max_length": collate.encoder.max_length,
        "versions": {name: version(name) for name in ("mmreward", "torch", "transformers")},
    }
    (folder / "bundle.json").write_text(json.dumps(description, indent=1) + "\n")


def load_bundle(folder: Path) -> tuple[RewardModel, Collate]:
    """(model in eval mode, the collate it was trained with).

    Raises UserError if the folder is no bundle, was written by a later version, or holds weights
    that do not fit what it describes.
    """
    path = folder / "bundle.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no bundle (bundle.json is missing); train the run first")
    description = json.loads(path.read_text())
    if description["format"] > FORMAT:
        raise UserError(f"{folder} was written by a later version of mmreward; update yours")
    model = build(plain_config(description["model"], path), "model")
    load_weights(model, folder / "model.safetensors")
    backbone = model.backbone
    base = description.get("base")  # bundles of before do not name it
    if base is not None and backbone.base != base:
        raise UserError(
            f"{folder} stands on other weights than {backbone.path} holds now ({base}, not "
            f"{backbone.base}); put those it was trained on back, or train it again"
        )
    backbone.tokenizer, backbone.processor = load_processor(folder / "processor")
    encoder = make_encoder(backbone, description["max_length"])
    return model.eval(), Collate(encoder, description["layout"])


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a bundle's weights; every trained parameter must be there, and nothing else."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; that run has not finished its training")
    try:
        missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    except RuntimeError as error:  # shapes that differ
        raise UserError(f"{path} does not fit this model: {' '.join(str(error).split())}") from None
    needed = {name for name, p in model.named_parameters() if p.requires_grad}
    lost = sorted(needed & set(missing))
    if lost or unexpected:
        raise UserError(
            f"{path} does not fit the model it describes: {len(lost)} trained weights missing "
            f"{lost[:2]}, {len(unexpected)} unknown {sorted(unexpected)[:2]}"
        )


def make_encoder(backbone: Backbone, max_length: int | None) -> Encoder:
    """The encoder that belongs to a backbone; never longer than the backbone has positions for."""
    limits = [limit for limit in (max_length, backbone.max_positions) if limit is not None]
    encoder = Encoder(
        backbone.tokenizer, backbone.processor, backbone.merge_size, min(limits, default=None)
    )
    if encoder.pad_id >= backbone.rows:  # any other will do: nothing attends to padding
        encoder.pad_id = 0
    return encoder
