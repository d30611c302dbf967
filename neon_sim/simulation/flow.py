"""Exact optical flow, rendered from the simulator without GL: what a network can only estimate.

A ray through a pixel meets a body; where that point of the body was in the frame before is a
matter of two poses, and where that frame showed it a matter of the camera's. So flow is made as
for MPI Sintel (Butler et al. 2012, "A naturalistic open source movie for optical flow
evaluation"), forwards for what is seen now, and it is privileged: no camera gives it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from neon_sim.observation.clips import FLOW_SIDE
from neon_sim.simulation.raycast import RaycastCamera

RAYS = 8  # a side of a cell: every other pixel of 96
QUANTUM = 2.0**-10  # cells; 1/64 of a pixel of 96, below which sums may differ between machines
MIN_DEPTH_M = 1e-3  # nearer to the camera, or behind it, a point is in no picture


class Poses(NamedTuple):
    """Where all bodies and one camera are: (nbody, 3), (nbody, 3, 3), (3,), (3, 3) float64."""

    body: np.ndarray
    body_turn: np.ndarray
    eye: np.ndarray
    eye_turn: np.ndarray


def poses(data: Any, camera_id: int) -> Poses:
    """Copies of the poses in ``data``, after kinematics."""
    turns = data.xmat.reshape(-1, 3, 3).copy(), data.cam_xmat[camera_id].reshape(3, 3).copy()
    return Poses(data.xpos.copy(), turns[0], data.cam_xpos[camera_id].copy(), turns[1])


class FlowCamera:
    """Measures flow on a coarse grid of ``FLOW_SIDE`` x ``FLOW_SIDE`` cells of a square picture.

    Args:
        model: compiled model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._rays = RaycastCamera(model, FLOW_SIDE * RAYS, FLOW_SIDE * RAYS)

    def flow(self, data: Any, camera_id: int, before: Poses) -> np.ndarray:
        """By how much what each cell shows has moved in the picture since ``before``.

        The mean over 8 x 8 rays a cell; each follows the body it meets first, so that what is
        occluded has no part in it. Before the sky only the camera's turning is seen. A point
        that was outside the earlier picture has the displacement it made there, up to one
        width of the picture an axis; one that was behind the camera counts as not moved.

        Args:
            data: the frame's state, after kinematics. before: poses at the earlier frame.

        Returns:
            (36, 2) float32: x to the right and y downwards, in cells, rows of cells from the
            top; multiples of 2**-10, exactly zero where neither body nor camera moved.

        Raises:
            RendererError: the camera is orthographic or given by sensor size.
        """
        now = poses(data, camera_id)
        geom, reach = self._rays.hits(data, camera_id)
        came = reach.copy()
        hit = np.flatnonzero(geom >= 0)
        points = carried_back(now.eye + reach[hit], self._model.geom_bodyid[geom[hit]], now, before)
        came[hit] = points - before.eye
        half = np.tan(np.radians(float(self._model.cam_fovy[camera_id])) / 2)
        place, _ = project(reach @ now.eye_turn, half)
        origin, in_front = project(came @ before.eye_turn, half)
        moved = np.where(in_front[:, None], place - origin, 0.0)
        moved = np.clip(moved, -FLOW_SIDE, FLOW_SIDE)
        cells = moved.reshape(FLOW_SIDE, RAYS, FLOW_SIDE, RAYS, 2).mean(axis=(1, 3))
        rounded: np.ndarray = (np.round(cells.reshape(-1, 2) / QUANTUM) * QUANTUM).astype(
            np.float32
        )
        return rounded


def carried_back(points: np.ndarray, body: np.ndarray, now: Poses, before: Poses) -> np.ndarray:
    """Where points (N, 3) of bodies (N,) were at the earlier poses; the same where none moved."""
    held = np.einsum("nji,nj->ni", now.body_turn[body], points - now.body[body])
    back = before.body[body] + np.einsum("nij,nj->ni", before.body_turn[body], held)
    still = (now.body == before.body).all(axis=1) & (now.body_turn == before.body_turn).all((1, 2))
    return np.where(still[body, None], points, back)


def project(seen: np.ndarray, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Places in the picture of points in a camera's own frame, which looks along -z.

    Args:
        seen: (N, 3) m. half: tangent of half the field of view.

    Returns:
        (N, 2) cells from the centre, x to the right and y downwards, and (N,) bool, whether the
        point lies before the camera.
    """
    depth = -seen[:, 2]
    in_front = depth > MIN_DEPTH_M
    scale = FLOW_SIDE / 2 / half / np.where(in_front, depth, 1.0)
    return seen[:, :2] * [1.0, -1.0] * scale[:, None], in_front
