"""Pretrained backbones: checkpoints in hub layout go in, trained bodies come out."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import (
    VISION_FAMILIES,
    family_records,
    image,
    image_records,
    record,
    text_records,
    tiny_backbone,
)
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AddedToken,
    BertConfig,
    BertForMaskedLM,
    CLIPVisionConfig,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2ForCausalLM,
    Qwen2VLForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mmreward.config import CONF, build
from mmreward.data.prefix import Collate
from mmreward.errors import UserError
from mmreward.losses.bradley_terry import BradleyTerry
from mmreward.model.backbone import Backbone, count_parameters
from mmreward.model.bundle import load_bundle, make_encoder, save_bundle
from mmreward.model.hub import TUNINGS, attention_projections, hf, vision_tower
from mmreward.model.layout import decide_layout
from mmreward.model.processor import load_processor
from mmreward.model.reward import RewardModel
from mmreward.model.tiny import tiny_tokenizer

WHOLE = {
    "qwen2_vl": Qwen2VLForConditionalGeneration,
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
    "gpt2": GPT2LMHeadModel,
    "llama": LlamaForCausalLM,
    "qwen2": Qwen2ForCausalLM,
    "bert": BertForMaskedLM,
}
FAMILIES = sorted(WHOLE)

# Rank 8 times (in + out) of every projection, at width 32 and two layers. Grouped queries: q and o
# are 32 -> 32, k and v 32 -> 16. GPT-2 has 32 -> 96 and 32 -> 32, BERT four of 32 -> 32.
LORA = {
    **dict.fromkeys(FAMILIES, 2 * 8 * (64 + 48 + 48 + 64)),
    "gpt2": 2 * 8 * (128 + 64),
    "bert": 2 * 8 * (4 * 64),
}


@dataclass
class Checkpoint:
    folder: Path
    body: dict[str, Tensor]


def whole_model(family: str) -> Any:
    """The family's tiny model with its language-model head."""
    if family == "bert":
        return BertForMaskedLM(
            BertConfig(
                vocab_size=512,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                initializer_range=0.3,
            )
        )
    return WHOLE[family](tiny_backbone(family).config)


def body_of(whole: Any) -> dict[str, Tensor]:
    return {n: t.detach().clone() for n, t in whole.base_model.state_dict().items()}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """family -> its checkpoint, written once: whole model, tokenizer, processor."""

    @cache
    def write(family: str) -> Checkpoint:
        torch.manual_seed(1)
        folder = tmp_path_factory.mktemp(family)
        whole = whole_model(family)
        whole.save_pretrained(folder)
        if family in VISION_FAMILIES:
            tiny_backbone(family).processor.save_pretrained(folder)
        else:
            tiny_tokenizer(chat=family not in ("gpt2", "bert")).save_pretrained(folder)
        assert not (folder / "preprocessor_config.json").exists()
        return Checkpoint(folder, body_of(whole))

    return write


@cache
def composed(model: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["model/backbone=hf", f"model={model}"])


def node(folder: Path, *settings: str, model: str = "base") -> DictConfig:
    """The `model` node of a command line with model.backbone.<setting> for every setting."""
    chosen = OmegaConf.from_dotlist([f"path={folder}", *settings])
    merged = OmegaConf.merge(composed(model).model, {"backbone": chosen})
    assert isinstance(merged, DictConfig)
    return merged


def backbone(folder: Path, *settings: str) -> Backbone:
    """Through the configuration, as a user gets it."""
    built: Backbone = build(node(folder, *settings).backbone, "model.backbone")
    return built


def reward_model(folder: Path, *settings: str, model: str = "base") -> RewardModel:
    built: RewardModel = build(node(folder, *settings, model=model), "model")
    return built


def records(family: str) -> list[Any]:
    return family_records(family) if family != "bert" else text_records()


def scores(model: RewardModel, family: str, layout: Any) -> Tensor:
    batch = Collate(make_encoder(model.backbone, None), layout)(records(family))
    with torch.no_grad():
        return model.eval()(batch).scores


def step(model: RewardModel, family: str, layout: Any = "shared") -> set[str]:
    """One training step; the names of the parameters that moved."""
    model.train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    batch = Collate(make_encoder(model.backbone, None), layout)(records(family))
    # Twice: while LoRA's second matrix is zero its first has no gradient.
    for _ in range(2):
        optimizer.zero_grad()
        BradleyTerry()(model(batch), batch).total.backward()
        optimizer.step()
    return {n for n, p in model.named_parameters() if not torch.equal(before[n], p)}


