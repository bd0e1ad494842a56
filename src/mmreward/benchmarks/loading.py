"""The configuration's `benchmark` list -> benchmarks -> their records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mmreward.benchmarks.base import Benchmark, BenchmarkSet
from mmreward.config import build
from mmreward.data.sources.base import Source
from mmreward.errors import UserError


def build_benchmarks(nodes: Mapping[str, Any], data: DictConfig) -> dict[str, Benchmark]:
    """The benchmarks by the names of their options.

    nodes: the `benchmark` node; data: the run's `data`, which a source inside of one may refer to

    Raises UserError for what a benchmark refuses, under its own keys.
    """
    whole = OmegaConf.create({"data": data, "benchmark": nodes})
    built: dict[str, Benchmark] = {}
    for name in nodes:
        key = f"benchmark.{name}"
        try:
            built[name] = build(whole.benchmark[name], key)
        except UserError as error:
            raise _under(key, error) from None
    return built


def load_set(name: str, benchmark: Benchmark, own: Source) -> BenchmarkSet:
    """What a benchmark gives; own: the run's data."""
    try:
        return benchmark.load(own)
    except UserError as error:
        if getattr(benchmark, "source", None) is None:
            raise
        raise _under(f"benchmark.{name}", error) from None


def _under(key: str, error: UserError) -> UserError:
    """The error of a source inside a benchmark, whose keys are not those of the run's source."""
    inner = f"{key}.source" if key == "benchmark.preference" else key
    text = str(error).replace("data.source", inner)
    return UserError(text.replace("data.on_bad_record", f"{inner}.on_bad_record"))
