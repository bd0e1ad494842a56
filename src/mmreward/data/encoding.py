"""Record -> token ids and pixels: the one place that knows tokenizers and image processors.

The rules every model of this project is trained, evaluated and served under:

* The prompt is rendered with the chat template and its generation prompt. Each answer is
  tokenised apart, exactly as given, and closed with the token that ends the assistant's turn
  (`<|im_end|>` for Qwen; eos where there is no template). Nothing follows it.
* Only the template makes special tokens. A literal `<|image_pad|>` in a user's text stays text.
* A record that is too long loses text from the left of its prompt, once, by its longest answer.
  Image tokens, the template's own tokens and answers are never cut.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from mmreward.data.positions import linear_positions, mrope_positions
from mmreward.data.rendering import Rendered, Template
from mmreward.errors import UserError
from mmreward.records import Record, RecordError


@dataclass
class EncodedRecord:
    """One record as tokens.

    prompt_ids, prompt_types: prompt with its image tokens; types are 0 text, 1 image
    answer_ids: per answer, closed with the turn-end token
    media:      the image processor's tensors, every image once, in the prompt's order
    cut:        how many prompt tokens were cut to fit
    """

    record: Record
    prompt_ids: list[int]
    prompt_types: list[int]
    answer_ids: list[list[int]]
    media: dict[str, Tensor] = field(default_factory=dict)
    cut: int = 0


class Encoder:
    """Turns records into tokens for one backbone.

    tokenizer:     a fast transformers tokenizer
    processor:     the backbone's processor if it sees images (image_processor, image_token,
                   replace_image_token); None for a text backbone
    merge_size:    patches per token and axis if the backbone uses M-RoPE, else None
    max_length:    most tokens of prompt plus longest answer; None for no limit
    """

    def __init__(
        self,
        tokenizer: Any,
        processor: Any | None = None,
        merge_size: int | None = None,
        max_length: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.processor = processor
        self.merge_size = merge_size
        self.max_length = max_length
        self.image_token: str | None = processor.image_token if processor is not None else None
        self.image_token_id = (
            tokenizer.convert_tokens_to_ids(self.image_token) if self.image_token else -1
        )
        self.pad_id: int = (
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        )
        special = [t for t in tokenizer.added_tokens_decoder.values() if t.special]
        longest_first = sorted((t.content for t in special), key=len, reverse=True)
        self._specials = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        # Some special tokens swallow the white space around them (Phi-3's what follows them).
        self._swallows_before = {t.content for t in special if t.lstrip}
        self._swallows_after = {t.content for t in special if t.rstrip}
        chat_template = getattr(processor, "chat_template", None) or tokenizer.chat_template
        self._template = Template(tokenizer, chat_template, processor is not None, self._specials)
        # The Rust tokenizer itself: the wrapper around it costs more than the work, and keeps
        # "specials are only text" as a switch per call that a later call would have to undo.
        self._plain: Tokenizer = copy.deepcopy(tokenizer.backend_tokenizer)
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._plain.no_padding()

    # -- tokens ----------------------------------------------------------------------------

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text that is only text: special tokens spelled in it stay characters."""
        return self._plain.encode(text, add_special_tokens=False).ids

    def text(self, record: Record) -> str:
        """The prompt as the model reads it, before any cut, an image as its one token."""
        texts = [part for m in record.messages for part in m.content if isinstance(part, str)]
        parts = self._template.render(record.messages).parts
        return "".join(texts[part] if isinstance(part, int) else part for part in parts)

    def encode(self, record: Record, like: EncodedRecord | None = None) -> EncodedRecord:
        """One record as tokens and pixels.

        like: an encoded record; where this one differs from it in its pictures alone, and they
              take as many tokens, its tokens are taken over

        Raises RecordError for unreadable images and a record whose images and longest answer
        alone exceed max_length, UserError for images if the backbone reads only text.
        """
        if record.media and self.processor is None:
            # Not a bad record: none of its kind could ever be read, so that none may be skipped.
            raise UserError(
                f"{record.name}: it has images, which a text backbone cannot read; choose "
                "a vision backbone, or data.images=drop"
            )
        rendered = self._template.render(record.messages)
        texts = [part for m in record.messages for part in m.content if isinstance(part, str)]
        order = [part for m in record.messages for part in m.content if isinstance(part, int)]
        media, expansions = self._images(record, order)
        if like is not None and _differs_in_pictures_alone(record, media, like):
            return replace(like, record=record, media=media)
        ids, types, cuttable = self._prompt(rendered, texts, expansions)
        answers = [[*self.tokenize(r.text), rendered.turn_end] for r in record.responses]
        cut = self._cut(record, ids, types, cuttable, max(map(len, answers)))
        return EncodedRecord(record, ids, types, answers, media, cut)

    def _images(
        self, record: Record, order: list[int]
    ) -> tuple[dict[str, Tensor], list[list[int]]]:
        """The processor's tensors and, per image, the tokens that stand for it."""
        if not order:
            return {}, []
        assert self.processor is not None
        try:
            images = [record.media[index].load() for index in order]
        except RecordError as error:
            raise RecordError(f"{record.name}: {error}") from None
        try:
            features = self.processor.image_processor(images=images, return_tensors="pt")
        except ValueError as error:  # an aspect ratio the model refuses, say
            refusal = f"the image processor refuses an image ({error})"
            raise RecordError(f"{record.name}: {refusal}") from None
        expansions = []
        for index in range(len(images)):
            text = self.processor.replace_image_token(features, index)
            count = text.count(self.image_token)
            if count * len(self.image_token or "") == len(text):
                expansions.append([self.image_token_id] * count)
            else:
                expansions.append(self.tokenizer(text, add_special_tokens=False).input_ids)
        return dict(features), expansions

    def _prompt(
        self, rendered: Rendered, texts: list[str], expansions: list[list[int]]
    ) -> tuple[list[int], list[int], list[bool]]:
        """Ids, types and which tokens may be cut (the user's text alone).

        Template text and user text between two special tokens are tokenised as one string, so
        that the ids equal those of the whole rendered prompt tokenised at once.
        """
        ids: list[int] = []
        cuttable: list[bool] = []
        run: list[tuple[str, bool]] = []
        images = iter(expansions)

        def flush() -> None:
            text = "".join(piece for piece, _ in run)
            if text:
                encoded = self._plain.encode(text, add_special_tokens=False)
                ids.extend(encoded.ids)
                owned = [user for piece, user in run for _ in piece]
                cuttable.extend(owned[min(start, len(owned) - 1)] for start, _ in encoded.offsets)
            run.clear()

        for part in rendered.parts:
            if isinstance(part, int):
                run.append((texts[part], True))
                continue
            pieces = ["", *self._specials.split(part), ""]
            for before, piece, after in zip(pieces, pieces[1:], pieces[2:], strict=False):
                if not self._specials.fullmatch(piece):
                    piece = piece.lstrip() if before in self._swallows_after else piece
                    piece = piece.rstrip() if after in self._swallows_before else piece
                    run.append((piece, False))
                    continue
                flush()
                if piece == self.image_token:
                    tokens = next(images)
                    ids.extend(tokens)
                    cuttable.extend([False] * len(tokens))
                else:
                    ids.append(self.tokenizer.convert_tokens_to_ids(piece))
                    cuttable.append(False)
        flush()
        types = [int(token == self.image_token_id) for token in ids]
        return ids, types, cuttable

    def _cut(
        self,
        record: Record,
        ids: list[int],
        types: list[int],
        cuttable: list[bool],
        longest_answer: int,
    ) -> int:
        """Removes prompt text from the left, in place, until the longest answer fits."""
        if self.max_length is None:
            return 0
        excess = max(0, len(ids) + longest_answer - self.max_length)
        removable = [index for index, may in enumerate(cuttable) if may][:excess]
        if len(removable) < excess:
            raise RecordError(
                f"{record.name}: its images, template and longest answer need "
                f"{len(ids) - sum(cuttable)} + {longest_answer} tokens, more than "
                f"max_length={self.max_length}, and no cut of the prompt's text can save it"
            )
        for index in reversed(removable):
            del ids[index], types[index]
        return excess

    def dummy_image(self) -> tuple[dict[str, Tensor], list[int]]:
        """The smallest grey image and its tokens, for batches that have none."""
        assert self.processor is not None
        features = self.processor.image_processor(
            images=[Image.new("RGB", (56, 56), (127, 127, 127))], return_tensors="pt"
        )
        text = self.processor.replace_image_token(features, 0)
        return dict(features), self.tokenizer(text, add_special_tokens=False).input_ids

    def positions(self, encoded: EncodedRecord) -> Tensor:
        """(axes, prompt length): 3 axes for M-RoPE, else 1."""
        if self.merge_size is None:
            return linear_positions(len(encoded.prompt_ids))
        grids = encoded.media.get("image_grid_thw")
        return mrope_positions(encoded.prompt_types, grids, self.merge_size)


def _differs_in_pictures_alone(
    record: Record, media: dict[str, Tensor], like: EncodedRecord
) -> bool:
    """Whether tokens are the same: so they are where the pictures' tensors are of the same shapes
    and, in families that have one, the same grid of patches."""
    same_text = (record.messages, [r.text for r in record.responses]) == (
        like.record.messages,
        [r.text for r in like.record.responses],
    )
    shapes = {name: tensor.shape for name, tensor in media.items()}
    grid = "image_grid_thw"
    return (
        same_text
        and bool(shapes)
        and shapes == {name: tensor.shape for name, tensor in like.media.items()}
        and (grid not in media or torch.equal(media[grid], like.media[grid]))
    )
