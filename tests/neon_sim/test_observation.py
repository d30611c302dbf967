"""Batches and conditions, array by array: what is taken, what stays, what is drawn anew."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from neon_sim.errors import ConfigError, UnknownNameError
from neon_sim.observation.batch import (
    NEEDS,
    ClipBatch,
    observe_row,
    single_frames,
    stack_observations,
)
from neon_sim.observation.clips import ClipConfig, plan_clip
from neon_sim.observation.conditions import (
    ABOUT_SOUND,
    CONDITIONS,
    TRAINED_CONDITIONS,
    Condition,
    condition,
    sight_of,
)
from neon_sim.observation.ladder import apply_condition, condition_needs
from neon_sim.seeding import key_of

ROWS, FRAMES, SAMPLES = 3, 4, 16_000
ARRAYS = ("video", "mask", "time_s", "state", "agent_pos", "audio", "flow", "body")


def make_batch(rows: int = ROWS, frames: int = FRAMES, seed: int = 0, **changes: Any) -> ClipBatch:
    """A batch that holds everything; of row 0 the first two frames are padding."""
    rng = np.random.default_rng(seed)
    mask = np.ones((rows, frames), dtype=bool)
    mask[0, :2] = False
    batch = ClipBatch(
        video=rng.integers(0, 256, (rows, frames, 4, 4, 3), dtype=np.uint8),
        mask=mask,
        time_s=np.tile(-0.08 * np.arange(frames)[::-1], (rows, 1)).astype(np.float32),
        state=rng.standard_normal((rows, frames, 16)).astype(np.float32),
        agent_pos=rng.uniform(-1, 1, (rows, 8)).astype(np.float32),
        text=[f"text {row}" for row in range(rows)],
        audio=(0.05 * rng.standard_normal((rows, 2, SAMPLES))).astype(np.float32),
        flow=rng.standard_normal((rows, frames, 36, 2)).astype(np.float32),
        body=rng.standard_normal((rows, 30)).astype(np.float32),
    )
    return replace(batch, **changes)


def same(one: ClipBatch, other: ClipBatch, names: tuple[str, ...] = ARRAYS) -> bool:
    """Whether two batches hold the same arrays to the bit, of the same kind."""
    for name in names:
        a, b = getattr(one, name), getattr(other, name)
        if (a is None) != (b is None):
            return False
        if a is not None and not (np.array_equal(a, b) and a.dtype == b.dtype):
            return False
    return one.text == other.text


# ---- batches ----


def test_rows_of_a_batch_in_any_order() -> None:
    batch = make_batch()
    assert len(batch) == ROWS
    taken = batch.take([2, 0, 2])
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(taken, name), getattr(batch, name)[[2, 0, 2]])
    assert taken.text == ["text 2", "text 0", "text 2"]
    assert same(batch.rows(1, 3), batch.take([1, 2]))
    assert same(batch.rows(1, 99), batch.take([1, 2])), "no further than there are rows"
    assert same(batch.rows(0, 3, repeat_last=2), batch.take([0, 1, 2, 2, 2]))
    deaf = replace(batch, audio=None, video=None).take([1])
    assert deaf.audio is None
    assert deaf.video is None
    assert {item.name for item in fields(ClipBatch)} == {*ARRAYS, "text"}


def test_stacked_rows_are_the_batch() -> None:
    batch = make_batch()
    assert same(stack_observations([batch.rows(0, 1), batch.rows(1, 3)]), batch)
    assert same(stack_observations([batch]), batch)
    bare = ClipBatch(None, batch.mask, batch.time_s, None, batch.agent_pos, batch.text)
    stacked = stack_observations([bare, bare])
    assert len(stacked) == 2 * ROWS
    assert all(getattr(stacked, name) is None for name in ("video", "state", "audio", "flow"))
    assert stacked.body is None


@pytest.mark.parametrize("name", ["video", "state", "audio", "flow", "body"])
def test_rows_that_hold_different_things_do_not_stack(name: str) -> None:
    batch = make_batch()
    without = replace(batch, **{name: None})
    with pytest.raises(ValueError, match=rf"'{name}', or none \(row 1\)"):
        stack_observations([batch, without])
    with pytest.raises(ValueError, match=rf"'{name}', or none \(row 0\)"):
        stack_observations([without, batch])
    with pytest.raises(ValueError, match="at least one"):
        stack_observations([])


def test_single_frames_are_new_clips_of_one() -> None:
    batch = make_batch()
    single = single_frames(batch)
    assert len(single) == ROWS * FRAMES
    for row in range(ROWS):
        for frame in range(FRAMES):
            at = row * FRAMES + frame
            np.testing.assert_array_equal(single.video[at, 0], batch.video[row, frame])
            assert single.mask[at].tolist() == [batch.mask[row, frame]]
            np.testing.assert_array_equal(single.agent_pos[at], batch.agent_pos[row])
            assert single.text[at] == batch.text[row]
    assert single.video.shape == (ROWS * FRAMES, 1, 4, 4, 3)
    assert single.time_s.shape == (ROWS * FRAMES, 1)
    assert single.time_s.dtype == np.float32
    assert not single.time_s.any()
    assert single.state is single.audio is single.flow is single.body is None
    assert single_frames(replace(batch, video=None)).video is None


# ---- observing ----


class World:
    """What ``observe_row`` asks of an environment; it stretches every clip to 4 frames a second."""

    NAME, task_description, tick = "fake", "do it", 995

    def __init__(self, hears: bool = True) -> None:
        self.unwrapped = self
        self.asked: list[Any] = []
        sound = SimpleNamespace(observation=lambda: np.full((1, SAMPLES), 0.5, np.float32))
        self.sound = sound if hears else None

    def sampling(self, clip: ClipConfig) -> ClipConfig:
        return replace(clip, fps=4.0)

    def clip(self, clip: ClipConfig) -> tuple[np.ndarray, None]:
        self.asked.append("video")
        return np.full((clip.num_frames, 2, 2, 3), 7, np.uint8), None

    def state_history(self, clip: ClipConfig) -> np.ndarray:
        self.asked.append("state")
        return np.full((clip.num_frames, 16), 2.0, np.float32)

    def flow_history(self, clip: ClipConfig) -> np.ndarray:
        self.asked.append("flow")
        return np.full((clip.num_frames, 36, 2), 3.0, np.float32)

    def body_state(self) -> np.ndarray:
        self.asked.append("body")
        return np.full(30, 4.0, np.float32)

    def agent_pos(self) -> list[float]:
        return [0.1] * 8


def test_an_environment_is_asked_for_what_is_needed_and_no_more() -> None:
    clip = ClipConfig(num_frames=3)
    shapes = {
        "video": (1, 3, 2, 2, 3),
        "state": (1, 3, 16),
        "audio": (1, 1, SAMPLES),
        "flow": (1, 3, 36, 2),
        "body": (1, 30),
    }
    assert set(NEEDS) == set(shapes)
    for need, shape in shapes.items():
        world = World()
        row = observe_row(world, clip, {need})
        assert {n: getattr(row, n).shape for n in shapes if getattr(row, n) is not None} == {
            need: shape
        }
        assert world.asked == ([] if need == "audio" else [need])
        assert row.text == ["do it"]
        assert row.agent_pos.dtype == np.float32
        assert row.agent_pos.shape == (1, 8)
        plan = plan_clip(replace(clip, fps=4.0), World.tick)
        np.testing.assert_array_equal(row.mask, plan.mask[None])
        np.testing.assert_array_equal(row.time_s, plan.time_s[None])
        assert row.time_s[0, 0] == pytest.approx(-0.5, abs=0.04), "as the task samples it"


def test_listening_needs_a_microphone() -> None:
    with pytest.raises(ConfigError, match=r"but fake has no microphones.*audio=none"):
        observe_row(World(hears=False), ClipConfig(), {"audio"})
    assert observe_row(World(hears=False), ClipConfig(), {"body"}).audio is None


# ---- the ladder ----

# name: (needs, frames and order, sound, the condition whose checkpoint plays)
LADDER = {
    "blind": ((), "nothing", "none", "blind"),
    "frame": (("video",), "newest", "true", "frame"),
    "stack": (("video",), "clip", "true", "stack"),
    "video": (("video",), "clip", "true", "video"),
    "video_repeat": (("video",), "repeated", "true", "video_repeat"),
    "video_shuffle": (("video",), "shuffled", "true", "video_shuffle"),
    "repeat_at_test": (("video",), "repeated", "true", "video"),
    "shuffle_at_test": (("video",), "shuffled", "true", "video"),
    "oracle_memoryless": (("state",), "newest", "none", "oracle_memoryless"),
    "oracle_history": (("state",), "clip", "none", "oracle_history"),
    "muted": (("video",), "clip", "none", "muted"),
    "audio_only": ((), "nothing", "true", "audio_only"),
    "mute_at_test": (("video",), "clip", "none", "video"),
    "swap_audio_at_test": (("video",), "clip", "true", "video"),
    "delay_audio_at_test": (("video",), "clip", "late", "video"),
    "snr20_at_test": (("video",), "clip", "noisy", "video"),
    "snr10_at_test": (("video",), "clip", "noisy", "video"),
    "snr0_at_test": (("video",), "clip", "noisy", "video"),
}
SOUND = {"muted", "audio_only", "mute_at_test", "swap_audio_at_test", "delay_audio_at_test",
         "snr20_at_test", "snr10_at_test", "snr0_at_test"}  # fmt: skip
VISUAL = ("video", "state", "flow", "mask", "time_s")


def test_the_ladder_is_known_by_name() -> None:
    assert list(CONDITIONS) == list(LADDER)
    assert ABOUT_SOUND == SOUND
    for name, row in CONDITIONS.items():
        assert row is condition(name)
        assert row.name == name
        assert row.about_sound == (name in SOUND)
        assert row.trained_as == LADDER[name][3]
        assert len(row.about.split()) > 2
        assert row.tower in ("none", "image", "video", "state")
        assert row.frames in ("none", "last", "all")
        assert row.order in ("true", "repeat", "shuffle")
    assert tuple(name for name, row in LADDER.items() if row[3] == name) == TRAINED_CONDITIONS
    with pytest.raises(UnknownNameError, match=r"unknown condition 'viedo'.*'video'"):
        condition("viedo")
    assert Condition("mine", "video", "all", "true", "mine", "a row of your own").sound == "true"


@pytest.mark.parametrize("name", LADDER)
def test_what_a_condition_asks_for(name: str) -> None:
    needs = LADDER[name][0]
    assert condition_needs(condition(name)) == frozenset(needs)
    blind = make_batch(flow=None, video=None, state=None)
    if needs:
        with pytest.raises(ConfigError, match=f"'{name}' needs {needs[0]}"):
            apply_condition(condition(name), blind)
        only = replace(blind, **{needs[0]: getattr(make_batch(), needs[0])})
        assert getattr(apply_condition(condition(name), only), needs[0]) is not None
    else:
        assert apply_condition(condition(name), blind).video is None


@pytest.mark.parametrize("name", LADDER)
def test_what_a_condition_lets_be_seen(name: str) -> None:
    shown = LADDER[name][1]
    batch = make_batch(flow=None) if shown == "shuffled" else make_batch()
    seen = apply_condition(condition(name), batch)
    np.testing.assert_array_equal(seen.agent_pos, batch.agent_pos)
    np.testing.assert_array_equal(seen.body, batch.body)
    assert seen.text == batch.text
    if shown == "clip":
        assert all(getattr(seen, part) is getattr(batch, part) for part in VISUAL)
    elif shown == "nothing":
        assert seen.video is seen.state is seen.flow is None
        assert seen.mask is batch.mask
    elif shown in ("newest", "repeated"):
        length = 1 if shown == "newest" else FRAMES
        for part in ("video", "state", "time_s"):
            want = np.repeat(getattr(batch, part)[:, -1:], length, axis=1)
            np.testing.assert_array_equal(getattr(seen, part), want)
        assert seen.mask.tolist() == [[True] * length] * ROWS
        assert seen.mask.dtype == bool
        assert seen.flow.shape == (ROWS, length, 36, 2)
        assert seen.flow.dtype == np.float32
        assert not seen.flow.any(), "nothing moves in one frame"
    else:
        assert shown == "shuffled"
        assert seen.mask is batch.mask
        assert seen.time_s is batch.time_s, "the ages claim the true order"
        assert seen.flow is None
        _check_shuffled(seen, batch)


def _check_shuffled(seen: ClipBatch, batch: ClipBatch) -> None:
    """Video and state moved alike, among the real places, never into the true order."""
    for row in range(ROWS):
        places = [
            next(p for p in range(FRAMES) if np.array_equal(batch.video[row, p], frame))
            for frame in seen.video[row]
        ]
        real = np.flatnonzero(batch.mask[row]).tolist()
        assert sorted(places) == list(range(FRAMES))
        assert [places[p] for p in range(FRAMES) if p not in real] == [
            p for p in range(FRAMES) if p not in real
        ]
        assert [places[p] for p in real] != real
        np.testing.assert_array_equal(seen.state[row], batch.state[row, places])


def test_one_real_frame_has_no_other_order() -> None:
    batch = make_batch(flow=None)
    batch.mask[:, :-1] = False
    assert same(apply_condition(condition("video_shuffle"), batch), batch)
    batch.mask[:, -2:] = True  # two: they change places
    mixed = apply_condition(condition("video_shuffle"), batch).video
    np.testing.assert_array_equal(mixed, batch.video[:, [0, 1, 3, 2]])


def test_all_wrong_orders_come_up() -> None:
    batch = make_batch(rows=60, frames=3, flow=None, mask=np.ones((60, 3), dtype=bool))
    seen = apply_condition(condition("video_shuffle"), batch)
    orders = {
        tuple(np.flatnonzero([np.array_equal(f, old) for old in batch.video[row]])[0] for f in new)
        for row, new in enumerate(seen.video)
    }
    assert len(orders) == 5


def test_frames_with_exact_flow_are_not_shuffled() -> None:
    for name in ("video_shuffle", "shuffle_at_test"):
        with pytest.raises(ConfigError, match=f"'{name}' shuffles.*without flow"):
            apply_condition(condition(name), make_batch())


def order_of(key: int, length: int) -> list[int]:
    """The first permutation of a key's stream that is not the true order."""
    rng = np.random.default_rng(np.random.SeedSequence([key_of("shuffle"), key]))
    while True:
        order = rng.permutation(length).tolist()
        if order != list(range(length)):
            return order


