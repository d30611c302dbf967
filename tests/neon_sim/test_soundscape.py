"""The contract of ``SoundScape``: a causal second, the same bits everywhere, nothing for free."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import av
import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from sound_scene import (
    BALL,
    EVERYTHING,
    IMPULSE,
    MOTOR,
    NOISELESS,
    ROBOT,
    SLIDE,
    TABLE,
    burst,
    digest,
    emit_cues,
    everything,
    level_db,
    listen,
    quiet,
    scene,
    start,
)

from neon_sim.audio.materials import modes_of
from neon_sim.audio.microphones import MICROPHONES, Mount
from neon_sim.audio.recording import load_flac
from neon_sim.audio.soundscape import RING_SAMPLES, SoundScape
from neon_sim.audio.sources import Alarm, Beep, Recording
from neon_sim.errors import ConfigError, MissingPackageError, UnknownNameError
from neon_sim.registry import TASKS
from neon_sim.simulation.world import World

# ---- the observation --------------------------------------------------------------------


def test_the_observation_is_one_second_of_float32_with_the_newest_last():
    scape = everything()
    heard = [listen(scape, 30, ctrl=1.0)]
    seen = scape.observation()
    assert seen.shape == (4, RING_SAMPLES) == (len(scape.channel_names), 16_000)
    assert seen.dtype == np.float32
    assert np.abs(seen).max() <= 1.0
    heard.append(listen(scape, 37, ctrl=1.0))
    everything_heard = np.concatenate(heard, axis=1)
    np.testing.assert_array_equal(scape.observation(), everything_heard[:, -RING_SAMPLES:])
    np.testing.assert_array_equal(seen[:, -30 * 320 :], everything_heard[:, : 30 * 320])
    assert scape.sample == 67 * 320


def test_before_the_episode_there_was_a_silent_room_not_a_clock():
    """Else the count of zeros in the ring would tell how long the episode runs."""
    scape = quiet(noise_db=-60.0)
    past = scape.observation()[0]
    assert level_db(past[:8000]) == pytest.approx(-60.0, abs=0.5)
    listen(scape, 10)
    assert level_db(scape.observation()[0]) == pytest.approx(-60.0, abs=0.5)


def test_an_observation_may_be_scribbled_on():
    scape = everything()
    listen(scape, 3)
    first = scape.observation()
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(scape.observation(), kept)


def test_a_sound_is_not_heard_before_it_is_made():
    scape = quiet()
    scape.emit(IMPULSE, (0.343, 0, 0), start_tick=25)
    heard = listen(scape, 6)[0]
    assert not heard[: 25 * 32].any()
    assert np.abs(heard).argmax() == 25 * 32 + 16


def test_beyond_full_scale_is_clipped_and_counted():
    scape = quiet()
    scape.emit(Beep(level_db=20.0, duration_s=0.1), (1.0, 0, 0))
    heard = listen(scape, 10)
    assert heard.min() == -1.0
    assert heard.max() == 32767 / 32768, "the largest number of 16 bits"
    assert scape.clipped == np.count_nonzero((heard == heard.min()) | (heard == heard.max())) > 100
    scape.reset((1,))
    assert scape.clipped == 0


def test_a_stopped_source_falls_silent_and_others_go_on():
    scape = quiet()
    handle = scape.emit(Alarm(), (1.0, 0, 0))
    listen(scape, 5)
    scape.stop(handle)
    listen(scape, 1)
    assert not listen(scape, 5).any()
    scape.stop(handle)


def test_channels_are_named_and_what_cannot_deploy_is_labelled():
    scape = quiet(("mono", "linear4"))
    assert scape.channel_names == ("mono", *(f"linear4.{k}" for k in range(4)))
    assert not MICROPHONES["mono"].simulation_only
    assert MICROPHONES["linear4"].simulation_only


def test_a_microphone_that_is_carried_hears_from_where_it_is():
    world = World(scene(TABLE, ROBOT, actuator=MOTOR))
    levels = []
    for y in (0.3, -3.0):
        mount = Mount(position=(0.2, 0.0, 0.0), body="link")
        scape = SoundScape(world, mount=mount, noise_db=NOISELESS, motors=False)
        scape.emit(burst(), (0.2, y, 0.5))
        levels.append(level_db(listen(scape, 4)))
    assert levels[0] - levels[1] == pytest.approx(20 * np.log10(3.5 / 0.2), abs=1.0)


def test_the_wrist_hears_the_robot_and_what_it_touches_only():
    below = BALL.replace("0 0 0.5", "0.15 0.5 0.8")  # falls onto the link
    for bodies, heard in (((TABLE, BALL, ROBOT), False), ((TABLE, below, ROBOT), True)):
        mount = Mount(position=(0.2, 0.2, 0.3), contact_body="link")
        world = World(scene(*bodies, actuator=MOTOR))
        scape = SoundScape(
            world, ("mono", "wrist_contact"), mount=mount, noise_db=NOISELESS, motors=False
        )
        air, structure = listen(scape, 18)
        assert air.any()
        assert structure.any() == heard


# ---- the same bits ----------------------------------------------------------------------


def test_how_ticks_are_grouped_changes_nothing():
    whole, parts = everything(), everything()
    whole.step(np.full((60, 1), 1.5))
    for ticks in (1, 19, 7, 33):
        parts.step(np.full((ticks, 1), 1.5))
    np.testing.assert_array_equal(whole.observation(), parts.observation())


@pytest.mark.parametrize("room", [None, "dry"])
def test_an_episode_does_not_depend_on_what_ran_before(room):
    scape = everything(room)
    fresh = digest(scape)
    start(scape, velocity={8: 1.0}, key=(5,))
    listen(scape, 20, ctrl=-3.0)
    again = everything(room)
    scape.world.reset(qvel=again.world.data.qvel.copy())
    scape.reset((0,))
    emit_cues(scape)
    assert digest(scape) == fresh == digest(again)


def test_another_episode_has_other_noise():
    heard = []
    for key in ((0, 0), (0, 1), (1, 0)):
        scape = quiet(noise_db=-60.0)
        scape.reset(key)
        heard.append(listen(scape, 2).tobytes())
    assert len(set(heard)) == 3


def test_a_pickled_soundscape_goes_on_to_the_bit():
    scape = everything("dry")
    listen(scape, 16, ctrl=1.0)
    twin = pickle.loads(pickle.dumps(scape))
    np.testing.assert_array_equal(scape.observation(), twin.observation())
    assert digest(scape) == digest(twin)


def test_listening_leaves_the_physics_alone():
    scape, world = everything(), World(EVERYTHING)
    qvel = np.zeros(world.model.nv)
    for index, value in SLIDE.items():
        qvel[index] = value
    world.reset(qvel=qvel)
    listen(scape, 30, ctrl=1.0)
    world.step(np.full((300, 1), 1.0))
    assert scape.world.state_hash() == world.state_hash()


def test_other_processes_hear_the_same_bits_whatever_their_threads():
    code = "import sound_scene as s; print(s.digest(s.everything('live')))"
    found = {digest(everything("live"))}
    path = os.pathsep.join([str(Path(__file__).parents[1] / "support"), *filter(None, sys.path)])
    for threads in ("1", "4"):
        environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": threads}
        environment |= {f"{name}_NUM_THREADS": threads for name in ("OMP", "OPENBLAS", "MKL")}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout.split()[-1])
    assert len(found) == 1


# ---- materials, recordings, errors --------------------------------------------------------


def test_a_body_sounds_the_same_in_every_episode_and_unlike_another():
    assert modes_of("wood", 0.05, "cup") == modes_of("wood", 0.05, "cup")
    assert modes_of("wood", 0.05, "cup") != modes_of("wood", 0.05, "mug")
    assert modes_of("wood", 0.10).hz[0] == pytest.approx(modes_of("wood", 0.05).hz[0] / 2)


@pytest.mark.parametrize(("other", "same"), [("ball2", True), ("marble", False)])
def test_numbered_copies_ring_alike(other, same):
    """Who hears a plate must not know by its voice which of several copies it is."""

    def fall(name):
        world = World(scene(TABLE, BALL.replace("ball", name)))
        scape = SoundScape(world, mount=Mount(position=(0.3, 0, 0.2)), noise_db=NOISELESS)
        scape.step(np.zeros((200, 0)))
        return scape.observation()

    assert np.abs(fall("ball1")).max() > 0.001
    assert np.array_equal(fall("ball1"), fall(other)) == same


def test_a_material_can_be_changed_between_episodes():
    world = World(scene(TABLE, BALL))
    scape = SoundScape(world, mount=Mount(position=(0.3, 0, 0.2)), noise_db=NOISELESS)
    tails = {}
    for material in ("metal", "wood"):
        scape.assign({"ball": material})
        start(scape)
        tails[material] = level_db(listen(scape, 40)[0, 320 * 30 :])
    assert tails["metal"] > tails["wood"] + 20


def write_flac(path, samples, rate=16_000):
    """A FLAC file of (n,) int16."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_recording_is_played_without_loss(tmp_path):
    samples = (3000 * np.random.default_rng(0).standard_normal(5000)).astype(np.int16)
    path = tmp_path / "word.flac"
    sha256 = write_flac(path, samples)
    np.testing.assert_array_equal(load_flac(str(path), sha256) * 32768, samples)
    scape = quiet()
    scape.emit(Recording(str(path), sha256, level_db=-23.0), (1.0, 0, 0))
    heard = listen(scape, 20)[0]
    assert level_db(heard[47:5047]) == pytest.approx(-23.0, abs=0.4)
    assert not heard[5100:].any()


