"""The ladder of conditions, as data: what a policy is allowed to see.

Every comparison runs on this ladder with the same head, demonstrations and training
budget; only what reaches the backbone differs. A condition whose ``trained_as`` names
another one trains nothing: it disturbs a finished policy in the test.
"""

from __future__ import annotations

from dataclasses import dataclass

from neon_sim.errors import unknown_name


@dataclass(frozen=True)
class Condition:
    """What one row of the ladder feeds to the policy.

    Attributes:
        name: the word users type.
        tower: which encoder sees it: ``"none"``, ``"image"``, ``"video"`` or ``"state"``
            (the simulator's visible positions, for oracles).
        frames: ``"none"``, ``"last"`` (current frame only) or ``"all"`` (the whole clip).
        order: ``"true"``, ``"repeat"`` (current frame in every place) or ``"shuffle"``
            (a random order that is never the true one).
        trained_as: the condition whose checkpoint it uses; its own name when it trains.
        about: one line for tables.
    """

    name: str
    tower: str
    frames: str
    order: str
    trained_as: str
    about: str


_ROWS = (
    ("blind", "none", "none", "true", "blind", "proprioception and text only"),
    ("frame", "image", "last", "true", "frame", "the current frame, image backbone"),
    ("stack", "image", "all", "true", "stack", "the clip, each frame through the image backbone"),
    ("video", "video", "all", "true", "video", "the clip through the video backbone"),
    ("video_repeat", "video", "all", "repeat", "video_repeat", "video backbone, time removed"),
    ("video_shuffle", "video", "all", "shuffle", "video_shuffle", "video backbone, wrong order"),
    ("repeat_at_test", "video", "all", "repeat", "video", "trained on video, time removed in test"),
    ("shuffle_at_test", "video", "all", "shuffle", "video", "trained on video, shuffled in test"),
    (
        "oracle_memoryless",
        "state",
        "last",
        "true",
        "oracle_memoryless",
        "true visible positions now",
    ),
    (
        "oracle_history",
        "state",
        "all",
        "true",
        "oracle_history",
        "true visible positions over the clip",
    ),
)

CONDITIONS: dict[str, Condition] = {row[0]: Condition(*row) for row in _ROWS}
TRAINED_CONDITIONS = tuple(c.name for c in CONDITIONS.values() if c.trained_as == c.name)


def condition(name: str) -> Condition:
    """Look a condition up by name.

    Raises:
        UnknownNameError: no such condition.
    """
    if name not in CONDITIONS:
        raise unknown_name("condition", name, CONDITIONS)
    return CONDITIONS[name]
