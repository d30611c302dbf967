"""Conditions of the ladder applied to a batch: frames and sound taken away or exchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from neon_sim.clock import AUDIO_HZ
from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.conditions import Condition
from neon_sim.seeding import keyed_rng

LATE_SAMPLES = AUDIO_HZ // 4  # 0.25 s


LOUDNESS_PARTS = 10


def condition_needs(condition: Condition) -> frozenset[str]:
    """What an environment must be asked for: ``{"video"}``, ``{"state"}`` or nothing."""
    needs = {"none": (), "image": ("video",), "video": ("video",), "state": ("state",)}
    return frozenset(needs[condition.tower])


def apply_condition(
    condition: Condition, batch: ClipBatch, keys: Sequence[int] | None = None
) -> ClipBatch:
    """Take from a batch what a condition does not let the policy see.

    ``repeat`` also removes mask and ages, for the number of real frames tells how long the
    episode has run. ``shuffle`` permutes real frames among their places, never in the true
    order where there are two or more; ages keep claiming the true order. Sound is muted,
    delayed or drowned in noise as ``condition.sound`` says; a batch without sound stays so.
    Exact flow is zero in a single frame and a repeated one, for nothing moves there.

    Args:
        condition: a row of the ladder.
        batch: what an observer saw.
        keys: B integers that fix each row's shuffle; by default they come from the row's own
            newest frame and proprioception, so that batch and call order change nothing.

    Raises:
        ConfigError: the condition needs video or state and the batch has none, or it shuffles
            frames whose exact flow is known.
    """
    for need in condition_needs(condition):
        if getattr(batch, need) is None:
            raise ConfigError(f"condition {condition.name!r} needs {need}, the batch has none")
    batch = _apply_sound(condition.sound, batch)
    if condition.frames == "none":
        return replace(batch, video=None, state=None, flow=None)
    if condition.frames == "last":
        return _take(batch, np.full((len(batch), 1), batch.mask.shape[1] - 1))
    if condition.order == "repeat":
        return _take(batch, np.full(batch.mask.shape, batch.mask.shape[1] - 1))
    if condition.order == "shuffle":
        if batch.flow is not None:
            raise ConfigError(
                f"condition {condition.name!r} shuffles the frames, and exact flow is known only "
                "between true neighbours; take another condition, or a backbone without flow"
            )
        keys = _content_keys(batch) if keys is None else keys
        order = np.stack([_wrong_order(m, k) for m, k in zip(batch.mask, keys, strict=True)])
        return replace(_take(batch, order), mask=batch.mask, time_s=batch.time_s)
    return batch


def _apply_sound(sound: str, batch: ClipBatch) -> ClipBatch:
    if batch.audio is None or sound in ("true", "swap"):  # the runner swaps, in the world
        return batch
    if sound == "none":
        return replace(batch, audio=None)
    change = _late if sound == "late" else partial(_noisy, snr_db=float(sound.removeprefix("snr")))
    return replace(batch, audio=np.stack([change(row) for row in batch.audio]))


def _late(audio: np.ndarray) -> np.ndarray:
    """(C, L) as heard 0.25 s ago.

    What came before the second that is known is filled with noise as loud as its quietest
    tenth, so that nothing is repeated and no silence deeper than the microphone's is heard.
    """
    late = np.empty_like(audio)
    late[:, LATE_SAMPLES:] = audio[:, :-LATE_SAMPLES]
    parts = audio.astype(np.float64).reshape(len(audio), LOUDNESS_PARTS, -1)
    floor = np.sqrt((parts**2).mean(axis=2)).min(axis=1)
    noise = keyed_rng("late", _audio_key(audio)).standard_normal((len(audio), LATE_SAMPLES))
    late[:, :LATE_SAMPLES] = np.clip(floor[:, None] * noise, -1.0, 1.0)
    return late


def _noisy(audio: np.ndarray, snr_db: float) -> np.ndarray:
    """(C, L) plus white noise ``snr_db`` below the RMS of all of it."""
    rms = float(np.sqrt((audio.astype(np.float64) ** 2).mean()))
    noise = keyed_rng("noise", _audio_key(audio)).standard_normal(audio.shape)
    loud = audio + rms * 10.0 ** (-snr_db / 20.0) * noise
    noisy: np.ndarray = np.clip(loud, -1.0, 1.0).astype(np.float32)
    return noisy


def _audio_key(audio: np.ndarray) -> int:
    """A 64-bit key of a row's own sound, so that batch and call order change nothing."""
    digest = hashlib.blake2b(np.ascontiguousarray(audio).tobytes(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def _take(batch: ClipBatch, places: np.ndarray) -> ClipBatch:
    """Frames ``places`` (B, T') of every row, no two of which are neighbours in time."""
    rows = np.arange(len(batch))[:, None]
    return replace(
        batch,
        video=None if batch.video is None else batch.video[rows, places],
        state=None if batch.state is None else batch.state[rows, places],
        mask=batch.mask[rows, places],
        time_s=batch.time_s[rows, places],
        flow=None if batch.flow is None else np.zeros_like(batch.flow[rows, places]),
    )


def _wrong_order(mask: np.ndarray, key: int) -> np.ndarray:
    """A permutation of T places: padding stays, real frames leave the true order."""
    order = np.arange(len(mask))
    real = np.flatnonzero(mask)
    if len(real) < 2:
        return order
    rng = keyed_rng("shuffle", int(key))
    mixed = real
    while np.array_equal(mixed, real):
        mixed = rng.permutation(real)
    order[real] = mixed
    return order


def _content_keys(batch: ClipBatch) -> list[int]:
    """One 64-bit key a row, from its newest frame and proprioception."""
    assert batch.video is not None  # what is shuffled is seen
    keys = []
    for row in range(len(batch)):
        seen = batch.agent_pos[row].tobytes() + batch.video[row, -1].tobytes()
        digest = hashlib.blake2b(seen, digest_size=8)
        keys.append(int.from_bytes(digest.digest(), "little"))
    return keys
