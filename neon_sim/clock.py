"""One integer clock for the whole bench: the unit of time is the physics tick (2 ms).

Every rate divides the physics rate, so "which frame belongs to which control step" is
integer arithmetic and never a matter of float rounding or of the wall clock.
"""

from __future__ import annotations

PHYSICS_HZ = 500
CONTROL_HZ = 50
CAMERA_HZ = 25
AUDIO_HZ = 16_000

PHYSICS_DT_S = 1.0 / PHYSICS_HZ
CONTROL_DT_S = 1.0 / CONTROL_HZ
TICKS_PER_CONTROL = PHYSICS_HZ // CONTROL_HZ  # 10
TICKS_PER_CAMERA = PHYSICS_HZ // CAMERA_HZ  # 20
AUDIO_SAMPLES_PER_TICK = AUDIO_HZ // PHYSICS_HZ  # 32
CHUNK_STEPS = 16  # action chunk length in control steps (0.32 s)


def ticks_to_s(ticks: int) -> float:
    """Convert physics ticks to seconds."""
    return ticks / PHYSICS_HZ


def s_to_ticks(seconds: float) -> int:
    """Convert seconds to the nearest whole number of physics ticks."""
    return round(seconds * PHYSICS_HZ)


def latest_camera_tick(tick: int) -> int:
    """Tick of the newest camera frame that exists at ``tick`` (frames exist from tick 0)."""
    return tick - tick % TICKS_PER_CAMERA
