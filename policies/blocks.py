"""How a trained policy answers a batch: in blocks of one size, so that batches change no bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neon_sim.errors import PolicyError
from neon_sim.observation.batch import ClipBatch

BLOCK_ROWS = 8  # every matrix product has this many rows


def act_in_blocks(
    batch: ClipBatch,
    answer: Callable[[ClipBatch, range], np.ndarray],
    chunk_shape: tuple[int, int],
    who: str,
) -> np.ndarray:
    """Action chunks for B observations; a row's is the same whatever other rows there are.

    Args:
        batch: B observations; the last block is filled up by repetition.
        answer: a block, and which rows of the batch it begins with -> chunks (8, H, A).
        chunk_shape: (H, A). who: for errors.

    Raises:
        PolicyError: NaN or inf; names row, step and dimension.
    """
    parts = [np.zeros((0, *chunk_shape), dtype=np.float32)]
    for start in range(0, len(batch), BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, len(batch))
        block = batch.rows(start, stop, repeat_last=BLOCK_ROWS - (stop - start))
        parts.append(answer(block, range(start, stop))[: stop - start])
    actions = np.concatenate(parts)
    if not np.isfinite(actions).all():
        row, step, index = (int(v) for v in np.argwhere(~np.isfinite(actions))[0])
        raise PolicyError(
            f"{who} gave {actions[row, step, index]} in row {row}, step {step}, action {index}; "
            "its input or weights are broken"
        )
    return actions
