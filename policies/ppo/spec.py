"""What a policy trained by reinforcement learning sees and what its outputs mean.

Training and bench both go through ``RLSpec``: the same ``ClipBatch`` becomes the same numbers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from neon_sim.clock import CAMERA_HZ
from neon_sim.errors import unknown_name
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.clips import ClipConfig

PIXEL_HZ = 12.5
STATE_DIM = 16
Observation = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True)
class RLSpec:
    """How one policy observes and acts; stored in its checkpoint.

    Attributes:
        task: registry name. observe: ``"state"`` or ``"pixels"``; sound never.
        velocities: whether the state's motion since the frame before is seen too.
        num_frames, image_size, camera: of ``pixels``.
        relative: whether joint targets are relative to the pose. reach: of one unit then.
        replan_steps: control steps an action is held.
        proprio_dim, action_dim: P and A.
        first_joint, num_joints: where the joints that an action sets lie in ``agent_pos``; they
            are the first of the action.
        words: of instructions, in the order of their places in the observation.
        body_dim: numbers of ``Task.body_state``, seen in place of ``agent_pos``; 0 where it is not:
            with pixels, and in tasks that a camera tells of.
    """

    task: str
    observe: str
    velocities: bool
    num_frames: int
    image_size: int
    camera: str
    relative: bool
    reach: float
    replan_steps: int
    proprio_dim: int
    action_dim: int
    first_joint: int
    num_joints: int
    words: tuple[str, ...]
    body_dim: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "words": list(self.words)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RLSpec:
        """Inverse of ``to_json``."""
        return cls(**{**values, "words": tuple(values["words"])})

    @property
    def condition(self) -> str:
        """What rows of the bench call the way it sees."""
        seen = "body_state" if self.body_dim else self.observe
        return f"{seen}_velocities" if self.velocities else seen

    @property
    def needs(self) -> frozenset[str]:
        """What must be observed, of ``"video"``, ``"state"`` and ``"body"``."""
        body = {"body"} if self.body_dim else set()
        return frozenset({"video" if self.observe == "pixels" else "state", *body})

    @property
    def clip(self) -> ClipConfig:
        """How the past is sampled."""
        if self.observe == "pixels":
            return ClipConfig(
                self.num_frames, PIXEL_HZ, camera=self.camera, image_size=self.image_size
            )
        return ClipConfig(2 if self.velocities else 1, CAMERA_HZ, camera=self.camera)

    @property
    def vector_dim(self) -> int:
        """Numbers besides pixels: what is felt, words, and what is seen of the state."""
        seen = 0 if self.observe == "pixels" else STATE_DIM * (1 + self.velocities)
        return (self.body_dim or self.proprio_dim) + len(self.words) + seen

    @property
    def observation_space(self) -> spaces.Box | spaces.Dict:
        """A box of ``vector_dim`` numbers; with pixels a dict of it and (3 T, H, W) uint8."""
        vector = spaces.Box(-np.inf, np.inf, (self.vector_dim,), np.float32)
        if self.observe == "state":
            return vector
        shape = (3 * self.num_frames, self.image_size, self.image_size)
        return spaces.Dict({"pixels": spaces.Box(0, 255, shape, np.uint8), "vector": vector})

    @property
    def action_space(self) -> spaces.Box:
        """(A,) in [-1, 1]."""
        return spaces.Box(-1.0, 1.0, (self.action_dim,), np.float32)

    def observation(self, batch: ClipBatch) -> Observation:
        """What the policy sees of B observations; the network has no other input.

        Returns:
            (B, D) float32, or with pixels that as ``vector`` beside ``pixels`` (B, 3 T, H, W).

        Raises:
            UnknownNameError: an instruction with a word the policy was not trained with.
        """
        felt = batch.body if self.body_dim else batch.agent_pos
        parts = [np.asarray(felt, dtype=np.float32), self._said(batch.text)]
        if self.observe == "pixels":
            assert batch.video is not None
            rows, frames, height, width, _ = batch.video.shape
            pixels = batch.video.transpose(0, 1, 4, 2, 3).reshape(rows, 3 * frames, height, width)
            return {"pixels": np.ascontiguousarray(pixels), "vector": np.concatenate(parts, axis=1)}
        assert batch.state is not None
        parts.append(batch.state[:, -1])
        if self.velocities:
            parts.append((batch.state[:, -1] - batch.state[:, -2]) * np.float32(CAMERA_HZ))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _said(self, texts: list[str]) -> np.ndarray:
        """(B, W) float32: 1 for each word that is said."""
        said = np.zeros((len(texts), len(self.words)), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().replace(".", " ").replace(",", " ").split():
                if word not in self.words:
                    raise unknown_name("word of an instruction", word, self.words)
                said[row, self.words.index(word)] = 1.0
        return said

    def actions(self, outputs: np.ndarray, agent_pos: np.ndarray) -> np.ndarray:
        """Turn outputs (B, A) at poses (B, P) into actions (B, A) float32 in [-1, 1]."""
        actions = np.array(outputs, dtype=np.float32)
        if self.relative:
            joints = agent_pos[:, self.first_joint : self.first_joint + self.num_joints]
            actions[:, : self.num_joints] = joints + self.reach * actions[:, : self.num_joints]
        return np.clip(actions, -1.0, 1.0)
