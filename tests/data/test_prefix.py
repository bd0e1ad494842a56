"""PrefixBatch: the worked example, exact tensors, positions against transformers."""

from __future__ import annotations

import pickle

import pytest
import torch
from helpers import VISION_FAMILIES, image, image_records, record, text_records, tiny_backbone

from mmreward.data.encoding import EncodedRecord, Encoder
from mmreward.data.positions import mrope_positions
from mmreward.data.prefix import Collate
from mmreward.model.bundle import make_encoder
from mmreward.model.tiny import tiny_tokenizer
from mmreward.records import Message, Record, Response


def worked_example(layout: str, **fields: object):
    encoder = Encoder(tiny_tokenizer())
    item = record("p", answers=("a", "b"), **fields)
    encoded = EncodedRecord(item, [10, 11, 12], [0, 0, 0], [[20, 21, 2], [30, 2]])
    return Collate(encoder, layout).batch([encoded])


def test_shared_layout_of_the_worked_example() -> None:
    batch = worked_example("shared")
    assert batch.input_ids.tolist() == [[10, 11, 12, 20, 21, 2, 30, 2]]
    assert batch.segment_ids.tolist() == [[0, 0, 0, 1, 1, 1, 2, 2]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 3, 4]]
    assert batch.pool_index.tolist() == [5, 7]
    assert batch.answer_row.tolist() == [0, 0]
    assert batch.answer_segment.tolist() == [1, 2]
    assert batch.pairs.tolist() == [[0, 1]]
    assert batch.target_index.tolist() == [3, 4, 5, 6, 7]
    assert batch.predict_from.tolist() == [2, 3, 4, 2, 6]
    assert batch.target_answer.tolist() == [0, 0, 0, 1, 1]


def test_separate_layout_of_the_worked_example() -> None:
    batch = worked_example("separate")
    pad = Encoder(tiny_tokenizer()).pad_id
    assert batch.input_ids.tolist() == [[10, 11, 12, 20, 21, 2], [10, 11, 12, 30, 2, pad]]
    assert batch.segment_ids.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, -1]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 0]]
    assert batch.pool_index.tolist() == [5, 4]
    assert batch.answer_row.tolist() == [0, 1]
    assert batch.target_index.tolist() == [3, 4, 5, 3, 4]
    assert batch.predict_from.tolist() == [2, 3, 4, 2, 3]


def test_grouped_comparisons_stay_the_pairs_they_are() -> None:
    """(a > b) and (c > d) of one prompt say nothing about a and d."""
    answers = tuple(Response(t, 0) for t in "abcd")
    item = Record((Message("user", ("x",)),), answers, judged=((0, 1), (2, 3)), weight=2.0)
    batch = Collate(Encoder(tiny_tokenizer()))([record("first"), item])
    assert batch.pairs.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert batch.pair_weight.tolist() == [1.0, 1.0, 1.0]
    assert batch.ties.tolist() == []


def test_ranks_make_weighted_pairs_and_ties() -> None:
    item = record("x", answers=("a", "b", "c", "d"), ranks=(1, 0, 1, 2))
    batch = Collate(Encoder(tiny_tokenizer()))([item])
    assert sorted(batch.pairs.tolist()) == [[0, 3], [1, 0], [1, 2], [1, 3], [2, 3]]
    assert batch.ties.tolist() == [[0, 2]]
    assert batch.pair_weight.sum().item() == pytest.approx(1.0)
    assert batch.answer_rank.tolist() == [1, 0, 1, 2]


def test_scores_as_margins() -> None:
    answers = (Response("a", 0, score=4.5), Response("b", 1, score=1.0))
    batch = Collate(Encoder(tiny_tokenizer()))([Record((Message("user", ("x",)),), answers)])
    assert batch.pair_margin.tolist() == [3.5]


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_positions_equal_transformers(family: str) -> None:
    backbone = tiny_backbone(family)
    encoder = make_encoder(backbone, None)
    for item in image_records():
        encoded = encoder.encode(item)
        theirs, _ = backbone.body.get_rope_index(
            torch.tensor([encoded.prompt_ids]),
            mm_token_type_ids=torch.tensor([encoded.prompt_types]),
            image_grid_thw=encoded.media["image_grid_thw"],
        )
        assert torch.equal(encoder.positions(encoded), theirs[:, 0])


def test_positions_of_touching_images() -> None:
    grids = torch.tensor([[1, 2, 4], [1, 2, 2]])
    positions = mrope_positions([1, 1, 1, 0], grids, merge_size=2)
    # 1x2 tokens at 0, then 1x1 at 0 + max(1, 1, 2), then text after it
    assert positions.tolist() == [[0, 0, 2, 3], [0, 0, 2, 3], [0, 1, 2, 3]]


def test_record_weights_and_ids() -> None:
    records = text_records()
    batch = Collate(Encoder(tiny_tokenizer()))(records)
    assert batch.record_ids == tuple(r.id for r in records)
    assert batch.record_weight.tolist() == [1.0] * len(records)
    assert batch.answer_record.tolist() == [0] * 2 + [1] * 3 + [2] * 4 + [3] * 2


def test_batches_travel() -> None:
    """To a device, and through a data worker's pickle, with the collate that made them."""
    encoder = make_encoder(tiny_backbone("qwen2_vl"), None)
    collate = pickle.loads(pickle.dumps(Collate(encoder)))
    batch = collate([record(0, "?", media=(image(),))])
    moved = batch.to("meta")
    assert moved.input_ids.is_meta and all(t.is_meta for t in moved.media.values())
    assert not batch.input_ids.is_meta
