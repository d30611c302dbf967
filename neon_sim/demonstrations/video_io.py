"""Camera video on disk: lossless HEVC in RGB, joined without re-encoding.

Colours of objects a few pixels wide are what a policy has to go by, so frames are stored
without loss: what is trained on is to the bit what the simulator drew. On 96-pixel renderings
this costs about 1 kB a frame, less than three times the best lossy setting that was tried, and
decodes twice as fast as 4:4:4 YUV, because nothing has to be converted (measurements:
docs/DATASETS.md). HEVC and not H.264, because LeRobot's tools encode again with the settings
they read from ``info.json`` and have no encoder of RGB H.264. Rows come at 50 Hz and the camera
at 25 Hz, so each frame is written twice; the copy costs a few bytes.

The reader takes any codec and any colour format that FFmpeg knows: datasets from before were
H.264, and other tools encode as they like.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from neon_sim.clock import CAMERA_HZ, CONTROL_HZ
from neon_sim.errors import DatasetError

ROWS_PER_FRAME = CONTROL_HZ // CAMERA_HZ
GOP_ROWS = 20  # a key frame every 0.4 s bounds what a random access decodes
CODEC, CODEC_NAME = "libx265", "hevc"  # the encoder, and what a file calls its coding
PIX_FMT = "gbrp"
PRESET = "superfast"
X265_PARAMS = ":".join(
    (
        "lossless=1",
        "bframes=0:open-gop=0",  # pts equals dts, so files join by adding an offset
        "pools=none:frame-threads=1:wpp=0",  # the same bytes on every machine
        "rc-lookahead=0:scenecut=0",  # a key frame every GOP_ROWS, nowhere else
        "ctu=16",  # small pictures: a tenth faster than blocks of 32. rd=1 is not lossless
        "info=0:log-level=none",
    )
)
ENCODER_OPTIONS = {"preset": PRESET, "g": str(GOP_ROWS), "x265-params": X265_PARAMS}
MAX_OPEN_FILES = 4


def encode_rows(frames: np.ndarray, num_rows: int) -> bytes:
    """Encode an episode's camera frames as an MP4 with one picture per control step.

    Args:
        frames: (F, H, W, 3) uint8 at 25 Hz, ``F == ceil(num_rows / 2)``.
        num_rows: L, rows at 50 Hz; row r shows frame ``r // 2``.

    Returns:
        A complete MP4 of exactly ``num_rows`` pictures; its first one is a key frame. It was
        decoded again and is equal to the frames: x265 has settings under which "lossless" is not.

    Raises:
        ValueError: shape, dtype or number of frames is wrong.
        DatasetError: the encoder of this machine lost something.
    """
    needed = -(-num_rows // ROWS_PER_FRAME)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be (F, H, W, 3) uint8 (got {frames.shape} {frames.dtype})")
    if num_rows < 1 or len(frames) != needed:
        raise ValueError(f"{num_rows} rows need {needed} frames (got {len(frames)})")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream(CODEC, rate=CONTROL_HZ, options=dict(ENCODER_OPTIONS))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = PIX_FMT
        for row in range(num_rows):
            if row % ROWS_PER_FRAME == 0:
                image = np.ascontiguousarray(frames[row // ROWS_PER_FRAME])
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts = row
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    _check_lossless(buffer, frames, num_rows)
    return buffer.getvalue()


def _check_lossless(buffer: io.BytesIO, frames: np.ndarray, num_rows: int) -> None:
    """Decode what was encoded and compare every picture."""
    reformatter, row = VideoReformatter(), 0
    buffer.seek(0)
    container: Any
    with av.open(buffer) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for row, picture in enumerate(container.decode(video=0), start=1):
            image = to_rgb(picture, reformatter)
            if not np.array_equal(image, frames[(row - 1) // ROWS_PER_FRAME]):
                raise DatasetError(
                    f"{CODEC} of PyAV {av.__version__} lost something in picture {row - 1} of "
                    f"{num_rows}; install the pinned PyAV: pip install -c constraints.txt av"
                )
    if row != num_rows:
        raise DatasetError(f"{CODEC} of PyAV {av.__version__} wrote {row} of {num_rows} pictures")


class Mp4Joiner:
    """Joins MP4s of equal coding into one file, packet by packet.

    Args:
        path: the file to write; its folder exists.
        fps: pictures per second of every part.
    """

    def __init__(self, path: Path, fps: int) -> None:
        self.path, self.fps = path, fps
        self.num_rows = 0
        self._output: Any = av.open(str(path), "w", options={"movflags": "faststart"})
        self._stream: Any = None

    def append(self, part: bytes, num_rows: int) -> None:
        """Add one episode; ``num_rows`` is its number of pictures.

        Raises:
            DatasetError: the part is damaged, or coded differently than the first one.
        """
        source: Any
        with av.open(io.BytesIO(part)) as source:
            template = source.streams.video[0]
            if self._stream is None:
                self._stream = self._output.add_stream_from_template(template, opaque=True)
                self._stream.time_base = template.time_base
                self._extradata = template.codec_context.extradata
            if template.codec_context.extradata != self._extradata:
                raise DatasetError(
                    f"{self.path}: the episodes are coded differently (image size or x264 "
                    "version); collect them with one installation into a new folder"
                )
            offset = int(Fraction(self.num_rows, self.fps) / template.time_base)
            packets = [packet for packet in source.demux(template) if packet.size]
            if len(packets) != num_rows:
                raise DatasetError(f"{self.path}: {len(packets)} pictures for {num_rows} rows")
            for packet in packets:
                packet.stream = self._stream
                packet.pts += offset
                packet.dts += offset
                self._output.mux(packet)
        self.num_rows += num_rows

    def close(self) -> None:
        """Write the index; the file is complete after this."""
        self._output.close()


def to_rgb(picture: Any, reformatter: VideoReformatter) -> np.ndarray:
    """Copy a decoded picture to (H, W, 3) uint8; planar RGB needs no conversion."""
    if picture.format.name != PIX_FMT:
        return reformatter.reformat(picture, format="rgb24").to_ndarray()
    height, width = picture.height, picture.width
    image = np.empty((height, width, 3), dtype=np.uint8)
    for channel, plane in zip((1, 2, 0), picture.planes, strict=True):
        pixels = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        image[..., channel] = pixels[:height, :width]
    return image


class VideoFiles:
    """Decodes stretches of MP4 files; keeps the last few files open.

    Safe to pickle, and to use after a fork: open files belong to one process.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._open: OrderedDict[Path, Any] = OrderedDict()
        self._reformatter = VideoReformatter()

    def _container(self, path: Path) -> Any:
        if self._pid != os.getpid():
            self._forget()
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        try:
            container: Any = av.open(str(path))
            container.streams.video[0].codec_context.thread_count = 1
        except (av.FFmpegError, OSError, IndexError) as error:
            raise damaged_video(path, str(error)) from error
        self._open[path] = container
        if len(self._open) > MAX_OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        return container

    def pixel_format(self, path: Path) -> str:
        """How the pictures of a file are coded, ``"gbrp"`` for RGB.

        Raises:
            DatasetError: the file is missing or damaged.
        """
        return str(self._container(path).streams.video[0].codec_context.pix_fmt)

    def read(
        self, path: Path, first_row: int, num_rows: int, *, fps: int, every: int = 1
    ) -> np.ndarray:
        """Decode rows ``first_row, first_row + every, ...`` below ``first_row + num_rows``.

        Args:
            path: an MP4 file.
            first_row: index of a picture of the file.
            num_rows: length of the stretch in pictures.
            fps: pictures per second of the file.
            every: keep one picture in so many; the others are not converted.

        Returns:
            (ceil(num_rows / every), H, W, 3) uint8.

        Raises:
            DatasetError: the file is missing, damaged or too short.
        """
        try:
            pictures = list(self._decode(path, first_row, num_rows, fps, every))
        except av.FFmpegError as error:
            self._open.pop(path, None)
            raise damaged_video(path, str(error)) from error
        if len(pictures) != -(-num_rows // every):
            raise damaged_video(path, f"no picture at row {first_row + len(pictures) * every}")
        return np.stack(pictures)

    def _decode(
        self, path: Path, first_row: int, num_rows: int, fps: int, every: int
    ) -> Iterator[np.ndarray]:
        container = self._container(path)
        stream = container.streams.video[0]
        container.seek(int(Fraction(first_row, fps) / stream.time_base), stream=stream)
        for picture in container.decode(stream):
            row = round(picture.pts * stream.time_base * fps) - first_row
            if row >= 0 and row % every == 0:
                yield to_rgb(picture, self._reformatter)
            if row >= num_rows - 1:
                return

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._forget()


def damaged_video(path: Path, why: str) -> DatasetError:
    """The error for a video that does not hold what the metadata promise."""
    return DatasetError(
        f"{path} is missing, truncated or damaged ({why}); copy the dataset again or collect it "
        "again into a new folder"
    )
