"""``ppo``: a policy that ``python -m neon_sim.rl`` trained, as the bench plays it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from neon_sim.clock import CHUNK_STEPS
from neon_sim.errors import CheckpointError
from neon_sim.observation.batch import ClipBatch
from neon_sim.registry import task_entry
from neon_sim.tensor_file import check_shapes, read_tensors

from ..blocks import act_in_blocks
from .actor import Actor
from .spec import RLSpec

FORMAT = "neon_sim.rl/1"
CLIP = 10.0  # of standardised observations, as in training


class PPOPolicy:
    """The mean action, held for ``replan_steps``; stateless and deterministic.

    Attributes:
        spec: what it sees and does. clip, needs, replan_steps: as of ``TrainedPolicy``.
        checkpoint: path. metadata: what the checkpoint says about itself.
    """

    def __init__(
        self, spec: RLSpec, actor: Actor, scale: tuple[np.ndarray, np.ndarray], path: Path
    ) -> None:
        self.spec, self.actor, self.checkpoint = spec, actor, path
        self.clip, self.needs, self.replan_steps = spec.clip, spec.needs, spec.replan_steps
        self._mean, self._std = scale
        self.metadata: dict[str, Any] = {}

    @property
    def action_dim(self) -> int:
        """A, numbers of an action."""
        return self.spec.action_dim

    def reset(self, num_envs: int) -> None:
        """Nothing to forget."""

    def act(self, batch: ClipBatch) -> np.ndarray:
        """Action chunks for B observations, the same whatever else is in the batch.

        Returns:
            (B, 16, A) float32 in [-1, 1], one action sixteen times.

        Raises:
            PolicyError: NaN or inf. UnknownNameError: a word it was not trained with.
        """
        shape = CHUNK_STEPS, self.spec.action_dim
        return act_in_blocks(batch, self._act_block, shape, f"policy 'ppo' ({self.checkpoint})")

    def _act_block(self, block: ClipBatch, rows: range) -> np.ndarray:
        """Row by row: on some processors the last bit hangs on a row's place in a product."""
        block = block.rows(0, len(rows))
        means = [self._means(block.rows(row, row + 1)) for row in range(len(rows))]
        outputs = np.clip(np.concatenate(means), -1.0, 1.0)
        actions = self.spec.actions(outputs, np.asarray(block.agent_pos))
        return np.repeat(actions[:, None], CHUNK_STEPS, axis=1)

    def _means(self, row: ClipBatch) -> np.ndarray:
        """(1, A) of one row, unclipped."""
        seen = self.spec.observation(row)
        if isinstance(seen, dict):
            ready: Any = {key: torch.from_numpy(value) for key, value in seen.items()}
            ready["vector"] = self._standardised(seen["vector"])
        else:
            ready = self._standardised(seen)
        return self.actor.means(ready).numpy()

    def _standardised(self, vector: np.ndarray) -> torch.Tensor:
        values = np.clip((vector - self._mean) / self._std, -CLIP, CLIP)
        return torch.from_numpy(values.astype(np.float32))


def load_ppo(path: str | Path, task: str, replan_steps: int | None = None) -> PPOPolicy:
    """Load a policy that PPO trained.

    Args:
        path: ``.safetensors`` of ``python -m neon_sim.rl``. task: name, class or id.
        replan_steps: control steps between two looks; None for what it was trained with.

    Raises:
        CheckpointError: missing (says the command that makes it), damaged, of another
            architecture, of another task, or trained with another ``replan_steps``.
        UnknownNameError: no such task.
    """
    name = task_entry(task).name
    again = f"python -m neon_sim.rl task={name} out=DIR"
    state, metadata = read_tensors(path, FORMAT, again)
    if metadata.get("task") != name:
        raise CheckpointError(
            f"{path} was trained on {metadata.get('task')!r}, not {name!r}. Make the right one: "
            f"{again}"
        )
    try:
        spec = RLSpec.from_json(metadata["spec"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} describes a policy of another version ({error}); train it again: {again}"
        ) from error
    if replan_steps not in (None, spec.replan_steps):
        raise CheckpointError(
            f"{path} was trained with replan_steps={spec.replan_steps}, not {replan_steps}; ask "
            f"for replan_steps={spec.replan_steps}, or train again"
        )
    scale = state.pop("observation_mean").numpy(), state.pop("observation_std").numpy()
    actor = Actor(
        spec.observation_space, spec.action_space, lambda _: 0.0, hidden=metadata["hidden"]
    )
    load_actor(path, actor, state, again)
    policy = PPOPolicy(spec, actor.eval(), scale, Path(path))
    policy.metadata = metadata
    return policy


def load_actor(path: str | Path, actor: Actor, state: dict[str, Any], again: str) -> None:
    """Put tensors into an actor.

    Raises:
        CheckpointError: one is missing, left over, of another shape, or not finite.
    """
    check_shapes(path, actor.tensors(), state, again)
    for name, values in state.items():
        if not torch.isfinite(values).all():
            raise CheckpointError(f"{path}: tensor {name!r} holds NaN or inf; train it again")
    actor.load_state_dict(state, strict=False)  # aliases of one module are not stored twice
