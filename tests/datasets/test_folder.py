"""One's own clips, from a folder as people have it to the tables."""

from __future__ import annotations

from collections import Counter

import pytest
from make_videos import make_audio, make_video, textured
from own_clips import LABELS, make_own_clips, write_labels

from covr.clips import probe
from covr.clips.playable import plays_in_browsers, rendition
from covr.datasets.dataset import validate
from covr.datasets.folder import Folder
from covr.errors import UserError
from covr.storage import Place


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty labelled clips, one that is not, one that is gone and one that is broken."""
    folder = tmp_path_factory.mktemp("own")
    labels = make_own_clips(folder)
    make_video(folder / "no label.mp4", seed=99, picture=textured)
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    (folder / ".hidden.mp4").touch()
    write_labels(folder, {**labels, "broken.mp4": "jump once", "gone.mov": "spin once"})
    return folder, labels


@pytest.fixture(scope="module")
def read(folder, ray_cluster, tmp_path_factory):
    root = Place(tmp_path_factory.mktemp("root"))
    return root, Folder(root=str(folder[0])).read(root)


def test_twenty_clips_of_every_kind_become_tables(read, folder):
    root, dataset = read
    validate(dataset)
    clips = dataset.clips.to_pylist()
    assert {clip["uri"] for clip in clips} == {str(folder[0] / name) for name in folder[1]}
    assert Counter(clip["label"] for clip in clips) == dict.fromkeys(LABELS, 5)
    assert Counter(clip["split"] for clip in clips) == {"train": 12, "val": 4, "test": 4}
    shown = {clip["uri"]: (clip["width"], clip["height"]) for clip in clips}
    assert shown[str(folder[0] / "phone/clip 01.mov")] == (96, 160)  # turned
    for clip in clips:
        made = rendition(root, clip["sha256"])
        info = probe(clip["uri"])
        assert made.exists() is not plays_in_browsers(info, clip["uri"])
        assert not made.exists() or plays_in_browsers(probe(str(made)), made.name)


def test_what_is_left_out_has_its_reason(read):
    found = {row["clip_id"]: row["reason"] for row in read[1].quarantine.to_pylist()}
    assert found == {"broken.mp4": "corrupt", "gone.mov": "missing", "no%20label.mp4": "unlisted"}


def test_queries_go_between_labels_that_differ_in_a_word_within_one_split(read):
    _, dataset = read
    clips = {clip["clip_id"]: clip for clip in dataset.clips.to_pylist()}
    rows = dataset.triplets.to_pylist()
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    for row in rows:
        source, target = clips[row["query_clip"]]["label"], row["target_label"]
        assert len(set(source.split()) ^ set(target.split())) == 2
        right = {name for name, c in clips.items() if c["label"] == target and c["split"] == row["split"]}
        assert set(row["target_clips"]) == right


def test_the_same_folder_gives_the_same_rows(read, folder):
    root, dataset = read
    reader = Folder(root=str(folder[0]))
    assert reader.version == Folder(root=str(folder[0])).version
    again = reader.read(root)
    assert again.fingerprint() == dataset.fingerprint()


@pytest.fixture
def few(tmp_path, ray_cluster):
    """Six clips without a CSV file, and a function that reads them."""
    folder = tmp_path / "few"
    folder.mkdir()
    for number in range(6):
        make_video(folder / f"{number}.mp4", width=64, height=64, seed=number, picture=textured, num_frames=12)

    def read(root: str = "root", **options):
        return Folder(root=str(folder), **{"playable": False, **options}).read(Place(tmp_path / root))

    return folder, read


def test_without_labels_a_folder_is_a_gallery(few):
    dataset = few[1]()
    validate(dataset)
    assert dataset.clips["split"].to_pylist() == ["test"] * 6
    assert not len(dataset.triplets)
    assert Counter(row["gallery_id"] for row in dataset.galleries.to_pylist()) == {"test": 6}


def test_attributes_make_labels_pairs_and_modifications(few):
    folder, read = few
    rows = [f"{n},{'red' if n % 2 else 'blue'},gloss {n // 6}" for n in range(6)]
    (folder / "labels.csv").write_text("\n".join(["clip,paint colour,finish", *rows]))
    dataset = read()
    validate(dataset)
    assert set(dataset.clips["label"].to_pylist()) == {"red, gloss 0", "blue, gloss 0"}
    texts = [text for texts in dataset.triplets["modifications"].to_pylist() for text in texts]
    assert all("paint colour" in text and "gloss" not in text for text in texts)
    assert {dict(tags)["edit"] for tags in dataset.triplets["tags"].to_pylist()} == {"paint colour"}


def test_a_label_whose_clips_differ_in_attributes_becomes_one_of_them(few):
    folder, read = few
    rows = [f"{n},jump,{'red' if n % 2 else 'blue'}" for n in range(6)]
    (folder / "labels.csv").write_text("\n".join(["clip,label,colour", *rows]))
    dataset = read()
    assert set(dataset.clips["label"].to_pylist()) == {"jump (red)", "jump (blue)"}
    assert dict(dataset.clips["attributes"][0].as_py()) == {"label": "jump", "colour": "blue"}


def test_captions_are_labels_of_one_clip_each_and_kept_as_texts(few):
    folder, read = few
    captions = [f"a {size} {what} in the {place}" for size in ("red",) for what in ("ball", "cat") for place in "abc"]
    splits = ("train", "val", "test")
    rows = [f"{n},{text},{splits[n % 3]}" for n, text in enumerate(captions)]
    (folder / "labels.csv").write_text("\n".join(["clip,caption,split", *rows]))
    dataset = read()
    validate(dataset)
    assert dataset.texts["text"].to_pylist() == captions
    assert len(dataset.triplets) == 6  # ball and cat, both ways, in each split


def test_own_triplets_are_taken_as_they_are(few):
    folder, read = few
    text = "query,modification,target,split\n"
    text += "0,make it red,1.mp4,train\n0,make it red,2,train\n3,make it blue,4,test\n9,no such clip,4,test\n"
    (folder / "triplets.csv").write_text(text + "5,again,5.mp4,\n")
    with pytest.raises(UserError, match=r"its own target.*line 6"):
        read()
    (folder / "triplets.csv").write_text(text)
    with pytest.raises(UserError, match="no triplet is left for val"):
        read()
    (folder / "triplets.csv").write_text(text + "5,again,4,val\n")
    with pytest.raises(UserError, match=r"'4.mp4' is asked for in the splits test and val"):
        read()
    for number in (6, 7):
        make_video(folder / f"{number}.mp4", width=64, height=64, seed=number, picture=textured, num_frames=12)
    (folder / "triplets.csv").write_text(text + "6,again,7,val\n")
    dataset = read(max_bad_fraction=0.2)
    validate(dataset)
    assert [row["target_clips"] for row in dataset.triplets.to_pylist()] == [["1.mp4", "2.mp4"], ["4.mp4"], ["7.mp4"]]
    assert [row["reason"] for row in dataset.quarantine.to_pylist()] == ["missing"]


def test_long_files_are_cut_by_stride_and_by_segments(few):
    folder, read = few
    make_video(folder / "long.mp4", width=64, height=64, seed=9, picture=textured, num_frames=50, fps=10)
    cut = [clip for clip in read(clip_s=1.0).clips.to_pylist() if clip["uri"].endswith("long.mp4")]
    assert [(clip["start_s"], clip["end_s"]) for clip in cut] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert {clip["num_frames"] for clip in cut} == {10}
    assert {clip["source_video"] for clip in cut} == {"long.mp4"}
    over = read("overlapping", clip_s=2.0, stride_s=1.0).clips.to_pylist()
    assert sum(clip["uri"].endswith("long.mp4") for clip in over) == 4
    (folder / "segments.csv").write_text("clip,start_s,end_s\nlong,0.5,1.5\nlong,4,9\nlong,60,61\n")
    dataset = read("segments", max_bad_fraction=0.4)
    assert dataset.clips["clip_id"].to_pylist() == ["long.mp4#t=0.5,1.5", "long.mp4#t=4,9"]
    assert {row["clip_id"]: row["reason"] for row in dataset.quarantine.to_pylist()}["long.mp4#t=60,61"] == "empty"


def test_files_are_copied_when_asked(few, tmp_path):
    dataset = few[1]("copied", copy=True)
    for clip in dataset.clips.to_pylist():
        assert (Place(tmp_path / "copied") / clip["uri"]).sha256() == clip["sha256"]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("".join(f"{n},same\n" for n in range(6)), "two labels or more; the only label is 'same'"),
        ("".join(f"{n},jump {n}\n" for n in range(6)), "every label has one clip"),
        ("".join(f"{n},{'jump' if n < 4 else 'spin'}\n" for n in range(6)), "no two labels to go between"),
        ("".join(f"{n},jump\n" for n in range(3)) + "gone,spin\n", "1 of 4 clips cannot be read.*gone"),
    ],
)
def test_labels_that_do_not_suffice_are_one_line(few, labels, says):
    (few[0] / "labels.csv").write_text("clip,label\n" + labels)
    with pytest.raises(UserError, match=says):
        few[1]()


def test_a_folder_of_nothing_that_decodes_is_one_line(tmp_path, ray_cluster):
    make_audio(tmp_path / "sound.mp4")
    (tmp_path / "empty.mov").touch()
    with pytest.raises(UserError, match=r"no clip can be read \(1 empty, 1 no-video-stream\)"):
        Folder(root=str(tmp_path)).read(Place(tmp_path / "out"))


def test_mistakes_before_anything_is_read(tmp_path):
    with pytest.raises(UserError, match=r"give data\.root=DIR"):
        Folder()
    with pytest.raises(UserError, match="no such folder"):
        Folder(root=str(tmp_path / "nowhere")).read(Place(tmp_path))
    with pytest.raises(UserError, match="no video files there"):
        Folder(root=str(tmp_path)).read(Place(tmp_path / "out"))
    with pytest.raises(UserError, match=r"data\.stride_s=1"):
        Folder(root=".", stride_s=1.0)
