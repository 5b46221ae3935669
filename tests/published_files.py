"""Small annotation files of every benchmark in the format that is published, written by hand from its description."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from PIL import Image

MEMBERS = [f"dev-{i}-0-img0" for i in range(6)]
DIVES = ("FINADiving_0001", "FINADiving_0002", "gym_0001", "gym_0002", "gym_0003", "gym_0004")
EGO = ("u1_10_19", "u1_20_29", "u1_30_39", "u2_5-5_14-5", "u2_20_29")


def csv_text(rows: list[dict]) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def webvid_rows(num: int, first: int = 0) -> list[dict]:
    return [
        {
            "txt1": f"Digital network, white lines and dots {i}",
            "txt2": f"Digital network, green lines and dots {i}",
            "sim_txt": 0.894,
            "pth1": f"112/10162{i:04d}",
            "pth2": f"112/10163{i // 2:04d}",
            "edit": "replace the white lines, and dots with green",
            "scores": str([round(0.3 + 0.01 * k, 4) for k in range(15)]) if i != first + 1 else "[]",
        }
        for i in range(first, first + num)
    ]


def _webvid(name: str) -> dict[str, str]:
    folder = f"annotation/{name}"
    parts = (("webvid2m-covr_train", 0), ("webvid8m-covr_val", 10), ("webvid8m-covr_test", 20))
    return {f"{folder}/{stem}.csv": csv_text(webvid_rows(4, first)) for stem, first in parts}


def _cirr() -> dict[str, str]:
    def pair(number: int, prefix: str, **answers: object) -> dict:
        members = [name.replace("dev", prefix) for name in MEMBERS]
        return {
            "pairid": number,
            "reference": members[0],
            **answers,
            "caption": "Has two dogs, and a ball.",
            "img_set": {"id": number // 2, "members": members, "reference_rank": 0, "target_rank": 1},
        }

    def answered(number: int, prefix: str) -> dict:
        hard, soft, wrong = (name.replace("dev", prefix) for name in MEMBERS[1:4])
        return pair(number, prefix, target_hard=hard, target_soft={hard: 1.0, soft: 0.5, wrong: -1.0})

    splits = {prefix: {name.replace("dev", prefix): "" for name in MEMBERS} for prefix in ("train", "dev", "test1")}
    return {
        "captions/cap.rc2.train.json": json.dumps([answered(number, "train") for number in (0, 1)]),
        "captions/cap.rc2.val.json": json.dumps([answered(number, "dev") for number in (10, 11)]),
        "captions/cap.rc2.test1.json": json.dumps([pair(number, "test1") for number in (20, 21)]),
        "image_splits/split.rc2.train.json": json.dumps(splits["train"]),
        "image_splits/split.rc2.val.json": json.dumps({**splits["dev"], "dev-9-9-img1": "./dev/dev-9-9-img1.png"}),
        "image_splits/split.rc2.test1.json": json.dumps(splits["test1"]),
    }


def _fashioniq() -> dict[str, str]:
    files = {}
    for category in ("dress", "shirt", "toptee"):
        for split in ("train", "val"):
            images = [f"B00{category[0].upper()}{split[0].upper()}{i}" for i in (3, 1, 2)]
            pairs = [{"candidate": images[0], "target": images[1], "captions": ["is red", "has longer sleeves "]}]
            files[f"captions/cap.{category}.{split}.json"] = json.dumps(pairs)
            files[f"image_splits/split.{category}.{split}.json"] = json.dumps(images)
    return files


def _circo() -> dict[str, str]:
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480} for i in range(1, 9)]
    query = {"reference_img_id": 1, "relative_caption": "has three of them", "shared_concept": "a bird"}
    answers = {"target_img_id": 5, "gt_img_ids": [5, 2, 7], "semantic_aspects": ["cardinality", "background"]}
    return {
        "annotations/val.json": json.dumps([{"id": i, **query, **answers} for i in (0, 1)]),
        "annotations/test.json": json.dumps([{"id": i, **query} for i in (0, 1, 2)]),
        "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json": json.dumps({"images": images}),
    }


def _egocvr() -> dict[str, str]:
    narrations = [(clip, f"#C C does {clip}") for clip in EGO] + [(EGO[0], "#C C also does this")]
    queries = [(EGO[0], [EGO[1]]), (EGO[1], [EGO[0], EGO[2], EGO[1]]), (EGO[3], [EGO[4]])]
    return {
        "egocvr_annotations.csv": csv_text(
            [
                {
                    "video_clip_id": clip,
                    "target_clip_ids": str(targets),
                    "video_clip_narration": "#C C takes the sieve",
                    "target_clip_narration": "#C C shakes the sieve",
                    "instruction": "Shake it.",
                    "modified_captions": " #C C shakes, then empties the bowl.",
                }
                for clip, targets in queries
            ]
        ),
        "egocvr_data.csv": csv_text(
            [{"clip_name": c, "narration_text": text, "video_uid": c.split("_")[0]} for c, text in narrations]
        ),
    }


def _finecvr() -> dict[str, str]:
    lines = [f'{i}\t{i}\t{i + 1}\tthe person is now "sitting"\thmdb\t7\n' for i in range(3)]
    names = {str(i): f"video_{i}" for i in range(5)}
    return {
        **{f"{split}_remaped.txt": "".join(lines) for split in ("train", "test")},
        **{f"id2vdoname_{split}.json": json.dumps(names) for split in ("train", "test")},
    }


def _tf_covr() -> dict[str, str]:
    edit = {"17": {"modification": "show with 2.5 somersaults, and 2 twists"}}
    train = [
        {"query_video": DIVES[0], "target_video": target, "label1": 3, "label2": 17, "modification": str(edit)}
        for target in DIVES[1:3]
    ]
    queries = [(DIVES[3], DIVES[4], [DIVES[4], DIVES[5], DIVES[3]]), (DIVES[5], DIVES[4], [DIVES[4], DIVES[2]])]
    test = [
        {
            "query_id": i,
            "query_video": query,
            "target_video": target,
            "target_videos_ids": str(answers),
            "modification": "show on Balance Beam, with 0.5 turn",
        }
        for i, (query, target, answers) in enumerate(queries)
    ]
    return {
        "train_finegd.csv": csv_text(train),
        "val_finegd.csv": csv_text(test),
        "test_finegd.csv": csv_text(test),
    }


def _mtcir() -> dict[str, str]:
    lines = [
        {"id": i, "image": f"00/{i}.jpg", "target_image": f"01/{i}.jpg", "modifications": ["make it red", "in red"]}
        for i in range(3)
    ]
    return {"mtcir.jsonl": "".join(json.dumps(line) + "\n" for line in lines)}


def _cc_coir() -> dict[str, str]:
    edits = ["make it a cat", str(["a cat instead", "turn it into a cat"]), "a dog"]
    rows = [
        {"txt1": "a dog", "txt2": "a cat", "pth1": f"0001/{i}", "pth2": f"0002/{i}", "edit": edit}
        for i, edit in enumerate(edits)
    ]
    return {"annotation/cc-coir/cc-coir_train.csv": csv_text(rows)}


FILES = {
    "webvid-covr": lambda: _webvid("webvid-covr"),
    "dense-webvid-covr": lambda: _webvid("dense-webvid-covr"),
    "cc-coir": _cc_coir,
    "cirr": _cirr,
    "fashioniq": _fashioniq,
    "fashioniq-dress": _fashioniq,
    "circo": _circo,
    "egocvr": _egocvr,
    "finecvr": _finecvr,
    "tf-covr": _tf_covr,
    "mtcir": _mtcir,
}
"""Each set's annotation files: path below the data root -> text."""


def write(name: str, folder: Path) -> list[str]:
    """Write the annotation files of a set below `folder`; returns the overrides that read them without media."""
    for path, text in FILES[name]().items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8", newline="")
    return [f"data={name}", f"data.root={folder}", "data.media=none"]


def write_image(path: Path) -> None:
    """A small picture; its content follows its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (sum(path.stem.encode()) % 256, 0, 0)).save(path)
