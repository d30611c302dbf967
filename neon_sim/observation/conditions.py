"""The ladder of conditions, as data: what a policy is allowed to see and to hear.

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
        sound: what a policy that listens gets: ``"true"``; ``"none"``; ``"swap"`` (the episode
            sounds as if its latent were another, which the runner sees to); ``"late"`` (as it
            was 0.25 s ago); ``"snr20"`` (white noise at 20 dB). A policy that does not listen
            hears nothing in any of them, and has no conditions that differ in sound alone.
    """

    name: str
    tower: str
    frames: str
    order: str
    trained_as: str
    about: str
    sound: str = "true"

    @property
    def about_sound(self) -> bool:
        """Whether it is there for policies that listen, and says nothing of any other."""
        return self.name in ABOUT_SOUND


_ROWS = (
    ("blind", "none", "none", "true", "blind", "proprioception and text only", "none"),
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
        "none",
    ),
    (
        "oracle_history",
        "state",
        "all",
        "true",
        "oracle_history",
        "true visible positions over the clip",
        "none",
    ),
)
_SOUND_ROWS = (
    ("muted", "video", "all", "true", "muted", "the clip through the video backbone, deaf", "none"),
    ("audio_only", "none", "none", "true", "audio_only", "sound, proprioception and text", "true"),
    *(
        (name, "video", "all", "true", "video", about, sound)
        for name, about, sound in (
            ("mute_at_test", "trained on video and sound, deaf in test", "none"),
            ("swap_audio_at_test", "trained on sound, another latent's sound in test", "swap"),
            ("delay_audio_at_test", "trained on sound, heard 0.25 s late in test", "late"),
            ("snr20_at_test", "trained on sound, white noise at 20 dB in test", "snr20"),
            ("snr10_at_test", "trained on sound, white noise at 10 dB in test", "snr10"),
            ("snr0_at_test", "trained on sound, white noise at 0 dB in test", "snr0"),
        )
    ),
)

CONDITIONS: dict[str, Condition] = {row[0]: Condition(*row) for row in (*_ROWS, *_SOUND_ROWS)}
ABOUT_SOUND = frozenset(row[0] for row in _SOUND_ROWS)
TRAINED_CONDITIONS = tuple(c.name for c in CONDITIONS.values() if c.trained_as == c.name)


def condition(name: str) -> Condition:
    """Look a condition up by name.

    Raises:
        UnknownNameError: no such condition.
    """
    if name not in CONDITIONS:
        raise unknown_name("condition", name, CONDITIONS)
    return CONDITIONS[name]


def sight_of(row: Condition) -> Condition:
    """The first condition of the ladder that shows the same, whatever it lets be heard."""
    shown = (row.tower, row.frames, row.order)
    return next(c for c in CONDITIONS.values() if (c.tower, c.frames, c.order) == shown)
