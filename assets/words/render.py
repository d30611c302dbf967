"""Render the spoken words: ``python -m neon_sim.assets.words.render``. Nothing imports this.

Needs the command line tools ``espeak-ng`` (1.51; GPL-3, formant synthesis) and ``flite`` (2.2;
voices of Carnegie Mellon University, free for any use). Only their output is shipped, which is
under neither licence: espeak-ng computes it from rules and holds no recordings, and the CMU
voices may be used and redistributed without restriction. Every call is a fresh process, because
a second call within one gives other bits. Voices of ``train`` and ``test`` are disjoint.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import wave
from pathlib import Path

import av
import numpy as np
from scipy.signal import resample_poly

from neon_sim.clock import AUDIO_HZ
from neon_sim.command import Parser, entry_point

WORDS = ("red", "green", "blue", "yellow")
# name -> split, engine, voice, words a minute (flite: none), pitch 0 to 99
VOICES: dict[str, tuple[str, str, str, int, int]] = {
    "anna": ("train", "espeak-ng", "en-us+f2", 150, 55),
    "bert": ("train", "espeak-ng", "en-us", 160, 45),
    "carl": ("train", "espeak-ng", "en-gb+m3", 140, 40),
    "dora": ("train", "espeak-ng", "en-gb+f4", 165, 60),
    "eric": ("train", "espeak-ng", "en-gb-scotland+m1", 150, 50),
    "fred": ("train", "espeak-ng", "en-029+m5", 145, 35),
    "gina": ("train", "espeak-ng", "en-gb-x-rp+f1", 155, 50),
    "hugo": ("train", "espeak-ng", "en-us+klatt2", 150, 50),
    "iris": ("train", "flite", "slt", 0, 0),
    "jack": ("train", "flite", "rms", 0, 0),
    "kate": ("test", "espeak-ng", "en-gb-x-gbclan+f3", 155, 55),
    "liam": ("test", "espeak-ng", "en-gb-x-gbcwmd+m7", 150, 45),
    "mary": ("test", "espeak-ng", "en-us+f5", 145, 50),
    "nils": ("test", "espeak-ng", "en-gb+m4", 160, 50),
    "olaf": ("test", "flite", "awb", 0, 0),
    "paul": ("test", "flite", "kal16", 0, 0),
}
FOLDER = Path(__file__).parent
LEVEL_DB = -23.0  # RMS of the stored word, dB of full scale
MUXER = {"fflags": "+bitexact", "metadata_header_padding": "0"}
QUIET, MARGIN_S = 0.02, 0.015  # of the peak: what counts as silence around a word; kept of it


def speak(word: str, engine: str, voice: str, rate: int, pitch: int) -> np.ndarray:
    """(n,) float64 at 16 kHz of one word in a fresh process of the engine."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/word.wav"
        command = ["flite", "-voice", voice, "-t", word, "-o", file]
        if engine == "espeak-ng":
            command = [engine, "-v", voice, "-s", str(rate), "-p", str(pitch), "-w", file, word]
        subprocess.run(command, check=True)
        with wave.open(file) as stream:
            hz = stream.getframerate()
            samples = np.frombuffer(stream.readframes(stream.getnframes()), np.int16)
    common = np.gcd(hz, AUDIO_HZ)
    return np.asarray(resample_poly(samples / 2.0**15, AUDIO_HZ // common, hz // common))


def trimmed(samples: np.ndarray) -> np.ndarray:
    """The word without the silence around it, at ``LEVEL_DB``, with ramps of ``MARGIN_S``."""
    loud = np.flatnonzero(np.abs(samples) > QUIET * np.abs(samples).max())
    margin = round(MARGIN_S * AUDIO_HZ)
    part = samples[max(loud[0] - margin, 0) : loud[-1] + margin].copy()
    ramp = np.linspace(0.0, 1.0, margin)
    part[:margin] *= ramp
    part[-margin:] *= ramp[::-1]
    return np.asarray(part * 10.0 ** (LEVEL_DB / 20.0) / np.sqrt(np.mean(part**2)))


def write_flac(path: Path, samples: np.ndarray) -> None:
    """Store (n,) in [-1, 1] as 16 bit FLAC."""
    pcm = np.rint(np.clip(samples, -1.0, 1.0) * (2**15 - 1)).astype(np.int16)
    with av.open(str(path), "w", options=MUXER) as container:
        stream = container.add_stream("flac", rate=AUDIO_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = AUDIO_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


@entry_point("render")
def main(argv: list[str]) -> int:
    """Render every word in every voice, and write ``words.json``; returns the exit code."""
    Parser(prog="python -m neon_sim.assets.words.render", description=__doc__).parse_args(argv)
    rows = []
    for name, (split, engine, voice, rate, pitch) in VOICES.items():
        for word in WORDS:
            samples = trimmed(speak(word, engine, voice, rate, pitch))
            file = FOLDER / f"{word}_{name}.flac"
            write_flac(file, samples)
            rows.append(
                {
                    "file": file.name,
                    "word": word,
                    "voice": name,
                    "split": split,
                    "engine": f"{engine} {voice}",
                    "samples": len(samples),
                    "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                }
            )
    (FOLDER / "words.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
