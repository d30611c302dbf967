"""Sound against theory: arrival, level, direction, decay, pitch, impulse, reflections."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate, find_peaks
from sound_scene import (
    BALL,
    BOX,
    IMPULSE,
    MOTOR,
    NOISELESS,
    ROBOT,
    TABLE,
    burst,
    level_db,
    listen,
    pair,
    quiet,
    scene,
    start,
)

from neon_sim.audio.materials import MATERIALS, modes_of
from neon_sim.audio.microphones import Mount
from neon_sim.audio.modal import Resonator, half_sine
from neon_sim.audio.motors import Motors
from neon_sim.audio.room import Room, images, reflections
from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import Beep, Pour, Rattle
from neon_sim.clock import AUDIO_HZ, PHYSICS_DT_S, PHYSICS_HZ
from neon_sim.simulation.world import World

C = 343.0


def arrival(signal):
    """Sample at which a pulse arrives, with its fraction: the slope of its phase below 6 kHz."""
    near = int(np.abs(signal).argmax())
    omega = 2 * np.pi * np.fft.rfftfreq(len(signal))
    phase = np.unwrap(np.angle(np.fft.rfft(signal) * np.exp(1j * omega * near)))
    band = (omega > 0.1) & (omega < 2.3)
    return near - np.polyfit(omega[band], phase[band], 1)[0]


# ---- propagation ------------------------------------------------------------------------


@pytest.mark.parametrize("metres", [0.05, 0.2, 0.35, 1.0, 2.345, 7.7])
def test_sound_arrives_after_r_over_c(metres):
    scape = quiet()
    scape.emit(IMPULSE, (metres, 0, 0), start_tick=4)
    heard = listen(scape, 20)[0].astype(float)
    expected = 4 * AUDIO_HZ / PHYSICS_HZ + metres / C * AUDIO_HZ
    assert abs(arrival(heard) - expected) < (0.01 if metres > 0.1 else 0.3)
    assert not heard[: int(expected) - 17].any()
    assert not heard[: 4 * 32].any()  # never before it was made


def test_level_falls_as_one_over_r():
    levels = []
    for metres in (0.5, 1.0, 2.0, 4.0):
        scape = quiet()
        scape.emit(Beep(hz=500.0, duration_s=0.3), (0, metres, 0))
        levels.append(level_db(listen(scape, 20)))
    assert np.diff(levels) == pytest.approx([-6.02] * 3, abs=0.05)


def test_air_swallows_what_the_standard_says():
    """ISO 9613-2, 20 C and 70 % humidity: 22.9 dB/km at 4 kHz, next to nothing at 250 Hz."""

    def loss_db(hz):
        near, far = quiet(), quiet()
        near.emit(Beep(hz=hz, duration_s=0.3), (1.0, 0, 0))
        far.emit(Beep(hz=hz, duration_s=0.3), (31.0, 0, 0))
        return level_db(listen(near, 25)) - level_db(listen(far, 25)) - 20 * np.log10(31.0)

    assert loss_db(4000.0) == pytest.approx(30 * 0.0229, abs=0.05)
    assert loss_db(250.0) == pytest.approx(0.0, abs=0.05)


def direction_deg(heard, spacing_m):
    """Azimuth from the delay between two channels (GCC-PHAT, interpolated 32 times)."""
    spectra = np.fft.rfft(heard.astype(float), 4096)
    cross = spectra[0] * spectra[1].conj()
    lags = np.fft.irfft(cross / np.maximum(np.abs(cross), 1e-12), 32 * 4096)
    reach = int(np.ceil(spacing_m / C * AUDIO_HZ * 32)) + 32
    around = np.concatenate([lags[-reach:], lags[: reach + 1]])
    delay = (around.argmax() - reach) / 32 / AUDIO_HZ
    return np.degrees(np.arcsin(np.clip(-delay * C / spacing_m, -1, 1)))


@pytest.mark.parametrize("spacing_m", [0.06, 0.16])
def test_two_microphones_find_the_direction_within_two_degrees(spacing_m):
    errors = []
    for degrees in range(-60, 61, 10):
        scape = quiet((pair(spacing_m),), noise_db=-60.0)
        away = 2.0 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0])
        scape.emit(burst(), away)
        errors.append(abs(direction_deg(listen(scape, 8), spacing_m) - degrees))
    assert max(errors) < 2.0


def test_outer_capsules_of_the_line_find_it_too():
    scape = quiet(("linear4",), noise_db=-60.0)
    scape.emit(burst(), (2.0 * np.cos(0.5), 2.0 * np.sin(0.5), 0.0))
    heard = listen(scape, 8)
    assert direction_deg(heard[[0, 3]], 0.06) == pytest.approx(np.degrees(0.5), abs=2.0)


def test_the_far_ear_is_later_and_duller():
    scape = quiet(("head_stereo",))
    scape.emit(burst(), (0.0, 2.0, 0.0))
    left, right = listen(scape, 8)
    assert correlate(right, left).argmax() - (len(left) - 1) >= round(0.16 / C * AUDIO_HZ)
    spectra = np.abs(np.fft.rfft([left, right])) ** 2
    hz = np.fft.rfftfreq(len(left), 1 / AUDIO_HZ)
    low, high = (hz > 100) & (hz < 500), (hz > 5000) & (hz < 7000)
    drop = 10 * np.log10(spectra[1] / spectra[0])
    assert abs(10 * np.log10(spectra[1, low].sum() / spectra[0, low].sum())) < 1.5
    assert np.median(drop[high]) < -8


# ---- rooms ------------------------------------------------------------------------------


def test_first_reflections_arrive_where_the_mirror_images_are():
    room = Room(size_m=(6.0, 5.0, 3.0), corner_m=(-3.0, -2.5, -1.5), max_order=1)
    scape = quiet(room=room)
    place = np.array([1.0, 0.5, 0.3])  # on the grid
    scape.emit(IMPULSE, place)
    heard = listen(scape, 8)[0]
    lengths = [np.linalg.norm(place)]
    for axis, size in enumerate(room.size_m):
        for wall in (-size / 2, size / 2):
            image = place.copy()
            image[axis] = 2 * wall - place[axis]
            lengths.append(np.linalg.norm(image))
    peaks, _ = find_peaks(np.abs(heard), height=0.002)
    for index, metres in enumerate(lengths):
        expected = metres / C * AUDIO_HZ
        assert np.abs(peaks - expected).min() <= 1
        found = np.abs(heard[round(expected) - 1 : round(expected) + 2]).max()
        gain = 1.0 if index == 0 else np.sqrt(1 - room.absorption)
        assert found == pytest.approx(0.05 * gain / metres, rel=0.45)


def test_a_live_room_sounds_longer_than_a_dry_one_and_both_fade():
    energy = {}
    for name in ("dry", "live"):
        scape = quiet(room=name)
        scape.emit(burst(320), (1.0, 0.5, 0.2))
        heard = listen(scape, 25)[0].astype(float)
        energy[name] = np.square(heard[640:]).sum()
        assert not heard[320 * 8 :].any()
    assert energy["live"] > 1.5 * energy["dry"] > 0


def test_reflections_are_computed_once_a_place():
    images.cache_clear()
    reflections.cache_clear()
    scape = quiet(room="dry")
    for episode in range(2):
        scape.reset((episode,))
        scape.emit(burst(3200), (1.02, 0.53, 0.21))
        listen(scape, 10)
    assert images.cache_info().misses == 1
    assert reflections.cache_info().misses == 1


# ---- struck bodies ----------------------------------------------------------------------


def poles_of(signal, count):
    """Poles of a sum of ``count`` damped complex exponentials (matrix pencil, Hua & Sarkar)."""
    width = len(signal) // 2
    hankel = np.lib.stride_tricks.sliding_window_view(signal, width + 1)
    right = np.linalg.svd(hankel, full_matrices=False)[2][:count].conj().T
    return np.linalg.eigvals(np.linalg.pinv(right[:-1]) @ right[1:])


@pytest.mark.parametrize("material", MATERIALS)
def test_modes_decay_as_their_material_says(material):
    modes = modes_of(material, 0.05)
    body = Resonator(modes)
    body.drive(half_sine(1.0, 0.3, 0.25e-3)[1])
    heard = np.concatenate([body.ring() for _ in range(3)])
    poles = poles_of(heard, 2 * len(modes.hz))
    poles = poles[poles.imag > 0]
    strong = np.abs(modes.gains) > 0.1 * np.abs(modes.gains).max()
    for hz, rt60, audible in zip(modes.hz, modes.rt60_s, strong, strict=True):
        nearest = poles[np.abs(np.angle(poles) * AUDIO_HZ / 2 / np.pi - hz).argmin()]
        found = -6.908 / (np.log(np.abs(nearest)) * AUDIO_HZ)
        expected = MATERIALS[material].rt60_s * np.sqrt(1000.0 / hz)
        assert rt60 == pytest.approx(expected)
        assert not audible or found == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("material", ["ceramic", "glass", "metal"])
def test_a_dropped_ball_rings_as_long_as_its_material(material):
    """End to end: the strongest mode of the ball in the microphone's signal."""
    materials = {"ball": material, "table": "rubber"}
    mount = Mount(position=(0.5, 0.0, 0.2))
    scape = SoundScape(
        World(scene(TABLE, BALL)), mount=mount, materials=materials, noise_db=NOISELESS
    )
    heard = listen(scape, 50)[0].astype(float)
    begin = int(np.abs(heard).argmax()) + 160
    modes = modes_of(material, 0.06, "ball")
    gaps = [min(abs(a - b) for b in modes.hz if b != a) for a in modes.hz]
    lonely = np.where(np.array(gaps) > 100.0, np.abs(modes.gains), 0.0).argmax()
    hz, rt60 = modes.hz[lonely], modes.rt60_s[lonely]
    time = np.arange(len(heard) - begin) / AUDIO_HZ
    mixed = heard[begin:] * np.exp(-2j * np.pi * hz * time)
    window = np.hanning(round(AUDIO_HZ / 40))
    envelope = np.abs(np.convolve(mixed, window / window.sum(), "valid"))
    count = min(round(rt60 / 2 * AUDIO_HZ), len(envelope))
    slope = np.polyfit(time[:count], 20 * np.log10(envelope[:count]), 1)[0]
    assert -60.0 / slope == pytest.approx(rt60, rel=0.1)