def test_recordings_that_do_not_fit_say_why(tmp_path):
    path = tmp_path / "word.flac"
    write_flac(path, np.zeros(100, np.int16), rate=22_050)
    with pytest.raises(ConfigError, match=r"22050 Hz.*ffmpeg"):
        load_flac(str(path))
    with pytest.raises(ConfigError, match="sha256 must be 00"):
        load_flac(str(path), "00")
    with pytest.raises(ConfigError, match="does not exist"):
        load_flac(str(tmp_path / "no.flac"))


def test_errors_name_the_value_and_the_rule(monkeypatch):
    with pytest.raises(UnknownNameError, match="unknown microphone 'stereo'"):
        quiet(("stereo",))
    with pytest.raises(UnknownNameError, match="Known: anechoic, dry, live"):
        quiet(room="hall")
    with pytest.raises(UnknownNameError, match="unknown material 'gold'"):
        quiet(materials={"table": "gold"})
    with pytest.raises(ConfigError, match="'cup', which is no geom"):
        quiet(materials={"cup": "wood"})
    with pytest.raises(ConfigError, match="contact_body"):
        quiet(("wrist_contact",))
    with pytest.raises(ConfigError, match="at least one"):
        quiet(())
    scape = quiet()
    listen(scape, 2)
    with pytest.raises(ConfigError, match=r"before 20 \(got 3\)"):
        scape.emit(Beep(), (0, 0, 1), start_tick=3)
    with pytest.raises(UnknownNameError, match="unknown body 'phone'"):
        scape.emit(Beep(), "phone")
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(MissingPackageError, match=r"pip install .*sound"):
        quiet(room="dry")


