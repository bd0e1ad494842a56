"""Messages -> the chat template's text around them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from mmreward.errors import UserError
from mmreward.records import Message

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


class Template:
    """How one backbone writes a conversation down.

    chat_template: None for a tokenizer without one
    parts:         the template takes a turn's content as a list of parts, not as text
    specials:      finds any special token in a text
    """

    def __init__(
        self, tokenizer: Any, chat_template: str | None, parts: bool, specials: re.Pattern[str]
    ) -> None:
        self.tokenizer = tokenizer
        self.chat_template = chat_template
        self.parts = parts
        self.specials = specials
        self._rendered: dict[Structure, Rendered] = {}

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
        texts = count()
        conversation: list[dict[str, Any]] = []
        for role, kinds in structure:
            content = [
                {"type": "text", "text": f"{_TEXT}{next(texts)}{_END}"}
                if is_text
                else {"type": "image"}
                for is_text in kinds
            ]
            # Text models' templates take a string, not a list of parts.
            plain = "".join(part.get("text", "") for part in content)
            conversation.append({"role": role, "content": content if self.parts else plain})
        number = next(texts)
        answer = f"{_TEXT}{number}{_END}"
        reply: Any = [{"type": "text", "text": answer}] if self.parts else answer

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
        closing = self.specials.search(tail)
        turn_end = (
            self.tokenizer.convert_tokens_to_ids(closing.group())
            if closing
            else self.tokenizer.eos_token_id
        )
        parts = (int(piece) if place % 2 else piece for place, piece in enumerate(pieces))
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
