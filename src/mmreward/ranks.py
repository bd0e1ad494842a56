"""Which of several processes that train together this one is."""

from __future__ import annotations

import os


def is_rank_zero() -> bool:
    """Whether this process is the one that writes, also before there is a trainer to ask.

    True where a single process trains. The environment of Lightning's own launcher, torchrun,
    SLURM and LSF is understood.
    """
    # Lightning's reading of RANK, LOCAL_RANK, SLURM_PROCID, …, or its trainer's word for it.
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    # On its second machine, Lightning's own launcher has told no global rank yet.
    return getattr(rank_zero_only, "rank", 0) == 0 and os.environ.get("NODE_RANK", "0") == "0"