def test_a_resonator_only_loses_energy():
    for material in MATERIALS:
        body = Resonator(modes_of(material, 0.03))
        body.drive(half_sine(1.0, 5.5, 1e-3)[1], 5)
        energies, bound = [float(np.square(np.abs(body.state)).sum())], body.level
        while (block := body.ring()) is not None:
            assert np.abs(block).max() <= bound
            energies.append(float(np.square(np.abs(body.state)).sum()))
            assert body.level <= bound
            bound = body.level
        assert len(energies) > 1
        assert (np.diff(energies) < 0).all()


def test_a_blow_is_a_half_sine_that_holds_its_impulse_anywhere_between_samples():
    for onset in (0.0, 0.25, 17.9):
        for duration in (0.25e-3, 1.1e-3, 2e-3):
            first, force = half_sine(0.7, onset, duration)
            assert force.sum() == pytest.approx(0.7, rel=1e-12)
            middle = first + 0.5 + (np.arange(len(force)) @ force) / force.sum()
            assert middle == pytest.approx(onset + duration * AUDIO_HZ / 2, abs=0.01)


def test_a_ringing_block_is_the_response_written_out():
    """Block by block and with a force across a border, it is a sum of decaying sines."""
    modes = modes_of("glass", 0.04)
    body = Resonator(modes)
    first, force = half_sine(0.5, 305.25, 2e-3)
    blocks = [body.drive(force[: 320 - first], first)]
    rest = force[320 - first :]
    for _ in range(3):
        ring = body.ring()
        blocks.append(ring + body.drive(rest) if len(rest) else ring)
        rest = rest[:0]
    times = np.arange(1280)
    impulse = np.sum(
        [gain * (pole**times).imag for gain, pole in zip(modes.gains, modes.poles(), strict=True)],
        axis=0,
    )
    padded = np.zeros(1280)
    padded[first : first + len(force)] = force
    expected = np.convolve(padded, impulse)[:1280]
    assert np.concatenate(blocks) == pytest.approx(expected, abs=1e-12)


