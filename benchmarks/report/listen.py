"""``neon-bench listen``: a page that plays what the cues of sound tasks sound like.

One episode a task, once for every value of its cue: the expert acts on it, the microphones
record, and beside the video stands the spectrogram. The page needs nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import gymnasium
import numpy as np

from neon_sim.clock import AUDIO_HZ
from neon_sim.errors import ConfigError
from neon_sim.files import make_folder, write_whole
from neon_sim.registry import task_entry

from ..certificates.sound import Twins
from ..film.filming import drawn_frames
from ..film.media import Recorder, encode_flac, encode_image, for_ears, gain_for, small_video
from .markup import Html, join, markup, resource, tag
from .sections import note, section
from .spectrogram import spectrogram


@dataclass(frozen=True)
class Heard:
    """An episode as the microphones got it.

    Attributes:
        cue: what sounded. frames: (F, 240, 320, 3) uint8 at 25 Hz.
        sound: (C, n) float32 at 16 kHz. success: of the expert.
    """

    cue: Any
    frames: np.ndarray
    sound: np.ndarray
    success: bool


def write_page(path: Path, tasks: Sequence[str], seed: int = 0, episode: int = 0) -> Path:
    """Play the cues of some tasks and write the page.

    Args:
        path: of the HTML file. tasks: registry names. seed, episode: which episode.

    Raises:
        ConfigError: a task without a cue. NeonError: the page cannot be written.
    """
    names = [task_entry(name).name for name in tasks]
    deaf = [name for name in names if task_entry(name).kind != "sound"]
    if deaf:
        raise ConfigError(f"a sound task has a cue to listen to (got {', '.join(deaf)}); take one "
                          "of neon-bench list tasks whose kind is sound")  # fmt: skip
    make_folder(path.parent)
    parts = [task_section(name, seed, episode) for name in names]
    write_whole(path, page(parts, f"seed {seed}, episode {episode}"))
    return path


def page(sections: Sequence[Html], name: str) -> Html:
    """The whole document."""
    return Html(
        Template(resource("report.html")).substitute(
            title=markup(f"What the tasks sound like: {name}"),
            what="what the tasks sound like",
            name=markup(name),
            style=resource("report.css"),
            script=resource("listen.js"),
            body=join([note(ABOUT), *sections], "\n"),
        )
    )


ABOUT = (
    "Each task is shown once for every value of its cue: the same episode to the bit, but for "
    "what is heard and what the expert, who is told the cue, then does. Colour is level, from "
    "the noise of the microphone to the loudest; pitch is spaced by mel. The recordings are made "
    "louder, by the same factor for all cues of a task; the spectrograms are of what the "
    "policies hear. Players hold the lossless recording, videos carry it compressed."
)


def task_section(task: str, seed: int, episode: int) -> Html:
    """Every cue of one task."""
    env = gymnasium.make(task_entry(task).env_id, disable_env_checker=True, cameras=())
    with closing(env):
        twins = Twins(env, task, seed, episode)
        core = twins.core
        heard = [play(twins, cue) for cue in twins.cues]
        gain = gain_for(np.concatenate([one.sound for one in heard], axis=1))
        facts = (
            f"{core.CUE}: one of {len(heard)}. Microphones: {', '.join(core.MICROPHONES)}. "
            f"Recordings louder by {20 * np.log10(gain):.0f} dB."
        )
        cards = [card(one, core.CUE, core.sound.channel_names, gain) for one in heard]
        title = tag("h3", tag("q", core.task_description))
    return section(task, task, title, note(facts), tag("div", *cards, class_="heard"))


def play(twins: Twins, cue: Any) -> Heard:
    """The expert's episode when ``cue`` sounds."""
    twins.start(cue)
    core, recorder, over = twins.core, Recorder(), False
    success = False
    while not over:
        _, terminated, truncated, info = core.advance(core.expert_action())
        recorder.hear(core)
        success = success or bool(info["is_success"])
        over = terminated or truncated
    sound = recorder.samples()
    if sound is None:
        raise ConfigError(f"{core.NAME} must name its MICROPHONES (got none)")
    return Heard(cue, drawn_frames(core), sound, success)


def card(one: Heard, key: str, channels: Sequence[str], gain: float) -> Html:
    """One cue: video, spectrograms of at most two channels, a player."""
    track = for_ears(one.sound, gain)
    chosen = [0] if len(one.sound) == 1 else [0, len(one.sound) - 1]
    sides = (" (left)", " (right)") if len(chosen) > 1 else ("",)
    pictures = [
        tag("figure", spectrogram(one.sound[index], f"{key} {one.cue}, {channels[index]}{side}"))
        for index, side in zip(chosen, sides, strict=True)
    ]
    video = tag(
        "video",
        src=_data(small_video(one.frames, track), "video/mp4"),
        poster=_data(encode_image(one.frames[-1], "mjpeg"), "image/jpeg"),
        controls=True,
        playsinline=True,
        preload="auto",
        width=320,
        height=240,
        aria_label=f"{key} {one.cue}",
    )
    player = tag(
        "audio", src=_data(encode_flac(track), "audio/flac"), controls=True, preload="auto"
    )
    ended = "the expert succeeds" if one.success else "the expert fails"
    seconds = f"{one.sound.shape[1] / AUDIO_HZ:.1f} s"
    return tag(
        "article",
        tag("h3", f"{key}: ", tag("b", str(one.cue)), " ", tag("small", f"{seconds}, {ended}")),
        tag("div", video, tag("div", *pictures, player), class_="cue"),
    )


def _data(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
