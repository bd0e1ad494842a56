"""Record -> token ids and pixels: the one place that knows chat templates and tokenizers.

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
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from mmreward.data.positions import linear_positions, mrope_positions
from mmreward.errors import UserError
from mmreward.records import Message, Record, RecordError

# Sentinels stand for user text while the template is rendered. Private-use code points: a
# template cannot contain them, strip them or split them.
_TEXT, _END = "\ue000", "\ue001"
_SENTINEL = re.compile(f"{_TEXT}(\\d+){_END}")

Structure = tuple[tuple[str, tuple[bool, ...]], ...]


@dataclass(frozen=True)
class Rendered:
    """A prompt's skeleton: alternating template text and the numbers of the user's texts.

    parts:    str is template text, int is the number of a text part of the messages
    turn_end: id of the token that closes an answer
    """

    parts: tuple[str | int, ...]
    turn_end: int


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
        self.chat_template = getattr(processor, "chat_template", None) or tokenizer.chat_template
        self.image_token: str | None = processor.image_token if processor is not None else None
        self.image_token_id = (
            tokenizer.convert_tokens_to_ids(self.image_token) if self.image_token else -1
        )
        self.pad_id: int = (
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        )
        specials = sorted(
            (t.content for t in tokenizer.added_tokens_decoder.values() if t.special),
            key=len,
            reverse=True,
        )
        self._specials = re.compile("(" + "|".join(map(re.escape, specials)) + ")")
        # Some special tokens swallow the white space around them (Phi-3's what follows them).
        added = tokenizer.added_tokens_decoder.values()
        self._swallows_before = {t.content for t in added if t.special and t.lstrip}
        self._swallows_after = {t.content for t in added if t.special and t.rstrip}
        self._rendered: dict[Structure, Rendered] = {}
        # The Rust tokenizer itself: the wrapper around it costs more than the work, and keeps
        # "specials are only text" as a switch per call that a later call would have to undo.
        self._plain: Tokenizer = copy.deepcopy(tokenizer.backend_tokenizer)
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._plain.no_padding()

    # -- rendering -------------------------------------------------------------------------

    def render(self, messages: Sequence[Message]) -> Rendered:
        """The template's text around the messages, without the messages' own text.

        Rendered once per structure (roles, images, number of texts), not per record. Raises
        UserError if the template drops, repeats or reorders turns, or renders the prompt
        differently once an answer follows: then an answer could not be a branch of it.
        """
        structure: Structure = tuple(
            (m.role, tuple(isinstance(part, str) for part in m.content)) for m in messages
        )
        if structure not in self._rendered:
            self._rendered[structure] = (
                self._render_template(structure)
                if self.chat_template
                else self._render_plain(structure)
            )
        return self._rendered[structure]

    def _render_template(self, structure: Structure) -> Rendered:
        number = 0
        conversation: list[dict[str, Any]] = []
        for role, kinds in structure:
            content: list[dict[str, str]] = []
            for is_text in kinds:
                if is_text:
                    content.append({"type": "text", "text": f"{_TEXT}{number}{_END}"})
                    number += 1
                else:
                    content.append({"type": "image"})
            # Text models' templates take a string, not a list of parts.
            plain = "".join(part.get("text", "") for part in content)
            conversation.append({"role": role, "content": content if self.processor else plain})
        answer = f"{_TEXT}{number}{_END}"
        reply: Any = [{"type": "text", "text": answer}] if self.processor else answer

        def apply(turns: list[dict[str, Any]], generate: bool) -> str:
            return self.tokenizer.apply_chat_template(
                turns,
                chat_template=self.chat_template,
                add_generation_prompt=generate,
                tokenize=False,
            )

        prompt = apply(conversation, True)
        full = apply([*conversation, {"role": "assistant", "content": reply}], False)
        name = getattr(self.tokenizer, "name_or_path", "") or "this tokenizer"
        if not full.startswith(prompt):
            raise UserError(
                f"the chat template of {name} renders the prompt differently once an answer "
                "follows it, so answers cannot be branches of one prompt; set another "
                "chat_template for this backbone"
            )
        # Some templates open the answer themselves (an empty thinking block): that lead-in is
        # the same for every answer and belongs to the prompt.
        prompt, _, tail = full.partition(answer)
        pieces = _SENTINEL.split(prompt)
        numbers = [int(n) for n in pieces[1::2]]
        if numbers != list(range(number)):
            raise UserError(
                f"the chat template of {name} drops, repeats or reorders turns "
                f"(texts {list(range(number))} came out as {numbers}); set another chat_template"
            )
        closing = self._specials.search(tail)
        turn_end = (
            self.tokenizer.convert_tokens_to_ids(closing.group())
            if closing
            else self.tokenizer.eos_token_id
        )
        parts: list[str | int] = []
        for position, piece in enumerate(pieces):
            parts.append(int(piece) if position % 2 else piece)
        return Rendered(tuple(parts), turn_end)

    def _render_plain(self, structure: Structure) -> Rendered:
        """No template: prompt, eos, answer, eos (GPT-2), [CLS] prompt [SEP] answer [SEP] (BERT).
        Several turns carry their roles."""
        number = 0
        parts: list[str | int] = []
        end = self.tokenizer.eos_token or self.tokenizer.sep_token
        if end is None:
            raise UserError(
                f"the tokenizer of {self.tokenizer.name_or_path} has neither a chat template nor "
                "a token that ends a text (eos_token, sep_token); give it one"
            )
        # Tokenizers that open every text with bos or [CLS] expect to see it here as well.
        first = self.tokenizer.bos_token or self.tokenizer.cls_token
        opening = self.tokenizer("").input_ids
        if first and opening[:1] == [self.tokenizer.convert_tokens_to_ids(first)]:
            parts.append(first)
        for turn, (role, kinds) in enumerate(structure):
            if len(structure) > 1:
                parts.append(("\n\n" if turn else "") + f"{role.capitalize()}: ")
            for is_text in kinds:
                if not is_text:
                    raise UserError("a text backbone cannot read images; choose a vision backbone")
                parts.append(number)
                number += 1
        parts.append(end)
        return Rendered(tuple(parts), self.tokenizer.convert_tokens_to_ids(end))

    # -- tokens ----------------------------------------------------------------------------

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text that is only text: special tokens spelled in it stay characters."""
        return self._plain.encode(text, add_special_tokens=False).ids

    def text(self, record: Record) -> str:
        """The prompt as the model reads it, before any cut, an image as its one token."""
        texts = [part for m in record.messages for part in m.content if isinstance(part, str)]
        parts = self.render(record.messages).parts
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
                f"{self._name(record)}: it has images, which a text backbone cannot read; choose "
                "a vision backbone, or data.images=drop"
            )
        rendered = self.render(record.messages)
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
            raise self._bad(record, str(error)) from None
        try:
            features = self.processor.image_processor(images=images, return_tensors="pt")
        except ValueError as error:  # an aspect ratio the model refuses, say
            raise self._bad(record, f"the image processor refuses an image ({error})") from None
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
        excess = len(ids) + longest_answer - self.max_length
        if excess <= 0:
            return 0
        removable = [index for index, may in enumerate(cuttable) if may][:excess]
        if len(removable) < excess:
            raise self._bad(
                record,
                f"its images, template and longest answer need {len(ids) - sum(cuttable)} + "
                f"{longest_answer} tokens, more than max_length={self.max_length}, and no cut of "
                "the prompt's text can save it",
            )
        for index in reversed(removable):
            del ids[index], types[index]
        return excess

    @staticmethod
    def _bad(record: Record, problem: str) -> RecordError:
        return RecordError(f"{Encoder._name(record)}: {problem}")

    @staticmethod
    def _name(record: Record) -> str:
        return record.where or f"record {record.id}"

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
