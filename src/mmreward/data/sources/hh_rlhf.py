"""Anthropic's HH-RLHF: two transcripts of one conversation that end with different answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmreward.data.cells import answer_of, text_of
from mmreward.data.sources.base import Split
from mmreward.data.sources.jsonl import JsonLines
from mmreward.data.sources.rows import RowSource
from mmreward.data.sources.tables import Reader, Table, data_name, file_tables
from mmreward.data.splitting import Fractions
from mmreward.records import Message, Record, RecordError, Response

ANSWER = "\n\nAssistant:"
_TURN = re.compile(r"\n\n(Human|Assistant):")


class Transcripts(Reader):
    """Reads {"chosen", "rejected"} transcripts (Bai et al., arXiv:2204.05862).

    Both are cut at their last "\\n\\nAssistant:". What stands before must be the same in both and
    becomes the conversation, without the spaces around each turn; what follows are the answers,
    exactly as they are (they begin with a space).
    """

    def record(self, row: Mapping[str, Any]) -> Record:
        (prompt, chosen), (other, rejected) = (
            _cut(text_of(row.get(name), name), name) for name in ("chosen", "rejected")
        )
        if prompt != other:
            raise RecordError("chosen and rejected differ before their last answer")
        return Record(
            messages=conversation(prompt),
            responses=(Response(answer_of(chosen, 0), 0), Response(answer_of(rejected, 1), 1)),
        )


def conversation(text: str) -> tuple[Message, ...]:
    """The turns of a transcript; speakers usually but not always alternate."""
    start, *turns = _TURN.split(text)
    if start.strip() or not turns or turns[-2] != "Human":
        raise RecordError(
            'what stands before the last "Assistant:" is no conversation that a "Human:" turn ends'
        )
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(
        Message(roles[speaker], (said.strip(),))
        for speaker, said in zip(turns[::2], turns[1::2], strict=True)
    )


def _cut(transcript: str, name: str) -> tuple[str, str]:
    prompt, marker, answer = transcript.rpartition(ANSWER)
    if not marker:
        raise RecordError(f'{name} holds no "\\n\\nAssistant:"')
    return prompt, answer


class HHRLHF(RowSource):
    """HH-RLHF from its .jsonl.gz files (helpful-base, harmless-base and so on).

    Arguments: see `FileSource`. The rows of one prompt are held out together.
    """

    def __init__(
        self,
        path: str | None,
        validation_path: str | None = None,
        test_path: str | None = None,
        validation: float = 0.05,
        test: float = 0.1,
        split_seed: int = 0,
        name: str | None = None,
        on_bad_record: str = "error",
    ) -> None:
        def open_file(file: Path, split: Split) -> list[Table]:
            return [Table(split, JsonLines(file), Transcripts())]

        super().__init__(
            data_name(name, str(path)),
            file_tables(path, validation_path, test_path, open_file),
            Fractions(validation, test, split_seed),
            on_bad_record,
        )