# ---- the arm ----------------------------------------------------------------------------


def make(name, **arguments):
    """A bare environment without cameras."""
    return gymnasium.make(TASKS[name].env_id, cameras=(), **arguments).unwrapped


def test_an_environment_without_microphones_has_no_sound():
    env = make("arm_reach")
    observation, _ = env.reset(seed=0)
    assert env.sound is None
    assert "audio" not in observation
    assert "audio" not in env.observation_space.spaces


def test_one_microphone_may_be_named_without_a_tuple():
    env = make("arm_reach", microphones="mono")
    assert env.observation_space["audio"].shape == (1, 16_000)
    with pytest.raises(UnknownNameError, match="unknown microphone 'mona'"):
        make("arm_reach", microphones="mona")


def test_an_arm_with_microphones_is_a_gymnasium_environment():
    env = make("arm_catch", microphones=("mono", "linear4", "head_stereo", "wrist_contact"))
    check_env(env, skip_render_check=True)
    observation, _ = env.reset(seed=0)
    assert observation["audio"].shape == (8, 16_000)
    assert env.observation_space.contains(observation)


@pytest.mark.parametrize("name", ["arm_catch", "arm_block"])
def test_the_expert_is_heard_without_clipping_and_moves_as_if_alone(name):
    env, deaf = make(name, microphones=("mono", "wrist_contact")), make(name)
    env.reset(seed=0)
    deaf.reset(seed=0)
    blows, over = 0, False
    while not over:
        action = env.expert_action()
        observation, _, terminated, truncated, _ = env.step(action)
        deaf.step(action)
        blows += len(env.sound.blows)
        over = terminated or truncated
    assert env.world.state_hash() == deaf.world.state_hash()
    assert blows >= 1
    assert env.sound.clipped == 0
    assert 0.05 < np.abs(observation["audio"]).max() < 1.0


def test_only_the_sound_tells_which_cue_it_was():
    """What a sound certificate asks: all else is the same to the bit."""
    env = make("arm_reach", microphones=("mono",))
    seen = []
    for hz in (500.0, 1500.0):
        env.begin_sound = lambda sound, hz=hz: sound.emit(Beep(hz=hz), (0.5, 0, 0.1))
        env.reset(seed=3)
        for _ in range(10):
            observation = env.step(np.zeros(8))[0]
        seen.append((observation["audio"], observation["agent_pos"], env.world.state_hash()))
    assert seen[0][2] == seen[1][2]
    np.testing.assert_array_equal(seen[0][1], seen[1][1])
    assert not np.array_equal(seen[0][0], seen[1][0])


def test_a_pickled_arm_goes_on_hearing():
    env = make("arm_reach", microphones=("mono", "wrist_contact"))
    env.reset(seed=2)
    env.step(np.full(8, 0.3))
    copy = pickle.loads(pickle.dumps(env))
    left, right = env.step(np.full(8, -0.3))[0], copy.step(np.full(8, -0.3))[0]
    np.testing.assert_array_equal(left["audio"], right["audio"])
    assert copy.sound.world is copy.world