def test_an_order_is_drawn_from_the_key_and_the_key_from_the_row() -> None:
    """The same in every version: heads trained on shuffled clips meet the same orders."""
    batch = make_batch(flow=None, mask=np.ones((ROWS, FRAMES), dtype=bool))
    row = condition("video_shuffle")
    given = apply_condition(row, batch, keys=[5, 6, 7])
    own = apply_condition(row, batch)
    for at, key in enumerate((5, 6, 7)):
        np.testing.assert_array_equal(given.video[at], batch.video[at, order_of(key, FRAMES)])
        seen = batch.agent_pos[at].tobytes() + batch.video[at, -1].tobytes()
        digest = hashlib.blake2b(seen, digest_size=8).digest()
        order = order_of(int.from_bytes(digest, "little"), FRAMES)
        np.testing.assert_array_equal(own.video[at], batch.video[at, order])
    with pytest.raises(ValueError, match="zip"):
        apply_condition(row, batch, keys=[1, 2])


def test_conditions_that_show_the_same_have_one_sight() -> None:
    sights = dict.fromkeys(SOUND, "video") | {"audio_only": "blind"}
    sights |= {"repeat_at_test": "video_repeat", "shuffle_at_test": "video_shuffle"}
    for name, row in CONDITIONS.items():
        assert sight_of(row) is condition(sights.get(name, name))