# -- what is loaded ------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_body_is_the_checkpoints_and_nothing_else(family: str, checkpoint: Any) -> None:
    saved = checkpoint(family)
    body = backbone(saved.folder, "tuning=frozen").body
    assert type(body) is type(whole_model(family).base_model)
    loaded = body.state_dict()
    assert loaded.keys() == saved.body.keys()
    assert not [name for name in loaded if "lm_head" in name]
    assert all(torch.equal(loaded[name], saved.body[name]) for name in loaded)


@pytest.mark.parametrize("family", FAMILIES)
def test_layouts_score_alike_or_are_not_offered(family: str, checkpoint: Any) -> None:
    model = reward_model(checkpoint(family).folder).eval()
    encoder = make_encoder(model.backbone, None)
    prompt = "Which digit is this? " * 10
    chosen, reason = decide_layout("auto", model.backbone, encoder, [record(prompt)])
    if family == "bert":
        assert chosen == "separate", reason
        assert torch.isfinite(scores(model, family, "separate")).all()
        return
    assert chosen == "shared", reason
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # starts at zero, and would not take part
                parameter.normal_(std=0.3)
    shared, separate = (scores(model, family, layout) for layout in ("shared", "separate"))
    assert torch.allclose(shared, separate, atol=2e-5)
    assert shared.std() > 1e-3


def test_a_text_checkpoint_without_processor_files_trains_as_model_text(checkpoint: Any) -> None:
    folder = checkpoint("gpt2").folder
    model = reward_model(folder, model="text")
    assert model.backbone.processor is None
    moved = step(model, "gpt2")
    assert "head.score.weight" in moved and any("lora_A" in name for name in moved)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_pixels_reach_the_image_processor(
    family: str, old: bool, checkpoint: Any, tmp_path: Path
) -> None:
    """`old`: as older hub repositories have it, min_pixels and max_pixels in a file apart."""
    folder = checkpoint(family).folder
    if old:
        for file in folder.iterdir():
            if file.name != "processor_config.json":
                (tmp_path / file.name).symlink_to(file)
        config = OmegaConf.load(folder / "processor_config.json")
        parts = OmegaConf.to_container(config.image_processor)
        assert isinstance(parts, dict)
        del parts["size"]
        parts |= {"min_pixels": 3136, "max_pixels": 12845056}
        parts["processor_class"] = config.processor_class
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(parts))
        folder = tmp_path
    side = 2 * (16 if family == "qwen3_vl" else 14)  # pixels of a token's side
    large = record(0, "?", media=(image(12 * side, 12 * side),))
    small = record(0, "?", media=(image(side, side),))

    def tokens(one: Any, *overrides: str) -> int:
        found = backbone(folder, "tuning=frozen", *overrides)
        return sum(make_encoder(found, None).encode(one).prompt_types)

    assert tokens(large, f"max_pixels={9 * side**2}") == 9
    assert tokens(small, f"min_pixels={16 * side**2}") == 16
    if old:
        assert tokens(large) == 144


def test_the_limits_of_images_travel_with_the_bundle(checkpoint: Any, tmp_path: Path) -> None:
    folder = checkpoint("qwen2_vl").folder
    found = backbone(folder, f"max_pixels={9 * 28**2}")
    found.processor.save_pretrained(tmp_path)
    _, again = load_processor(tmp_path)
    size = again.image_processor.size
    assert (size.shortest_edge, size.longest_edge) == (28**2, 9 * 28**2)


def test_loading_needs_no_torchvision(checkpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)  # importing it now fails
    found = backbone(checkpoint("qwen3_vl").folder, "tuning=frozen")
    assert make_encoder(found, None).encode(record(0, "?", media=(image(),))).media


# -- what is trained -----------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_is_in_the_language_models_attention_alone(family: str, checkpoint: Any) -> None:
    body = backbone(checkpoint(family).folder).body
    trained = [n for n, p in body.named_parameters() if p.requires_grad]
    assert count_parameters(body)[0] == LORA[family]
    assert all("lora_" in name for name in trained)
    assert all("att" in name and "visual" not in name and "mlp" not in name for name in trained)
    assert len({name.split(".lora_")[0] for name in trained}) == 2 * (2 if family == "gpt2" else 4)


