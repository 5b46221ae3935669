"""The bundled data set: a full grid, the same bytes for the same seed, queries that one modality cannot answer."""

from __future__ import annotations

import io
import itertools
from collections import Counter, defaultdict

import av
import numpy as np
import pytest

from covr.config.compose import compose
from covr.datasets.dataset import validate
from covr.datasets.motions import Motions
from covr.datasets.motions.choreography import perform
from covr.datasets.motions.clip import draw
from covr.datasets.motions.composed import compose as compose_queries
from covr.datasets.motions.describe import describe
from covr.datasets.motions.grammar import COUNTS, ELEMENTS, EVENTS, SIDES, Label, grid
from covr.datasets.motions.mocap import load
from covr.datasets.motions.render import encode, frames
from covr.datasets.motions.sizes import SIZES
from covr.datasets.motions.skeleton import BONES, INDEX, JOINTS, joint_positions
from covr.errors import UserError
from covr.storage import Place
from covr.triplets.modifications import OTHER_SIDE, VALUES

CLIP = draw(Label("beam", "cartwheel", 2, "left"), "train", 0, seed=0)


@pytest.fixture(scope="module")
def read(ray_cluster, tmp_path_factory):
    root = Place(tmp_path_factory.mktemp("motions"))
    return root, Motions(size="tiny").read(root)


def rows_without_files(size: str, seed: int = 0) -> list[dict]:
    """The rows of the clips table that composing needs, without rendering."""
    sizes = SIZES[size]
    return [
        {"clip_id": draw(label, split, n, seed).clip_id, "label": str(label), "split": split}
        for split, num in (("train", sizes.train), ("val", sizes.val), ("test", sizes.test))
        for label in sizes.labels
        for n in range(num)
    ]


@pytest.fixture(scope="module")
def small():
    clips = rows_without_files("small")
    return clips, compose_queries(clips, SIZES["small"], 0)


def test_labels_are_the_full_grid_of_at_least_sixty():
    labels = SIZES["small"].labels
    assert len(set(map(str, labels))) == len(EVENTS) * len(ELEMENTS) * len(COUNTS) * len(SIDES) >= 60
    assert {tuple(label.attributes().values()) for label in labels} == set(
        itertools.product(EVENTS, ELEMENTS, map(str, COUNTS), SIDES)
    )


def test_the_dataset_obeys_the_rules_of_every_reader(read):
    validate(read[1])
    clips = read[1].clips.to_pylist()
    assert Counter(clip["split"] for clip in clips) == {"train": 48, "val": 32, "test": 48}
    assert len({clip["sha256"] for clip in clips}) == len(clips)  # no two clips look alike, in any split


def test_files_are_h264_of_the_stated_size(read):
    root, dataset = read
    for clip in dataset.clips.slice(0, 5).to_pylist():
        with av.open(io.BytesIO((root / clip["uri"]).read_bytes())) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert (stream.width, stream.height, stream.frames) == (64, 64, clip["num_frames"])
            assert float(stream.average_rate) == clip["fps"] == 10


def test_what_is_there_is_kept_and_what_is_missing_is_rendered_to_the_same_bytes(read):
    root, dataset = read
    uris = dataset.clips["uri"].to_pylist()
    before = {uri: (root / uri).local().stat().st_mtime_ns for uri in uris}
    for uri in uris[::7]:
        (root / uri).remove()
    again = Motions(size="tiny").read(root)
    assert again.clips.equals(dataset.clips)
    assert again.triplets.equals(dataset.triplets)
    kept = {uri for uri in uris if (root / uri).local().stat().st_mtime_ns == before[uri]}
    assert kept == set(uris) - set(uris[::7])


def test_the_same_draw_gives_the_same_bytes_and_another_seed_another_clip():
    assert encode(frames(CLIP)) == encode(frames(CLIP))
    other = draw(CLIP.label, "train", 0, seed=1)
    assert other.clip_id != CLIP.clip_id
    assert other.camera != CLIP.camera


def test_no_clip_is_encoded_to_other_bytes_now_and_then():
    """x264's macroblock tree did, for three clips in ten and a few repeats in a hundred."""
    for label in grid()[::5]:
        video = frames(draw(label, "train", 0, seed=0))
        assert len({encode(video) for _ in range(8)}) == 1, label


def test_splits_and_seeds_share_no_rendering_parameters():
    clips = [
        draw(label, split, n, seed)
        for label in grid()[:6]
        for split in ("train", "val", "test")
        for n in range(4)
        for seed in (0, 1)
    ]
    for part in ("camera", "looks", "repetitions"):
        values = [getattr(clip, part) for clip in clips]
        if part != "repetitions":
            assert len(set(map(str, values))) == len(clips)
    assert len({clip.clip_id for clip in clips}) == len(clips)


@pytest.mark.parametrize("element", ELEMENTS)
def test_every_element_travels_to_its_side(element):
    for side, sign in (("right", 1), ("left", -1)):
        points = perform(draw(Label("floor", element, 2, side), "train", 3, seed=0))
        assert sign * (points[-1, 0, 0] - points[0, 0, 0]) > 0.2


@pytest.mark.parametrize("element", ELEMENTS)
def test_each_repetition_makes_the_action_longer(element):
    actions = [sum(draw(Label("floor", element, count, "left"), "train", 1, 0).repetitions) for count in COUNTS]
    assert actions == sorted(actions)


