"""Twenty clips as people have them: mixed codecs, containers, rotations, rates, sizes and lengths."""

from __future__ import annotations

from pathlib import Path

from make_videos import make_video, textured

LABELS = ("jump once", "jump twice", "spin once", "spin twice")
KINDS = (
    ("mp4", {"width": 192, "height": 108}),
    ("mov", {"codec": "libx265", "width": 160, "height": 96, "rotation": 90}),
    ("MOV", {"width": 128, "height": 96, "rotation": 270}),
    ("mkv", {"codec": "libx265", "width": 144, "height": 80, "times": [n + n // 5 for n in range(40)]}),
    ("webm", {"codec": "libvpx-vp9", "width": 98, "height": 174}),
    ("avi", {"codec": "mpeg4", "width": 176, "height": 144}),
    ("ts", {"width": 96, "height": 128}),
    ("mp4", {"width": 101, "height": 75, "pixels": "yuv444p"}),
    ("webm", {"codec": "libvpx", "width": 120, "height": 90}),
    ("mp4", {"codec": "libx265", "width": 64, "height": 112, "fps": 15}),
)


def make_own_clips(folder: Path, *, per_label: int = 5) -> dict[str, str]:
    """Write the files; file name (some with blanks, some in folders) -> label."""
    labels = {}
    for number in range(per_label * len(LABELS)):
        ending, video = KINDS[number % len(KINDS)]
        name = f"{'phone/' if number % 3 else ''}clip {number:02d}.{ending}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        num_frames = 40 if "times" in video else 24 + number
        make_video(folder / name, **{"num_frames": num_frames, "seed": number, "picture": textured, **video})
        labels[name] = LABELS[number % len(LABELS)]
    return labels


def write_labels(folder: Path, labels: dict[str, str], text: str = "clip,label\n") -> None:
    """labels.csv of the files."""
    rows = "".join(f"{name},{label}\n" for name, label in labels.items())
    (folder / "labels.csv").write_text(text + rows)