def test_the_projections_are_those_of_the_papers(checkpoint: Any) -> None:
    def found(family: str) -> set[str]:
        body = backbone(checkpoint(family).folder, "tuning=frozen").body
        names = attention_projections(body)
        return {name.split("layers.0.")[-1] for name in names if ".0." in name}

    qkvo = {f"self_attn.{letter}_proj" for letter in "qkvo"}
    assert found("qwen2_vl") == found("qwen2_5_vl") == found("qwen3_vl") == found("llama") == qkvo
    assert found("gpt2") == {"h.0.attn.c_attn", "h.0.attn.c_proj"}
    part = "encoder.layer.0.attention."
    own = {part + "self." + name for name in ("query", "key", "value")}
    assert found("bert") == own | {part + "output.dense"}


def test_rank_and_scale_are_settings(checkpoint: Any) -> None:
    settings = ("lora_r=4", "lora_alpha=2", "lora_dropout=0.25")
    body = backbone(checkpoint("qwen2_vl").folder, *settings).body
    layer = body.language_model.layers[0].self_attn.q_proj
    assert count_parameters(body)[0] == LORA["qwen2_vl"] / 2
    assert layer.scaling["default"] == 0.5 and layer.lora_dropout["default"].p == 0.25


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_with_lora_moves_lora_and_the_head(family: str, checkpoint: Any) -> None:
    model = reward_model(checkpoint(family).folder)
    moved = step(model, family, "separate" if family == "bert" else "shared")
    lora = {n for n, p in model.named_parameters() if "lora_" in n}
    # The bias is in both scores of a pair: no gradient but rounding.
    assert moved - {"head.score.bias"} == lora | {"head.score.weight"}


@pytest.mark.parametrize(
    ("family", "tuning", "freeze_vision"),
    [
        *(("qwen2_vl", *choice) for choice in product(TUNINGS, (True, False))),
        *product(VISION_FAMILIES[1:], ["full"], (True, False)),
    ],
)
def test_a_step_moves_only_what_should_move(
    family: str, tuning: str, freeze_vision: bool, checkpoint: Any
) -> None:
    model = reward_model(
        checkpoint(family).folder, f"tuning={tuning}", f"freeze_vision={freeze_vision}"
    )
    moved = step(model, family)
    visual = {n for n in moved if ".visual." in n}
    lora = {n for n in moved if "lora_" in n}
    other = moved - visual - lora - {"head.score.weight", "head.score.bias"}
    assert bool(visual) is not freeze_vision
    assert bool(lora) is (tuning == "lora")
    assert bool(other) is (tuning == "full")
    tower = vision_tower(model.backbone.body)
    assert tower is not None
    assert all(p.requires_grad is not freeze_vision for p in tower.parameters())
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    # What cannot matter to a difference of scores: a bias on every score, a constant added to
    # all keys, features joined to image tokens after the last layer.
    idle = ("head.score.bias", "k_proj.bias", "qkv.bias", "deepstack_merger_list.1.")
    assert not [name for name in trained - moved if not any(part in name for part in idle)]


def test_dropout_and_checkpointing_are_on_where_something_is_trained(checkpoint: Any) -> None:
    """from_pretrained leaves everything in eval mode, and Lightning keeps the mode it finds."""
    assert not any(
        m.training
        for m in backbone(checkpoint("gpt2").folder, "tuning=frozen").modules()
        if isinstance(m, nn.Dropout)
    )
    body = backbone(checkpoint("qwen2_vl").folder).body
    assert body.language_model.layers[0].training and not body.visual.blocks[0].training
    body = backbone(checkpoint("qwen2_vl").folder, "tuning=frozen", "freeze_vision=false").body
    assert body.visual.blocks[0].training and not body.language_model.layers[0].training


def test_a_frozen_tower_does_not_run_backwards(checkpoint: Any) -> None:
    found = backbone(checkpoint("qwen2_vl").folder, "gradient_checkpointing=true")
    seen = []
    found.body.visual.blocks[-1].register_forward_hook(lambda *a: seen.append(a[-1].requires_grad))
    batch = Collate(make_encoder(found, None))(image_records())
    (states,) = found(batch)
    assert states.requires_grad and seen == [False]


@pytest.mark.parametrize("family", ["qwen2_vl", "gpt2"])
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_checkpointing_changes_memory_and_not_gradients(
    family: str, tuning: str, checkpoint: Any
) -> None:
    def gradients(on: bool) -> tuple[dict[str, Tensor], int]:
        folder, setting = checkpoint(family).folder, f"gradient_checkpointing={on}"
        torch.manual_seed(0)
        model = reward_model(folder, f"tuning={tuning}", "lora_dropout=0.0", setting)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        batch = Collate(make_encoder(model.backbone, None))(records(family))
        kept = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = BradleyTerry()(model(batch), batch).total
        kept_forward = kept
        loss.backward()
        return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}, kept_forward

    (plain, much), (checkpointed, little) = gradients(False), gradients(True)
    assert plain.keys() == checkpointed.keys() and len(plain) > 4
    assert all(torch.allclose(plain[n], checkpointed[n], atol=1e-6) for n in plain)
    assert little < 0.7 * much