# ---- contacts ---------------------------------------------------------------------------


def landing(body, turn=(1.0, 0.0, 0.0, 0.0)):
    """Blows of a fall, and the impulse that MuJoCo's soft contact gives until it is at rest."""
    scape = SoundScape(World(scene(TABLE, body)), materials=None, noise_db=NOISELESS)
    qpos = scape.world.data.qpos.copy()
    qpos[2], qpos[3:7] = 0.5, np.array(turn) / np.linalg.norm(turn)
    scape.world.reset(qpos)
    scape.reset((0,))
    blows, mass = [], scape.world.model.body_mass[1]
    impulse = 0.0
    for tick in range(400):
        scape.step(np.zeros((1, 0)))
        if (tick + 1) % 10 == 0:
            blows += scape.blows
        if scape.world.data.ncon and tick < 200:
            # momentum: what the contact gave beyond carrying the weight
            impulse += scape.world.data.qfrc_constraint[2] * PHYSICS_DT_S
            impulse -= mass * 9.81 * PHYSICS_DT_S
    return blows, impulse


def test_the_impulse_of_a_blow_is_what_stops_the_body():
    blows, impulse = landing(BALL)
    assert len(blows) == 1
    assert blows[0].impulse == pytest.approx(impulse, rel=0.1)
    assert blows[0].speed == pytest.approx(np.sqrt(2 * 9.81 * 0.47), rel=0.02)
    touched = np.sqrt(2 * 0.47 / 9.81) * AUDIO_HZ
    onset = (blows[0].tick // 10) * 320 + blows[0].onset
    assert abs(onset - 32 - touched) < 32  # within a tick of the touch, plus the tick it takes


def test_a_corner_strikes_with_less_mass_than_a_face():
    face, _ = landing(BOX)
    corner, _ = landing(BOX, (1.0, 0.4, 0.25, 0.0))
    assert face[0].impulse == pytest.approx(0.5 * face[0].speed, rel=0.02)
    assert corner[0].impulse < 0.7 * 0.5 * corner[0].speed


def test_lying_still_is_silent():
    scape = SoundScape(World(scene(TABLE, BOX)), default_material="wood", noise_db=NOISELESS)
    listen(scape, 20)
    blows = []
    for _ in range(100):
        assert not listen(scape, 1).any()
        blows += scape.blows
    assert blows == []


def sliding(speed, room=None):
    """Sound of a box pushed over the table without stopping, and what it says of itself."""
    frictionless = BOX.replace('friction="0.4"', 'friction="0.001"')
    table = TABLE.replace('friction="0.4"', 'friction="0.001"')
    scape = SoundScape(
        World(scene(table, frictionless)),
        mount=Mount(position=(0.0, 0.0, 1.0)),
        default_material="wood",
        noise_db=NOISELESS,
        room=room,
    )
    start(scape, velocity={0: speed})
    listen(scape, 10)
    return listen(scape, 15)[0].astype(float)


def centroid_hz(heard):
    power = np.abs(np.fft.rfft(heard)) ** 2
    return float(power @ np.fft.rfftfreq(len(heard), 1 / AUDIO_HZ) / power.sum())


def test_scraping_is_louder_and_brighter_the_faster_it_is():
    slow, fast = sliding(0.15), sliding(0.6)
    assert 9 < level_db(fast) - level_db(slow) < 30
    assert -70 < level_db(slow) < level_db(fast) < -20
    assert centroid_hz(fast) > centroid_hz(slow)


def test_a_box_that_comes_to_rest_falls_silent():
    scape = SoundScape(World(scene(TABLE, BOX)), default_material="wood", noise_db=NOISELESS)
    start(scape, velocity={0: 0.5})
    heard = listen(scape, 50)[0]
    assert level_db(heard[: 320 * 5]) > -60
    assert not heard[320 * 40 :].any()


def test_rolling_is_quieter_than_sliding():
    roller = BALL.replace("0 0 0.5", "0 0 0.0299")
    scape = SoundScape(
        World(scene(TABLE, roller)),
        mount=Mount(position=(0.0, 0.0, 1.0)),
        default_material="wood",
        noise_db=NOISELESS,
    )
    start(scape, velocity={0: 0.5, 4: 0.5 / 0.03})
    listen(scape, 10)
    rolling = level_db(listen(scape, 15))
    assert -90 < rolling < level_db(sliding(0.5)) - 6


# ---- motors and sources -----------------------------------------------------------------


def test_a_motor_whines_at_its_gear_and_is_silent_at_rest():
    world = World(scene(TABLE, ROBOT, actuator=MOTOR))
    mount = Mount(position=(0.0, 0.5, 1.0))
    scape = SoundScape(world, mount=mount, noise_db=NOISELESS)
    assert not listen(scape, 5).any()
    heard = listen(scape, 60, ctrl=2.0)[0].astype(float)[-16000:]
    gear = Motors(world.model)._gear[0]
    expected = gear * abs(world.data.qvel[0]) / (2 * np.pi)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(16000)))
    assert spectrum.argmax() == pytest.approx(expected, abs=2.0)
    assert -80 < level_db(heard) < -40