def test_lengths_of_clips_overlap_across_counts():
    """A clip's number of frames says little of the count."""
    lengths = {
        count: np.array([draw(Label("pool", "jump", count, "left"), "train", n, 0).num_frames for n in range(60)])
        for count in COUNTS
    }
    low, high = max(v.min() for v in lengths.values()), min(v.max() for v in lengths.values())
    shared = [np.mean((v >= low) & (v <= high)) for v in lengths.values()]
    assert min(shared) > 0.6


def test_bones_keep_their_length_whatever_the_pose():
    motion = load("cartwheel")
    points = joint_positions(motion.root_F3, motion.rotations_FR4)
    for joint in JOINTS[1:]:
        lengths = np.linalg.norm(points[:, INDEX[joint.name]] - points[:, INDEX[joint.parent]], axis=-1)
        np.testing.assert_allclose(lengths, np.linalg.norm(joint.offset), atol=1e-9)
    assert {end for bone in BONES for end in bone[:2]} <= INDEX.keys()


def test_every_clip_of_the_target_label_is_a_right_answer_and_only_those(small):
    clips, composed = small
    members = defaultdict(set)
    for clip in clips:
        members[clip["split"], clip["label"]].add(clip["clip_id"])
    label = {clip["clip_id"]: clip["label"] for clip in clips}
    for row in composed.triplets:
        assert set(row["target_clips"]) == members[row["split"], row["target_label"]] - {row["query_clip"]}
        assert (label[row["query_clip"]] == row["target_label"]) == (row["tags"]["edit"] == "none")
        assert row["query_clip"] in members[row["split"], row["tags"]["pair"].split(" -> ")[0]]


def test_train_clips_are_also_asked_for_as_they_are(small):
    attributes = {str(label): label.attributes() for label in grid()}
    label = {clip["clip_id"]: clip["label"] for clip in small[0]}
    rows = [row for row in small[1].triplets if row["tags"]["edit"] == "none"]
    assert {row["split"] for row in rows} == {"train"}
    asked = Counter()
    for row in rows:
        assert label[row["query_clip"]] == row["target_label"]
        values = attributes[row["target_label"]]
        named = [
            name for name, value in values.items() if any(p in row["modifications"][0] for p in VALUES[name][value])
        ]
        assert len(named) == 1, row["modifications"]
        assert not any(phrase in text for text in row["modifications"] for phrase in OTHER_SIDE)
        asked[row["target_label"], named[0]] += 1
    assert set(asked.values()) == {2}
    assert len(asked) == 90 * 4


def test_held_out_pairs_are_asked_for_in_test_only(small):
    pairs = defaultdict(set)
    for row in small[1].triplets:
        pairs[row["split"], row["tags"]["seen"]].add(row["tags"]["pair"])
    assert not pairs["train", "no"]
    assert not pairs["val", "no"]
    assert not pairs["test", "no"] & (pairs["train", "yes"] | pairs["val", "yes"])
    trained = {tuple(pair.split(" -> ")) for pair in pairs["train", "yes"]}
    assert not any(tuple(reversed(pair.split(" -> "))) in trained for pair in pairs["test", "no"])
    assert 0.18 < len(pairs["test", "no"]) / len(pairs["test", "no"] | pairs["test", "yes"]) < 0.22


def test_the_published_gallery_keeps_duplicates_and_the_corrected_one_has_none(small):
    _clips, composed = small
    rows = Counter((row["gallery_id"], row["clip_id"]) for row in composed.galleries)
    assert max(count for (gallery, _), count in rows.items() if gallery == "test") == 1
    assert max(count for (gallery, _), count in rows.items() if gallery == "test-targets") > 1
    assert sum(gallery == "test" for gallery, _ in rows) == 900


def test_neither_modality_alone_can_answer(capsys):
    clips = rows_without_files("small")
    compose_queries(clips, SIZES["small"], 0)
    said = capsys.readouterr().out
    assert said.count("at most 20") == 2


def test_a_data_set_that_one_modality_answers_is_refused():
    from dataclasses import replace

    easy = replace(SIZES["tiny"], measures=True)
    with pytest.raises(UserError, match="an oracle that sees only"):
        compose_queries(rows_without_files("tiny"), easy, 0)


def test_sizes_are_options_and_a_wrong_one_names_them():
    assert compose(["data=motions"]).data.size == "small"
    with pytest.raises(UserError, match="tiny, small, full"):
        Motions(size="huge")


def test_descriptions_say_all_of_a_label_and_nothing_else_in_varied_words():
    for label in grid():
        texts = [describe(label, f"clip-{n}", seed=0) for n in range(12)]
        assert len(set(texts)) > 9
        for name, value in label.attributes().items():
            for text in texts:
                assert any(f" {phrase}," in f"{text}," for phrase in VALUES[name][value]), (text, name)
                others = (p for other, phrases in VALUES[name].items() if other != value for p in phrases)
                assert not any(f" {phrase}," in f"{text}," for phrase in others), (text, name)
    assert describe(label, "clip-1", seed=0) == texts[1] != describe(label, "clip-1", seed=1)


def test_every_clip_has_a_caption_and_a_description(read):
    _, dataset = read
    kinds = Counter(dataset.texts["kind"].to_pylist())
    assert kinds == {"caption": len(dataset.clips), "description": len(dataset.clips)}