# -- precision -----------------------------------------------------------------------------


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "gpt2", "llama"])
def test_half_precision_is_the_frozen_weights_alone(
    family: str, tuning: str, checkpoint: Any
) -> None:
    folder = checkpoint(family).folder
    model = reward_model(folder, "dtype=bfloat16", f"tuning={tuning}")
    for name, parameter in model.named_parameters():
        expected = torch.float32 if parameter.requires_grad else torch.bfloat16
        assert parameter.dtype == expected, name
    turning = {n: b for n, b in model.named_buffers() if n.endswith("inv_freq")}
    assert all(b.dtype == torch.float32 for b in turning.values())
    assert bool(turning) is (family != "gpt2")
    close = scores(model, family, "shared")
    assert close.dtype == torch.float32
    torch.manual_seed(0)
    if tuning == "lora":
        assert step(model, family) >= {n for n, p in model.named_parameters() if "lora_" in n}


def test_the_checkpoints_own_dtype_is_the_default(checkpoint: Any, tmp_path: Path) -> None:
    whole_model("llama").to(torch.float16).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    frozen = backbone(tmp_path, "tuning=frozen").body
    assert {p.dtype for p in frozen.parameters()} == {torch.float16}
    asked = backbone(tmp_path, "tuning=frozen", "dtype=float32").body
    assert {p.dtype for p in asked.parameters()} == {torch.float32}


def test_attention_is_a_setting(checkpoint: Any) -> None:
    folder = checkpoint("qwen2_vl").folder
    torch.manual_seed(0)
    eager = reward_model(folder, "attention=eager")
    torch.manual_seed(0)
    sdpa = reward_model(folder)
    assert eager.backbone.config.get_text_config()._attn_implementation == "eager"
    assert torch.allclose(
        scores(eager, "qwen2_vl", "shared"), scores(sdpa, "qwen2_vl", "shared"), atol=2e-5
    )


# -- vision models of other kinds ----------------------------------------------------------

LLAVA_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}<image>\n{% else %}{{ p['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA: square images of one size, each a fixed number of tokens."""
    torch.manual_seed(1)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<image>", special=True)])
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **common, num_attention_heads=4, image_size=56, patch_size=14, initializer_range=0.3
        ),
        text_config=LlamaConfig(
            **common, num_attention_heads=4, vocab_size=len(tokenizer), initializer_range=0.3
        ),
        image_token_index=image_id,
        image_token_id=image_id,
    )
    side = {"height": 56, "width": 56}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size=side),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    folder = tmp_path_factory.mktemp("llava")
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_llava_scores_as_in_transformers_own_forward(llava: Path) -> None:
    bone = backbone(llava, "tuning=frozen").eval()
    encoder = make_encoder(bone, None)
    encoded = [encoder.encode(item) for item in image_records()[:2]]
    shared = Collate(encoder, "shared").batch(encoded)
    ours = bone(shared)[0][shared.answer_row, shared.pool_index]
    sequences = [(item, answer) for item in encoded for answer in item.answer_ids]
    for state, (item, answer) in zip(ours, sequences, strict=True):
        ids = torch.tensor([item.prompt_ids + answer])
        stock = bone.body(input_ids=ids, **item.media).last_hidden_state[0, -1]
        torch.testing.assert_close(state, stock, atol=1e-4, rtol=1e-4)


def test_a_processor_nobody_tried_is_refused(llava: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llava, tmp_path / "other")
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            text = (folder / name).read_text()
            (folder / name).write_text(text.replace("LlavaProcessor", "Gemma3Processor"))
    with pytest.raises(UserError, match="images of a Gemma3Processor are not read yet"):
        backbone(folder)


# -- bundles -------------------------------------------------------------------------------


