"""The tasks that eyes alone cannot solve: what is heard tells the choice, and nothing else does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import gymnasium
import numpy as np
import pytest

import neon_sim
from neon_sim.audio.recording import load_flac
from neon_sim.benchmarks.runs.suites import load_suite
from neon_sim.clock import TICKS_PER_CAMERA, TICKS_PER_CONTROL
from neon_sim.envs.arm.latch import LIMIT_TICKS
from neon_sim.envs.arm.spoken import FIRST_TRAINING_SEED, voices, word_table
from neon_sim.envs.arm.tone_order import MELODIES
from neon_sim.envs.hearing import NOTHING, HearingTask
from neon_sim.registry import task_entry

assert neon_sim.__version__  # importing the package registers the ids
NAMES = load_suite("sound").tasks
BUDGET_BYTES = 1_000_000


def make(name: str, **arguments: Any) -> Any:
    """The bare environment."""
    arguments = {"cameras": (), "image_size": 48, "disable_env_checker": True, **arguments}
    return gymnasium.make(task_entry(name).env_id, **arguments).unwrapped


@pytest.fixture(scope="module", params=NAMES)
def env(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A task with its own microphones."""
    made = make(request.param)
    yield made
    made.close()


def begin(env: HearingTask, episode: int, cue: Any = None, **options: Any) -> None:
    """Reset to an episode of seed 0, or to its twin with another cue."""
    env.reset(seed=0, options={"episode": episode, **options})
    if cue is not None:
        env.reset(options={"episode": episode, "latent": {**env.latent, env.CUE: cue}})


def expert_tape(env: HearingTask, episode: int) -> list[np.ndarray]:
    """The expert's actions in an episode, to its end."""
    begin(env, episode)
    actions: list[np.ndarray] = []
    over = False
    while not over:
        actions.append(env.expert_action())
        _, terminated, truncated, _ = env.advance(actions[-1])
        over = terminated or truncated
    return actions


@pytest.fixture(scope="module")
def tape(env: HearingTask) -> list[np.ndarray]:
    """What the expert did in episode 2, and that it did it well."""
    actions = expert_tape(env, 2)
    assert env.is_success()
    assert not env.failed()
    assert env.progress() == 1.0
    assert env.sound is not None
    assert env.sound.clipped == 0
    return actions


def replay(env: HearingTask, episode: int, cue: Any, tape: list[np.ndarray]) -> dict[str, Any]:
    """Digests of everything but sound and of the sound, rewards until the choice, the choice."""
    begin(env, episode, cue)
    assert 0.0 <= env.progress() <= 0.5
    unheard, heard, before = hashlib.sha256(env.task_description.encode()), hashlib.sha256(), []
    for action in tape:
        reward, terminated, truncated, _ = env.advance(action, past_end=True)
        if env._chosen is None:
            before.append((reward, terminated, truncated))
        unheard.update(env.agent_pos().tobytes() + env.environment_state().tobytes())
        unheard.update(env.world.state_hash().encode())
        if env.tick % (4 * TICKS_PER_CAMERA) == 0:
            unheard.update(env.frame("front", env.tick, 48).tobytes())
        assert env.sound is not None
        heard.update(env.sound.newest().tobytes())
    return {
        "unheard": unheard.digest(),
        "heard": heard.digest(),
        "before": before,
        "fits": [value for value in env.cues() if env.fits(value)],
        "end": (env.is_success(), env.failed(), env.progress()),
    }


def test_nothing_but_the_sound_depends_on_the_cue(env: HearingTask, tape: list[np.ndarray]) -> None:
    """The sound certificate for one seed and one tape; and what was done fits one cue alone."""
    begin(env, 2)
    right, cues = env.latent[env.CUE], env.cues()
    wrong = cues[-1] if right != cues[-1] else cues[0]
    true, twin = (replay(env, 2, cue, tape) for cue in (right, wrong))
    assert true["unheard"] == twin["unheard"]
    assert true["heard"] != twin["heard"]
    assert true["before"] == twin["before"]
    assert true["fits"] == twin["fits"] == [right]
    assert (true["end"], twin["end"]) == ((True, False, 1.0), (False, True, 0.0))


def test_the_expert_knows_no_sooner_than_one_can_hear(env: HearingTask) -> None:
    """Two twins side by side: their experts part after their sounds have."""
    other = make(env.NAME)
    begin(env, 1)
    cues = env.cues()
    begin(env, 1, cues[0])
    begin(other, 1, cues[-1])
    while True:
        actions = env.expert_action(), other.expert_action()
        if not np.array_equal(*actions):
            break
        assert env.control_step < env.EPISODE_STEPS
        env.advance(actions[0])
        other.advance(actions[1])
    heard = env.observe()["audio"], other.observe()["audio"]
    assert not np.array_equal(*heard)
    other.close()


