"""Checkpoints as people have them, as backbones: read right, said, or refused in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from own_data import text_rows, write_jsonl
from peft import LoraConfig, TaskType, get_peft_model
from score_tables import ROOT
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    T5Config,
    T5Model,
)

from mmreward.model.hub import hf
from mmreward.model.tiny import tiny_tokenizer

SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 512, "initializer_range": 0.3,
    "max_position_embeddings": 512,
}  # fmt: skip
LINE = (
    "model=text", "model/backbone=hf", "data/source=jsonl", "data.source.path=pairs.jsonl",
    "data.source.test=0.2", "data.source.validation=0", "data.batch_size=8", "trainer.max_steps=2",
    "trainer.enable_progress_bar=false", "tracking=none", "evaluation.conditions=[intact]",
)  # fmt: skip


def saved(folder: Path, model: Any, tokenizer: Any = None) -> Path:
    model.save_pretrained(folder)
    (tokenizer or tiny_tokenizer()).save_pretrained(folder)
    return folder


def llama(folder: Path, tokenizer: Any = None, **config: Any) -> Path:
    torch.manual_seed(4)
    return saved(folder, LlamaForCausalLM(LlamaConfig(**SIZES | config)), tokenizer)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments], cwd=folder, capture_output=True,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )  # fmt: skip


def trained(folder: Path, path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    write_jsonl(folder / "pairs.jsonl", text_rows(20))
    line = (*LINE, f"model.backbone.path={path}", *more, "hydra.run.dir=run")
    return run(folder, *line)


def states(path: Path, ids: list[int], **options: Any) -> torch.Tensor:
    body: Any = hf(str(path), tuning="frozen", **options).body
    with torch.no_grad():
        return body.eval()(input_ids=torch.tensor([ids])).last_hidden_state


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A reward model as PEFT saves it: LoRA on a base, a trained head beside it."""
    base = llama(tmp_path / "base")
    model = get_peft_model(
        LlamaForSequenceClassification.from_pretrained(base, num_labels=1),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type=TaskType.SEQ_CLS),
    )
    torch.manual_seed(5)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    saved(tmp_path / "adapter", model)
    saved(tmp_path / "merged", model.merge_and_unload())
    return tmp_path / "adapter"


@pytest.mark.slow
def test_a_head_that_is_not_read_is_said(tmp_path: Path) -> None:
    config = LlamaConfig(**SIZES, num_labels=1, pad_token_id=0)
    path = saved(tmp_path / "rm", LlamaForSequenceClassification(config))
    done = trained(tmp_path, path)
    assert done.returncode == 0, done.stderr
    assert f"not read from {path}: score.weight." in done.stdout
    assert "not read" not in trained(tmp_path / "base", llama(tmp_path / "base" / "lm")).stdout


@pytest.mark.slow
def test_a_head_beside_an_adapter_is_said_too(adapter: Path, tmp_path: Path) -> None:
    done = trained(tmp_path, adapter)
    assert done.returncode == 0, done.stderr
    assert "not read from" in done.stdout and "score.weight" in done.stdout
    again = run(tmp_path, "task=evaluate", "run=run", "tracking=none",
                "evaluation.conditions=[intact,normalised]")  # fmt: skip
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("tuning", ["lora", "full", "frozen"])
def test_an_adapter_is_its_base_with_it(adapter: Path, tuning: str) -> None:
    ids = list(range(10, 30))
    expected = states(adapter.parent / "merged", ids)
    assert torch.allclose(states(adapter, ids), expected, atol=1e-4)
    assert not torch.allclose(states(adapter.parent / "base", ids), expected, atol=1e-1)
    found = hf(str(adapter), tuning=tuning)
    assert set(found.not_read) == {"score.weight"}
    lora = [name for name, _ in found.body.named_parameters() if "lora_" in name]
    # Two factors of each of four projections in two layers, and none of the adapter's.
    assert len(lora) == (2 * 4 * 2 if tuning == "lora" else 0)


@pytest.mark.slow
def test_tokens_without_an_embedding_are_refused_with_both_numbers(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    rows = len(tokenizer)
    tokenizer.add_tokens(["<think>", "</think>"])
    path = llama(tmp_path / "lm", tokenizer, vocab_size=rows)
    done = trained(tmp_path, path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"up to {rows + 1}" in done.stderr and f"embeddings for {rows};" in done.stderr
    (tmp_path / "resized").mkdir()
    resized = trained(tmp_path / "resized", path, "model.backbone.resize_embeddings=true")
    assert resized.returncode == 0, resized.stderr
    first = states(path, [rows, rows + 1], resize_embeddings=True)
    assert torch.equal(first, states(path, [rows, rows + 1], resize_embeddings=True))


@pytest.mark.slow
def test_a_pad_token_needs_no_embedding(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    done = trained(tmp_path, llama(tmp_path / "lm", tokenizer, vocab_size=rows))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_is_not_scored_on_another_base(adapter: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    done = trained(tmp_path, base)
    assert done.returncode == 0, done.stderr
    meta = json.loads((tmp_path / "run" / "scores.meta.json").read_text())
    evaluate = ("task=evaluate", "run=run", "tracking=none",
                "evaluation.conditions=[intact,normalised]")  # fmt: skip
    shutil.move(base, tmp_path / "kept")
    shutil.copytree(tmp_path / "merged", base)
    refused = run(tmp_path, *evaluate)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert meta["base"] in refused.stderr and refused.stderr.count("sha256 ") == 2
    shutil.rmtree(base)
    shutil.copytree(tmp_path / "kept", base)  # a copy is the same base
    assert run(tmp_path, *evaluate).returncode == 0


def test_the_base_of_an_adapter_is_part_of_what_it_is(adapter: Path) -> None:
    base = adapter.parent / "base"
    before = hf(str(adapter)).base
    weights = base / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # one bit
    weights.write_bytes(bytes(content))
    assert hf(str(adapter)).base != before


FAMILIES = {
    "bloom": lambda: BloomForCausalLM(
        BloomConfig(vocab_size=512, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3)
    ),
    "falcon": lambda: FalconForCausalLM(
        FalconConfig(
            vocab_size=512, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=True,
            initializer_range=0.3,
        )
    ),
    "t5": lambda: T5Model(T5Config(vocab_size=512, d_model=32, d_ff=64, num_layers=1, num_heads=2)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "more", "answer"),
    [
        ("bloom", (), "use model.backbone.attention=eager"),
        ("bloom", ("model.backbone.attention=eager",), "layout: separate"),
        ("falcon", (), "layout: separate"),
        ("falcon", ("layout=shared",), "layout=shared cannot work here"),
        ("t5", (), "is an encoder-decoder"),
    ],
)
def test_families_without_branches(
    tmp_path: Path, family: str, more: tuple[str, ...], answer: str
) -> None:
    path = saved(tmp_path / "model", FAMILIES[family]())
    done = trained(tmp_path, path, *more)
    assert "Traceback" not in done.stderr
    said = done.stdout if answer.startswith("layout: ") else done.stderr
    assert answer in said and done.returncode == (0 if said is done.stdout else 1)