@pytest.mark.parametrize("freeze_vision", [True, False])
@pytest.mark.parametrize("tuning", TUNINGS)
def test_a_bundle_holds_what_was_trained_and_rebuilds_the_model(
    tuning: str, freeze_vision: bool, checkpoint: Any, tmp_path: Path
) -> None:
    folder = checkpoint("qwen2_vl").folder
    settings = (f"tuning={tuning}", f"freeze_vision={freeze_vision}")
    model = reward_model(folder, *settings)
    step(model, "qwen2_vl")
    expected = scores(model, "qwen2_vl", "shared")
    description = OmegaConf.to_container(node(folder, *settings), resolve=True)
    collate = Collate(make_encoder(model.backbone, None), "shared")
    save_bundle(tmp_path / "model", model, description, collate)  # type: ignore[arg-type]

    saved = load_file(tmp_path / "model" / "model.safetensors")
    body = {n.removeprefix("backbone.body.") for n in saved if n.startswith("backbone.")}
    whole = set(checkpoint("qwen2_vl").body)
    tower = {n for n in whole if n.startswith("visual.")}
    lora = {n for n in body if "lora_" in n}
    assert len(lora) == (16 if tuning == "lora" else 0)
    assert body - lora == {
        ("full", True): whole - tower,
        ("full", False): whole,
        ("lora", False): tower,
        ("frozen", False): tower,
    }.get((tuning, freeze_vision), set())

    again, read = load_bundle(tmp_path / "model")
    with torch.no_grad():
        rebuilt = again(read(image_records() + text_records())).scores
        original = model(collate(image_records() + text_records())).scores
    assert torch.equal(rebuilt, original)
    assert len(expected) and again.backbone.path == str(folder)


def test_a_bundle_finds_its_backbone_from_any_folder(
    checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint("gpt2").folder
    monkeypatch.chdir(folder.parent)
    near = Path(folder.name)
    model = reward_model(near)
    description = OmegaConf.to_container(node(near), resolve=True)
    collate = Collate(make_encoder(model.backbone, None), "shared")
    save_bundle(tmp_path / "model", model, description, collate)  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    again, _ = load_bundle(tmp_path / "model")
    assert torch.equal(scores(again, "gpt2", "shared"), scores(model, "gpt2", "shared"))


# -- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nowhere/at/all", "no/such-model", "nosuchmodel"])
def test_a_path_without_a_model_is_named_with_the_way_out(path: str) -> None:
    with pytest.raises(UserError, match=r"model\.backbone\.path=.*HF_HUB_OFFLINE"):
        backbone(Path(path))


def test_folders_that_lack_something(checkpoint: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"path=.*this folder.*config\.json"):
        backbone(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(checkpoint("qwen2_vl").folder / name)
    with pytest.raises(UserError, match="has no tokenizer"):
        backbone(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"preprocessor_config\.json"):
        backbone(tmp_path)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_text_model_without_a_tokenizer(family: str, checkpoint: Any, tmp_path: Path) -> None:
    """transformers makes up an empty one for the one and refuses the other."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(checkpoint(family).folder / name)
    with pytest.raises(UserError, match=r"path=.* has no tokenizer"):
        backbone(tmp_path)


def test_missing_weights_are_not_made_up(checkpoint: Any, tmp_path: Path) -> None:
    source = checkpoint("llama").folder
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).symlink_to(file)
    weights = load_file(source / "model.safetensors")
    del weights["model.layers.1.self_attn.q_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 weights.*layers\.1\.self_attn\.q_proj"):
        backbone(tmp_path)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("tuning=qlora", "lora, full, frozen"),
        ("dtype=fp16", "auto, float32, bfloat16, float16"),
        ("attention=flash_attention_2", "package that is not installed"),
        ("attention=fast", "fast"),
    ],
)
def test_wrong_settings(setting: str, said: str, checkpoint: Any) -> None:
    with pytest.raises(UserError, match=said):
        backbone(checkpoint("llama").folder, setting)


# -- presets -------------------------------------------------------------------------------


def test_presets_say_only_what_differs() -> None:
    folder = CONF / "model" / "backbone"
    common = yaml.safe_load((folder / "hf.yaml").read_text())
    defaults = {n: p.default for n, p in inspect.signature(hf).parameters.items() if n != "path"}
    assert {n: v for n, v in common.items() if n not in ("_target_", "path")} == defaults
    presets = [
        path
        for path in sorted(folder.glob("*.yaml"))
        if "hf" in (yaml.safe_load(path.read_text()).get("defaults") or [])
    ]
    assert len(presets) >= 6
    for path in presets:
        own = yaml.safe_load(path.read_text())
        assert own["path"].count("/") == 1
        assert set(own) - {"defaults", "path"} <= set(common)
        assert all(own[name] != common[name] for name in set(own) - {"defaults"})
