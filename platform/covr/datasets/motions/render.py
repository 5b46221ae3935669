"""A clip as frames and as an H.264 file; the same clip always gives the same bytes."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
from PIL import Image, ImageDraw

from covr.datasets.motions.choreography import perform
from covr.datasets.motions.clip import FPS, SIZE, Clip, Colour
from covr.datasets.motions.scene import NEAR, WALL, Ground, Projection, beam_boxes
from covr.datasets.motions.skeleton import BONES, INDEX

CANVAS = 2 * SIZE
"""Frames are drawn at twice their size and averaged."""
SMOOTHING = 19
"""Frames over which the camera follows the performer: it lags, so that the performer moves in the image."""
ENCODER = {"crf": "20", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
"""No macroblock tree: at this size x264's assembler for it gives three clips in ten other bytes now and then."""

_STARTS = np.array([INDEX[bone[0]] for bone in BONES])
_ENDS = np.array([INDEX[bone[1]] for bone in BONES])
_RADII = np.array([bone[2] for bone in BONES])
_CAP = np.linspace(np.pi / 2, 3 * np.pi / 2, 5)


def frames(clip: Clip) -> np.ndarray:
    """The clip drawn, (F, 64, 64, 3) uint8 RGB."""
    points = perform(clip)
    if clip.label.event == "beam":
        points = points + np.array([0.0, clip.looks.beam_height, 0.0])
    projection = Projection.of(clip.camera, CANVAS)
    centres = _followed(points[:, 0]) + np.array(clip.camera.offset)
    pixels, depths = projection.project(points - centres[:, None])
    capsules = _capsules(pixels, depths, projection.focal_px)
    order = np.argsort(-(depths[:, _STARTS] + depths[:, _ENDS]), axis=1, kind="stable").tolist()
    ground = Ground(clip.label.event, clip.looks)
    visible_SS, (x_N, z_N) = projection.ground(centres[0, 1])
    palette = ground.palette().tobytes()
    scenery_SS = np.full((CANVAS, CANVAS), WALL)
    looks = clip.looks
    colours = [(looks.trunk, looks.right, looks.left, looks.skin)[bone[3]] for bone in BONES]
    video = np.empty((len(points), SIZE, SIZE, 3), np.uint8)
    for i, centre in enumerate(centres):
        scenery_SS[visible_SS] = ground.pattern(x_N + float(centre[0]), z_N + float(centre[2]))
        indexed = Image.fromarray(scenery_SS)
        indexed.putpalette(palette)
        image = indexed.convert("RGB")
        pen = ImageDraw.Draw(image)
        if clip.label.event == "beam":
            for quad, shade in beam_boxes(projection, centre, looks):
                pen.polygon(_ints(quad), fill=_shaded(looks.apparatus, shade))
        for bone in order[i]:
            pen.polygon(_ints(capsules[i, bone]), fill=colours[bone], outline=_shaded(colours[bone], 0.6))
        video[i] = np.asarray(image.reduce(2))
    return video


def encode(video_FHW3: np.ndarray) -> bytes:
    """An MP4 file of the frames: H.264, 4:2:0, one thread, FPS frames a second."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options=ENCODER)
        stream.height, stream.width = video_FHW3.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in video_FHW3:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _followed(root_F3: np.ndarray) -> np.ndarray:
    """The camera's centre in each frame: the performer's path smoothed, at one height."""
    half = SMOOTHING // 2
    padded = np.pad(root_F3, ((half, half), (0, 0)), mode="edge")
    sums = np.cumsum(np.concatenate([np.zeros((1, 3)), padded]), axis=0)
    centres = (sums[SMOOTHING:] - sums[:-SMOOTHING]) / SMOOTHING
    centres[:, 1] = root_F3[:, 1].mean()
    return centres


def _capsules(pixels_FJ2: np.ndarray, depths_FJ: np.ndarray, focal_px: float) -> np.ndarray:
    """Outlines of the bones, (F, bones, 10, 2) in pixels."""
    start, end = pixels_FJ2[:, _STARTS], pixels_FJ2[:, _ENDS]
    along = end - start
    angle = np.arctan2(along[..., 1], along[..., 0])[..., None]
    rims = [
        centre[..., None, :]
        + np.stack([np.cos(angle + turn), np.sin(angle + turn)], -1)
        * (focal_px * _RADII / np.maximum(depths_FJ[:, joints], NEAR))[..., None, None]
        for centre, joints, turn in ((start, _STARTS, _CAP), (end, _ENDS, _CAP + np.pi))
    ]
    return np.concatenate(rims, axis=2)


def _ints(points_N2: np.ndarray) -> list[int]:
    return np.rint(points_N2).astype(int).ravel().tolist()


def _shaded(colour: Colour, factor: float) -> Colour:
    r, g, b = (min(255, int(channel * factor)) for channel in colour)
    return r, g, b
