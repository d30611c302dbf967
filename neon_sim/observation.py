"""What a policy is handed: a batch of clips, and what a condition takes from sight and hearing.

``observe_row`` asks an environment for what a policy needs and nothing more (a frame that
is not needed is never drawn), ``stack_observations`` makes the batch, and
``apply_condition`` is the whole ladder of conditions: rows of data in
``neon_sim.conditions``, no code path of their own anywhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from neon_sim.clips import plan_clip
from neon_sim.clock import AUDIO_HZ
from neon_sim.conditions import Condition
from neon_sim.config.policy import ClipConfig
from neon_sim.errors import ConfigError
from neon_sim.seeding import keyed_rng

NEEDS = ("video", "state", "audio", "flow", "body")  # what a policy may ask to be handed
LATE_SAMPLES = AUDIO_HZ // 4  # 0.25 s
LOUDNESS_PARTS = 10


@dataclass(frozen=True)
class ClipBatch:
    """What B policies see at one moment.

    Attributes:
        video: (B, T, H, W, 3) uint8, oldest first, or None when no camera was asked.
        mask: (B, T) bool, False where a frame is padding.
        time_s: (B, T) float32, ages in seconds, <= 0, last 0.
        state: (B, T, 16) float32 true visible positions at the frames' times, or None.
        agent_pos: (B, 8) float32 in [-1, 1].
        text: B instructions.
        audio: (B, C, L) float32 in [-1, 1] at 16 kHz, newest last, or None.
        flow: (B, T, 36, 2) float32 exact flow of each frame since the clip's frame before, in
            cells (``neon_sim.flow``), or None.
        body: (B, S) float32 what the robot's own sensors tell, velocities too, or None.
    """

    video: np.ndarray | None
    mask: np.ndarray
    time_s: np.ndarray
    state: np.ndarray | None
    agent_pos: np.ndarray
    text: list[str]
    audio: np.ndarray | None = None
    flow: np.ndarray | None = None
    body: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.agent_pos)

    def rows(self, start: int, stop: int, repeat_last: int = 0) -> ClipBatch:
        """Rows ``start`` to ``stop``, and the last of them ``repeat_last`` more times."""
        index = [*range(start, min(stop, len(self)))]
        return self.take(index + index[-1:] * repeat_last)

    def take(self, index: Sequence[int]) -> ClipBatch:
        """Rows by number, in that order."""
        values: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            values[item.name] = value[list(index)] if isinstance(value, np.ndarray) else value
        values["text"] = [self.text[i] for i in index]
        return ClipBatch(**values)


def observe_row(env: Any, clip: ClipConfig, needs: Collection[str]) -> ClipBatch:
    """Ask a running environment for what a policy needs, as a batch of one row.

    Args:
        env: an environment of this project (wrapped or not).
        clip: how the policy samples the past.
        needs: of ``"video"``, ``"state"``, ``"audio"``, ``"flow"`` and ``"body"``
            (``Task.body_state``); what is not named is not drawn, and not heard. Sound is that
            of now, also where the clip is that of an earlier look.

    Raises:
        ConfigError: the policy listens and the environment has no microphones.
    """
    task = env.unwrapped
    plan = plan_clip(task.sampling(clip), task.tick)
    video = task.clip(clip)[0][None] if "video" in needs else None
    state = task.state_history(clip)[None] if "state" in needs else None
    return ClipBatch(
        video=video,
        mask=plan.mask[None],
        time_s=plan.time_s[None],
        state=state,
        agent_pos=np.asarray(task.agent_pos(), dtype=np.float32)[None],
        text=[task.task_description],
        audio=_heard(task)[None] if "audio" in needs else None,
        flow=task.flow_history(clip)[None] if "flow" in needs else None,
        body=task.body_state()[None] if "body" in needs else None,
    )


def _heard(task: Any) -> np.ndarray:
    """(C, 16000) float32: the last second."""
    if task.sound is None:
        raise ConfigError(
            f"the policy listens, but {task.NAME} has no microphones here (got microphones=()); "
            "make the environment with microphones=('mono',), take a sound task, or a policy that "
            "does not listen (audio=none)"
        )
    return task.sound.observation()


def stack_observations(rows: Sequence[ClipBatch]) -> ClipBatch:
    """Join batches along rows.

    Raises:
        ValueError: no rows, or some hold video, state, audio, flow or body and others do not.
    """
    if not rows:
        raise ValueError("rows must hold at least one observation (got none)")
    values: dict[str, Any] = {"text": [text for row in rows for text in row.text]}
    for name in ("video", "mask", "time_s", "state", "agent_pos", "audio", "flow", "body"):
        parts = [getattr(row, name) for row in rows]
        missing = [part is None for part in parts]
        if any(missing) and not all(missing):
            raise ValueError(f"every row must hold {name!r}, or none (row {missing.index(True)})")
        values[name] = None if missing[0] else np.concatenate(parts)
    return ClipBatch(**values)


def single_frames(batch: ClipBatch) -> ClipBatch:
    """Every frame of a batch as a clip of one that is new: B rows of T frames to B * T of one.

    For encoders that look at frames on their own: state, sound and flow are left out.
    """
    rows, length = batch.mask.shape
    return ClipBatch(
        video=None if batch.video is None else batch.video.reshape(-1, 1, *batch.video.shape[2:]),
        mask=batch.mask.reshape(-1, 1),
        time_s=np.zeros((rows * length, 1), dtype=np.float32),
        state=None,
        agent_pos=batch.agent_pos.repeat(length, axis=0),
        text=[text for text in batch.text for _ in range(length)],
    )


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
    return np.clip(loud, -1.0, 1.0).astype(np.float32)


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