def test_the_deaf_expert_does_the_same(env: HearingTask, tape: list[np.ndarray]) -> None:
    """Microphones change nothing of the world."""
    deaf = make(env.NAME, microphones=())
    assert deaf.sound is None
    np.testing.assert_array_equal(np.stack(tape), np.stack(expert_tape(deaf, 2)))
    begin(deaf, 5, start_noise=0.15)
    over = False
    while not over:
        _, terminated, truncated, info = deaf.advance(deaf.expert_action())
        over = terminated or truncated
    assert info["is_success"]
    deaf.close()


def test_every_cue_is_as_likely(env: HearingTask) -> None:
    rng = np.random.default_rng(0)
    places = []
    for _ in range(400):
        latent = env.sample_latent(rng)
        cues = env.cues_of(latent)
        assert len(cues) == len(set(map(str, cues)))
        places.append(cues.index(latent[env.CUE]))
    counts = np.bincount(places, minlength=len(cues)) / 400
    assert np.abs(counts - 1 / len(cues)).max() < 0.1


@pytest.mark.parametrize(("delay", "in_time"), [(-10, False), (1, True), (8, True), (15, False)])
def test_the_latch_wants_its_handle_in_time(delay: int, in_time: bool) -> None:
    """A squeeze that begins so many control steps after the click."""
    env = make("arm_latch", microphones=())
    begin(env, 0)
    click = env.cues()[2]
    while env.tick < click + delay * TICKS_PER_CONTROL:
        env.advance(env.go(env._places[0]))
    for _ in range(15):
        env.advance(env.go(env._places[0], -1.0), past_end=True)
    assert env._chosen is not None
    assert env.fits(click) == in_time
    env.close()


def test_latch_times_share_no_squeeze() -> None:
    env = make("arm_latch", microphones=())
    begin(env, 3)
    assert (np.diff(env.cues()) > LIMIT_TICKS).all()
    assert env.cues()[-1] + LIMIT_TICKS <= env.EPISODE_STEPS * TICKS_PER_CONTROL
    for _ in range(40):  # squeezed before any click that may be
        env.advance(env.go(env._places[0], -1.0), past_end=True)
    assert env._chosen == NOTHING
    assert env.failed()
    env.close()


def test_one_ear_cannot_tell_the_cups_apart_and_two_can() -> None:
    level: dict[str, list[np.ndarray]] = {}
    for array in ("mono", "head_stereo"):
        env = make("arm_ringing", microphones=(array,))
        for cue in range(4):
            begin(env, 0, cue)
            for _ in range(60):
                env.advance(env.hold_action())
            heard = env.sound.observation()
            level.setdefault(array, []).append(10 * np.log10(np.mean(heard**2, axis=1)))
        env.close()
    assert np.ptp(np.concatenate(level["mono"])) < 0.05
    differences = [left - right for left, right in level["head_stereo"]]
    assert (np.diff(differences) < -0.3).all()


def test_melodies_hold_the_same_tones() -> None:
    assert len({tuple(sorted(tones)) for tones in MELODIES.values()}) == 1
    assert len(set(MELODIES.values())) == len(MELODIES)


def test_words_are_what_the_table_says() -> None:
    folder = resources.files("neon_sim.assets").joinpath("words")
    table = word_table()
    files = [item for item in folder.iterdir() if item.name.endswith(".flac")]
    assert {item.name for item in files} == {row["file"] for row in table.values()}
    assert sum(len(item.read_bytes()) for item in files) < BUDGET_BYTES
    assert len(table) == 4 * (len(voices("train")) + len(voices("test")))
    for row in list(table.values())[::7]:
        samples = load_flac(str(folder.joinpath(row["file"])), row["sha256"])
        assert len(samples) == row["samples"]


def test_voices_of_training_and_of_test_are_disjoint() -> None:
    assert not set(voices("train")) & set(voices("test"))
    env = make("arm_spoken", microphones=())
    for seed, split in ((0, "test"), (999, "test"), (FIRST_TRAINING_SEED, "train")):
        env.reset(seed=seed)
        drawn = {env.sample_latent(env.rng(f"latent{k}"))["voice"] for k in range(200)}
        assert drawn == set(voices(split))
    assert json.loads(json.dumps(env.latent)) == env.latent
    env.close()


def test_where_things_lie_in_memory_changes_no_sample() -> None:
    """A voice that fell silent once lent its last sound to the next in its place."""
    made = make("arm_rattle")

    def shake(clutter: int) -> bytes:
        made.reset(seed=0, options={"episode": 1})
        heard: list[bytes] = []
        kept, done = [], False
        while not done:
            kept.append(np.ones(len(heard) * clutter % 97 + 1))
            wobble = 0.02 * np.sin(len(heard) * np.arange(8))
            action = np.clip(made.expert_action() + wobble, -1.0, 1.0)
            _, terminated, truncated, _ = made.advance(action)
            heard.append(made.sound.newest().tobytes())
            done = terminated or truncated
        return b"".join(heard)

    assert len({shake(clutter) for clutter in range(6)}) == 1
    made.close()