# ---- hearing ----


@pytest.mark.parametrize("name", LADDER)
def test_what_a_condition_lets_be_heard(name: str) -> None:
    heard = LADDER[name][2]
    batch = make_batch(flow=None)
    left = apply_condition(condition(name), batch).audio
    if heard == "none":
        assert left is None
    elif heard == "true":
        assert left is batch.audio
    else:
        assert left.shape == batch.audio.shape
        assert left.dtype == np.float32
        assert not np.array_equal(left, batch.audio)
    deaf = apply_condition(condition(name), replace(batch, audio=None))
    assert deaf.audio is None


def key_of_sound(audio: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(audio.tobytes(), digest_size=8).digest(), "little")


def stream(name: str, audio: np.ndarray) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([key_of(name), key_of_sound(audio)]))


def test_late_sound_is_that_of_a_quarter_second_ago_behind_the_quietest_noise() -> None:
    """Each microphone has a floor of its own: the RMS of the quietest of ten parts."""
    loud = np.repeat([0.4, 0.2, 0.1, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 1600)
    audio = np.stack([loud, loud[::-1] / 8])[None].astype(np.float32)
    audio *= np.where(np.arange(SAMPLES) % 2, -1, 1).astype(np.float32)
    batch = make_batch(rows=1, audio=audio)
    late = apply_condition(condition("delay_audio_at_test"), batch).audio[0]
    np.testing.assert_array_equal(late[:, 4000:], audio[0, :, :12_000])
    noise = stream("late", audio[0]).standard_normal((2, 4000))
    want = np.clip(np.array([[0.1], [0.1 / 8]]) * noise, -1, 1)
    np.testing.assert_allclose(late[:, :4000], want, rtol=1e-5)
    shouted = replace(batch, audio=np.ones_like(audio))
    filler = apply_condition(condition("delay_audio_at_test"), shouted).audio[0, :, :4000]
    assert filler.max() == 1.0, "a microphone ends there"
    assert filler.min() == -1.0


@pytest.mark.parametrize("level", [20, 10, 0])
def test_noise_lies_so_many_decibels_below_the_sound(level: int) -> None:
    audio = make_batch().audio[:1]
    noisy = apply_condition(condition(f"snr{level}_at_test"), make_batch(rows=1, audio=audio)).audio
    rms = float(np.sqrt(np.mean(audio.astype(np.float64) ** 2)))
    noise = stream("noise", audio[0]).standard_normal((2, SAMPLES))
    want = audio[0] + rms / 10 ** (level / 20) * noise
    np.testing.assert_allclose(noisy[0], np.clip(want, -1, 1), atol=1e-7)
    shouted = make_batch(rows=1, audio=np.full_like(audio, 0.9))
    limited = apply_condition(condition(f"snr{level}_at_test"), shouted).audio
    assert limited.max() == 1.0, "a microphone ends there"
    if level == 0:
        assert limited.min() == -1.0
