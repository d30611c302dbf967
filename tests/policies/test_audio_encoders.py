"""Encoders of sound: the same bits in every batch, nothing lost that tasks ask for."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from sound_scene import quiet

from neon_sim.audio.sources import RingTone
from neon_sim.errors import ConfigError, MissingPackageError
from neon_sim.policies.audio.base import make_encoder
from neon_sim.policies.audio.log_mel import FFT, mel_filters
from neon_sim.registry import AUDIO_ENCODERS

torch.set_num_threads(1)
SECOND = 16_000
NOISE = 1e-3


def rings(rows: int = 5, channels: int = 2, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((rows, channels, SECOND))).clip(-1, 1).astype(np.float32)


def tone(hz: float, start_s: float, length_s: float = 0.1, seed: int = 0) -> np.ndarray:
    """(1, 1, 16000): a tone in the noise of a microphone."""
    time_s = np.arange(SECOND) / SECOND
    sounding = (time_s >= start_s) & (time_s < start_s + length_s)
    noise = NOISE * np.random.default_rng(seed).standard_normal(SECOND)
    wave = 0.1 * np.sin(2 * np.pi * hz * time_s) * sounding + noise
    return wave.astype(np.float32)[None, None]


# ---- every encoder --------------------------------------------------------------------------


@pytest.fixture(params=list(AUDIO_ENCODERS))
def encoder(request):
    return make_encoder(request.param, {})


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_shapes_and_the_same_bits_alone_and_again(encoder, channels):
    audio = rings(channels=channels)
    whole = encoder.encode(audio)
    assert whole.shape == (5, encoder.num_tokens, encoder.feature_dim)
    assert whole.dtype == torch.float32
    alone = torch.cat([encoder.encode(audio[i : i + 1]) for i in range(5)])
    assert torch.equal(whole, alone)
    assert torch.equal(whole, encoder.encode(audio))
    assert len(encoder.encode(audio[:0])) == 0


def test_two_of_a_kind_agree_and_say_so(encoder):
    other = type(encoder)()
    assert other.fingerprint() == encoder.fingerprint()
    assert torch.equal(other.encode(rings(1)), encoder.encode(rings(1)))


def test_silence_is_finite_and_not_loud(encoder):
    silence = encoder.encode(np.zeros((2, 1, SECOND), dtype=np.float32))
    assert torch.isfinite(silence).all()
    assert torch.equal(silence[0], silence[1])
    assert silence.half().isfinite().all(), "the cache keeps half precision"
    assert not torch.equal(silence[:1], encoder.encode(tone(1000.0, 0.8)))


def test_sound_of_another_kind_is_refused_with_the_mend(encoder):
    audio = rings(1)
    for wrong, rate, message in (
        (audio, 44_100, r"16000 Hz \(got 44100 Hz\).*resample"),
        (audio[..., :8000], 16_000, "one second, 16000 samples"),
        (audio[0], 16_000, r"\(rows, channels, 16000\)"),
        ((audio * 32767).astype(np.int16), 16_000, "divide 16-bit integers"),
        (audio * 30, 16_000, "scale it"),
        (np.full_like(audio, np.nan), 16_000, "scale it"),
    ):
        with pytest.raises(ConfigError, match=message):
            encoder.encode(wrong, rate)


def test_arguments_are_checked():
    for arguments in ({"windows": 3}, {"bands": 100}, {"bands": 9.5}, {"octaves": 2}):
        with pytest.raises(ConfigError, match=next(iter(arguments))):
            make_encoder("log_mel", arguments)
    assert make_encoder("log_mel", {"windows": 5}).num_tokens == 5
    assert make_encoder("log_mel", {"bands": 32}).feature_dim == 3 * 32 + 17


# ---- log-mel --------------------------------------------------------------------------------


def test_filters_cover_the_band_and_weigh_the_same():
    filters = mel_filters(64)
    assert filters.shape == (FFT // 2 + 1, 64)
    np.testing.assert_allclose(filters.sum(axis=0), 1.0, rtol=1e-5)
    centres = (filters * np.arange(257)[:, None]).sum(axis=0)
    assert (np.diff(centres) >= 0).all()
    assert filters[4:248].any(axis=1).all(), "no frequency between is deaf"


def test_tokens_stand_in_order_of_time():
    """High-low and low-high hold the same sounds; only their order differs."""
    log_mel = make_encoder("log_mel", {})
    orders = []
    for first, second in ((500.0, 2000.0), (2000.0, 500.0)):
        audio = tone(first, 0.3) + tone(second, 0.6) - tone(0.0, 0.0)
        means = log_mel.encode(audio)[0, :, :64]
        orders.append([int(means[k].argmax()) for k in (3, 6)])
    assert orders[0][0] < orders[0][1]
    assert orders[0] == orders[1][::-1]


def test_a_click_is_seen_wherever_it_falls_and_only_there():
    log_mel = make_encoder("log_mel", {})
    for start in range(1000, 15_900, 700):
        audio = tone(0.0, 0.0)
        audio[0, 0, start : start + 16] += 0.3
        peaks = log_mel.encode(audio)[0, :, 64:128].mean(dim=1) - log_mel.encode(tone(0.0, 0.0))[
            0, :, 64:128
        ].mean(dim=1)
        # a frame of 25 ms may reach over the border of its tenth
        assert abs(int(peaks.argmax()) - start // 1600) <= 1
        assert peaks.max() > 3.0
        assert (peaks > 1.0).sum() <= 2


def test_level_is_physical():
    """Ten times the amplitude is log(100) more power in every band above the noise."""
    log_mel = make_encoder("log_mel", {})
    noise = 0.01 * np.random.default_rng(0).standard_normal((1, 1, SECOND)).astype(np.float32)
    change = (log_mel.encode(10 * noise) - log_mel.encode(noise))[0, :, :64]
    np.testing.assert_allclose(change, np.log(100.0), atol=0.2)


def heard_at(place: tuple[float, float, float], array: str, seed: int) -> np.ndarray:
    """(1, C, 16000) of a ringing phone, with sensor noise."""
    scape = quiet((array,), noise_db=-60.0, position=(0.0, 0.0, 0.75), seed=seed)
    scape.emit(RingTone(), place)
    for _ in range(50):
        scape.step(np.zeros((10, scape.world.model.nu)))
    return scape.observation()[None]


@pytest.mark.parametrize("array", ["head_stereo", "linear4"])
def test_two_microphones_tell_which_of_four_places_rings(array):
    """A linear read-out of the differences alone, on places it was not fitted to."""
    log_mel, sides = make_encoder("log_mel", {}), (-0.3, -0.1, 0.1, 0.3)
    features, labels = [], []
    for number in range(24):
        rng = np.random.default_rng(number)
        place = (0.5 + rng.uniform(-0.05, 0.05), sides[number % 4] + rng.uniform(-0.04, 0.04), 0.05)
        features.append(log_mel.encode(heard_at(place, array, number))[0, 2:, 128:].mean(0).numpy())
        labels.append(sides[number % 4])
    x, y = np.array(features), np.array(labels)
    fit, test = np.arange(24) < 16, np.arange(24) >= 16
    mean, std = x[fit].mean(0), x[fit].std(0) + 1e-2
    x = (x - mean) / std
    kernel = x[fit] @ x[fit].T + 1.0 * np.eye(16)
    guess = x[test] @ x[fit].T @ np.linalg.solve(kernel, y[fit])
    nearest = np.abs(guess[:, None] - np.array(sides)).argmin(axis=1)
    assert (np.array(sides)[nearest] == y[test]).all()


def test_one_microphone_tells_no_direction():
    log_mel = make_encoder("log_mel", {})
    assert not log_mel.encode(tone(1000.0, 0.5))[..., 128:].any()
    mirrored = rings(1, 2)
    there, back = log_mel.encode(mirrored), log_mel.encode(mirrored[:, ::-1])
    torch.testing.assert_close(there[..., :128], back[..., :128], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(there[..., 128:192], -back[..., 128:192], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(there[..., 192:], back[..., 192:].flip(-1), rtol=1e-4, atol=1e-5)


# ---- speech ---------------------------------------------------------------------------------


def test_what_the_speech_embedding_needs_is_told(monkeypatch):
    speech = make_encoder("speech_embedding", {})
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openwakeword" else find(name)
    )
    with pytest.raises(MissingPackageError, match=r"openwakeword==0\.5\.1$"):
        speech.encode(rings(1))
    assert speech.num_tokens == 3, "its shape is known without its weights"


def test_the_newest_token_hears_the_newest_sound():
    speech = make_encoder("speech_embedding", {})
    quiet_room = speech.encode(tone(0.0, 0.0))
    late = (speech.encode(tone(800.0, 0.9)) - quiet_room).abs().mean(dim=2)[0]
    early = (speech.encode(tone(800.0, 0.0)) - quiet_room).abs().mean(dim=2)[0]
    assert late.argmax() == 2
    assert early.argmax() == 0
