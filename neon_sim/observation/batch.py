"""What a policy is handed: a batch of clips, and what a condition takes from sight and hearing.

``observe_row`` asks an environment for what a policy needs and nothing more (a frame that
is not needed is never drawn), ``stack_observations`` makes the batch, and
``apply_condition`` is the whole ladder of conditions: rows of data in
``neon_sim.observation.conditions``, no code path of their own anywhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from neon_sim.errors import ConfigError
from neon_sim.observation.clips import ClipConfig, plan_clip

NEEDS = ("video", "state", "audio", "flow", "body")  # what a policy may ask to be handed


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
            cells (``neon_sim.simulation.flow``), or None.
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
    sound: np.ndarray = task.sound.observation()
    return sound


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