def test_the_pitch_of_pouring_follows_the_air_column():
    pour = Pour(rise_m_s=0.03)
    scape = quiet()
    scape.emit(pour, (1.0, 0, 0))
    heard = listen(scape, 200)[0].astype(float)
    pitches = []
    for second in (0.5, 1.5, 2.5, 3.3):
        middle = round(second * AUDIO_HZ)
        piece = heard[middle - 800 : middle + 800] * np.hanning(1600)
        found = np.abs(np.fft.rfft(piece, 16000)).argmax()
        depth = 0.12 - 0.03 * second + 0.62 * 0.035
        assert found == pytest.approx(C / 4 / depth, rel=0.03)
        pitches.append(found)
    assert np.all(np.diff(pitches) > 0)


def test_a_full_vessel_is_silent():
    scape = quiet()
    scape.emit(Pour(rise_m_s=0.2), (1.0, 0, 0))
    assert not listen(scape, 60)[0, 16000:].any()


def test_a_rattle_sounds_when_its_box_is_shaken_and_only_then():
    world = World(scene(TABLE, BOX))
    scape = SoundScape(world, mount=Mount(position=(0, 0, 0.5)), noise_db=NOISELESS)
    scape.emit(Rattle(), "box")
    listen(scape, 20)
    assert not listen(scape, 20).any()
    spread = []
    for step in range(20):
        world.data.qvel[0] = 0.3 * (-1) ** step
        spread.append(listen(scape, 1))
    assert level_db(np.concatenate(spread, axis=1)) > -60
