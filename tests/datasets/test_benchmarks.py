"""Every benchmark's files, as published, become the same tables."""

from __future__ import annotations

import json

import pytest
from published_files import DIVES, EGO, FILES, MEMBERS, webvid_rows, write, write_image

from covr import tables
from covr.config.compose import build, compose
from covr.datasets.dataset import TABLES, Dataset, validate
from covr.datasets.ingest import ingest
from covr.errors import UserError
from covr.job import Job
from covr.storage import Place, TableStore


def read(name, folder, *overrides):
    dataset = build(compose([*write(name, folder), *overrides]).data).read(Place(folder / "out"))
    validate(dataset)
    return dataset


def queries(dataset, split):
    """The queries of a split by the published id."""
    rows = [row for row in dataset.triplets.to_pylist() if row["split"] == split]
    for row in rows:
        row["galleries"], row["tags"] = dict(row["galleries"]), dict(row["tags"] or ())
    return {row["query_id"].split(f"-{split}-", 1)[1]: row for row in rows}


def gallery(dataset, name):
    return [row["clip_id"] for row in dataset.galleries.to_pylist() if row["gallery_id"] == name]


def texts(dataset, kind):
    return {row["owner_id"]: row["text"] for row in dataset.texts.to_pylist() if row["kind"] == kind}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_set_is_read_alike_with_byte_order_mark_and_any_line_ends(name, newline, tmp_path):
    plain = read(name, tmp_path / "plain")
    overrides = write(name, tmp_path / "other")
    for path in FILES[name]():
        file = tmp_path / "other" / path
        file.write_bytes(b"\xef\xbb\xbf" + file.read_text().replace("\n", newline).encode() + newline.encode())
    other = build(compose(overrides).data).read(Place(tmp_path / "out"))
    assert other.fingerprint() == plain.fingerprint()
    assert len(plain.triplets) > 0
    assert plain.coverage["share"] == 1.0


def test_the_ingest_job_publishes_the_tables(tmp_path):
    overrides = [*write("tf-covr", tmp_path / "data"), f"out={tmp_path / 'out'}"]
    result = ingest(Job.from_overrides(overrides))
    for table in ("clips", "triplets", "galleries"):
        store = TableStore(Place(tmp_path / "out" / "tables" / table), table)
        assert len(store.read()) == result["rows"][table] > 0
    assert (Place(tmp_path / "out") / "tables/coverage.json").read_json() == result["coverage"]


def test_webvid_keeps_scores_and_both_galleries(tmp_path):
    dataset = read("webvid-covr", tmp_path)
    test = queries(dataset, "test")
    assert list(test) == ["0", "1", "2", "3"]
    assert test["0"]["target_weights"][1] == pytest.approx(0.31)
    assert test["1"]["target_weights"] is None
    galleries = test["0"]["galleries"]
    assert gallery(dataset, galleries["published"]) == [row["pth2"] for row in webvid_rows(4, 20)]
    assert gallery(dataset, galleries["corrected"]) == ["112/101630010", "112/101630011"]
    assert texts(dataset, "caption")["112/101620020"] == "Digital network, white lines and dots 20"


def test_dense_descriptions_are_texts_and_answers_may_be_hidden(tmp_path):
    overrides = write("dense-webvid-covr", tmp_path)
    path = tmp_path / "annotation/dense-webvid-covr/webvid8m-covr_test.csv"
    dataset = read("dense-webvid-covr", tmp_path)
    assert texts(dataset, "description")["112/101620020"].startswith("Digital network, white")
    rows = webvid_rows(4, 20)
    hidden = "txt1,txt2,sim_txt,pth1,edit,scores\n" + "".join(f"a,b,0.9,{row['pth1']},make it red,[]\n" for row in rows)
    path.write_text(hidden)
    with pytest.raises(UserError, match=r"header, field pth2"):
        build(compose(overrides).data).read(Place(tmp_path / "out"))
    dataset = build(compose([*overrides, "data.without_targets=[test]"]).data).read(Place(tmp_path / "out"))
    validate(dataset)
    assert [row["target_clips"] for row in queries(dataset, "test").values()] == [[]] * 4


def test_a_description_that_differs_from_the_clips_first_one_stays_with_its_query(tmp_path):
    overrides = write("dense-webvid-covr", tmp_path)
    path = tmp_path / "annotation/dense-webvid-covr/webvid8m-covr_test.csv"
    again = ["txt1,txt2,sim_txt,pth1,pth2,edit,scores\n"]
    again += [f"{text},b,0.9,1/1,1/{n},make it red,[]\n" for n, text in enumerate(("first", "second", "first"), 2)]
    path.write_text("".join(again))
    dataset = build(compose(overrides).data).read(Place(tmp_path / "out"))
    found = texts(dataset, "description")
    assert found["1/1"] == "first"
    assert found["dense-webvid-covr-test-1"] == "second"
    assert "dense-webvid-covr-test-2" not in found


def test_cc_coir_edits_are_one_or_several_wordings(tmp_path):
    wordings = [row["modifications"] for row in queries(read("cc-coir", tmp_path), "train").values()]
    assert wordings == [["make it a cat"], ["a cat instead", "turn it into a cat"], ["a dog"]]


def test_cirr_keeps_soft_targets_subsets_and_hidden_answers(tmp_path):
    dataset = read("cirr", tmp_path)
    query = queries(dataset, "val")["10"]
    assert query["target_clips"] == MEMBERS[1:3]
    assert query["target_grades"] == [1.0, 0.5]
    assert query["tags"] == {"pairid": "10", "img_set": "5"}
    assert gallery(dataset, query["galleries"]["subset"]) == MEMBERS
    assert gallery(dataset, query["galleries"]["corrected"]) == [*MEMBERS, "dev-9-9-img1"]
    assert queries(dataset, "test")["20"]["target_clips"] == []


def test_cirr_with_images_has_the_folder_as_published_gallery(tmp_path):
    overrides = write("cirr", tmp_path)
    for name in [*MEMBERS, "dev-9-9-img1", "dev-8-8-img0"]:
        write_image(tmp_path / "images" / "dev" / f"{name}.png")
    dataset = build(compose([*overrides, "data.media=files", "data.splits=[val]"]).data).read(Place(tmp_path / "out"))
    query = queries(dataset, "val")["10"]
    assert "dev-8-8-img0" in gallery(dataset, query["galleries"]["published"])
    assert "dev-8-8-img0" not in gallery(dataset, query["galleries"]["corrected"])


def test_fashioniq_joins_its_captions_and_has_a_gallery_a_category(tmp_path):
    dataset = read("fashioniq", tmp_path)
    query = queries(dataset, "val")["shirt-0"]
    assert query["modifications"] == ["is red and has longer sleeves"]
    assert gallery(dataset, query["galleries"]["corrected"]) == ["B00SV1", "B00SV2", "B00SV3"]
    only = read("fashioniq-dress", tmp_path / "dress")
    assert {row["tags"]["category"] for row in queries(only, "val").values()} == {"dress"}


def test_circo_keeps_concept_and_aspects_and_stores_its_gallery_once(tmp_path):
    dataset = read("circo", tmp_path)
    query = queries(dataset, "val")["0"]
    assert query["target_clips"] == ["5", "2", "7"]
    assert query["tags"] == {"semantic_aspects": "cardinality; background"}
    assert texts(dataset, "shared_concept")["circo-val-0"] == "a bird"
    assert len(dataset.galleries) == 8
    assert queries(dataset, "test")["2"]["target_clips"] == []


def test_egocvr_has_global_and_local_galleries(tmp_path):
    dataset = read("egocvr", tmp_path)
    query = queries(dataset, "test")["1"]
    assert query["target_clips"] == [EGO[0], EGO[2], EGO[1]]  # its own clip too, as published
    assert gallery(dataset, query["galleries"]["global"]) == list(EGO)
    assert gallery(dataset, query["galleries"]["local"]) == list(EGO[:3])
    assert texts(dataset, "rewritten")["egocvr-test-1"] == " #C C shakes, then empties the bowl."
    narrations = [row["text"] for row in dataset.texts.to_pylist() if row["owner_id"] == EGO[0]]
    assert narrations == [f"#C C does {EGO[0]}", "#C C also does this"]


def test_egocvr_reads_the_published_gallery_file(tmp_path):
    overrides = write("egocvr", tmp_path)
    (tmp_path / "gallery.csv").write_text(
        'global_idx,local_idx\n"[0, 1, 5]","[1, 2]"\n"[0, 1, 5]","[0, 2]"\n"[3, 4]","[4]"\n'
    )
    dataset = build(compose([*overrides, "data.gallery=gallery.csv"]).data).read(Place(tmp_path / "out"))
    validate(dataset)
    first, second, _ = queries(dataset, "test").values()
    assert gallery(dataset, first["galleries"]["global"]) == [EGO[0], EGO[1]]
    assert first["galleries"]["global"] == second["galleries"]["global"] == first["galleries"]["corrected"]
    assert gallery(dataset, second["galleries"]["local"]) == [EGO[0], EGO[2]]
    (tmp_path / "gallery.csv").write_text('global_idx,local_idx\n"[0, 6]","[1, 2]"\n')
    with pytest.raises(UserError, match=r"gallery\.csv, row 1 .*field global_idx"):
        build(compose([*overrides, "data.gallery=gallery.csv"]).data).read(Place(tmp_path / "out"))


def test_finecvr_maps_ids_to_names_and_keeps_quotes(tmp_path):
    dataset = read("finecvr", tmp_path)
    query = queries(dataset, "test")["0"]
    assert (query["query_clip"], query["target_clips"]) == ("video_0", ["video_1"])
    assert query["modifications"] == ['the person is now "sitting"']
    assert query["tags"] == {"source": "hmdb", "class": "7"}
    assert len(gallery(dataset, query["galleries"]["corrected"])) == 5


def test_tf_covr_labels_and_galleries(tmp_path):
    dataset = read("tf-covr", tmp_path)
    train = queries(dataset, "train")["0"]
    assert train["target_label"] == "17"
    assert train["modifications"] == ["show with 2.5 somersaults, and 2 twists"]
    labels = {row["clip_id"]: row["label"] for row in dataset.clips.to_pylist()}
    assert labels[DIVES[0]] == "3"
    assert labels[DIVES[1]] == "17"
    query = queries(dataset, "test")["0"]
    assert query["target_clips"] == [DIVES[4], DIVES[5], DIVES[3]]
    named = {name: gallery(dataset, gallery_id) for name, gallery_id in query["galleries"].items()}
    assert named["published"] == [DIVES[4], DIVES[4]]
    assert set(named["targets"]) == set(named["corrected"]) == set(DIVES[2:6])
    assert set(named["all"]) == set(DIVES)
    assert len(named["all"]) == len(DIVES)


def test_mtcir_reads_declared_columns(tmp_path):
    rows = queries(read("mtcir", tmp_path), "train")
    assert rows["1"]["modifications"] == ["make it red", "in red"]
    assert rows["1"]["query_clip"] == "00/1"
    lines = json.dumps({"ref": "a.jpg", "tgt": "b.jpg", "edits": "make it red"})
    (tmp_path / "other.jsonl").write_text(lines)
    columns = "data.columns={query: ref, target: tgt, modifications: edits}"
    dataset = build(
        compose(["data=mtcir", f"data.root={tmp_path}", "data.media=none", "data.files=[other.jsonl]", columns]).data
    ).read(Place(tmp_path / "out"))
    assert queries(dataset, "train")["0"]["target_clips"] == ["b"]


def test_missing_files_are_listed_and_refused_or_left_out_as_asked(tmp_path):
    overrides = [*write("egocvr", tmp_path), "data.media=files"]
    for clip in EGO[:4]:
        write_image(tmp_path / "egocvr_clips" / clip.split("_")[0] / f"{clip}.png")
    out = Place(tmp_path / "out")
    with pytest.raises(UserError, match=r"1 files are missing .*4 of 5 clips, 2 of 3 queries.*missing\.tsv"):
        build(compose(overrides).data).read(out)
    assert (out / "missing.tsv").read_bytes().decode().startswith(EGO[4])
    dataset = build(compose([*overrides, "data.min_coverage=0.6"]).data).read(out)
    validate(dataset)
    assert dataset.coverage["share"] == pytest.approx(2 / 3)
    assert dataset.coverage["splits"]["test"] == {"clips": 5, "present": 4, "queries": 3, "kept": 2}
    assert EGO[4] not in gallery(dataset, "egocvr/global")
    reasons = {(row["reason"], row["clip_id"]) for row in dataset.quarantine.to_pylist()}
    assert reasons == {("missing", EGO[4]), ("query-without-file", EGO[4])}


def test_linked_folders_are_followed_and_loops_are_not(tmp_path):
    """Sets of hundreds of gigabytes lie on several disks."""
    overrides = [*write("egocvr", tmp_path), "data.media=files"]
    for clip in EGO:
        write_image(tmp_path / "disk" / clip.split("_")[0] / f"{clip}.png")
    (tmp_path / "egocvr_clips").mkdir()
    for video in ("u1", "u2"):
        (tmp_path / "egocvr_clips" / video).symlink_to(tmp_path / "disk" / video)
    (tmp_path / "disk" / "u1" / "loop").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "u1" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    dataset = build(compose(overrides).data).read(Place(tmp_path / "out"))
    assert dataset.coverage["splits"]["test"]["present"] == 5


def test_a_split_without_files_is_answered_with_the_others(tmp_path):
    overrides = [*write("webvid-covr", tmp_path), "data.media=files"]
    for row in webvid_rows(4):
        for name in (row["pth1"], row["pth2"]):
            write_image(tmp_path / "WebVid/2M/train" / f"{name}.png")
    with pytest.raises(UserError, match=r"go on with the rest: data\.splits=\[train\]"):
        build(compose(overrides).data).read(Place(tmp_path / "out"))


def test_a_file_that_changes_is_a_new_version(tmp_path):
    overrides = [*write("egocvr", tmp_path), "data.media=files"]
    reader = build(compose(overrides).data)
    before = reader.version
    assert reader.version == before
    write_image(tmp_path / "egocvr_clips" / "u1" / f"{EGO[0]}.png")
    with_image = reader.version
    (tmp_path / "egocvr_data.csv").write_text((tmp_path / "egocvr_data.csv").read_text() + "u3_1_2,#C C rests,u3\n")
    assert len({before, with_image, reader.version}) == 3


@pytest.mark.parametrize(
    ("name", "file", "field"),
    [
        ("tf-covr", "test_finegd.csv", "query_id"),
        ("cirr", "captions/cap.rc2.val.json", "pairid"),
        ("circo", "annotations/val.json", "id"),
    ],
)
def test_a_query_id_that_stands_twice_is_refused_by_its_row(name, file, field, tmp_path):
    overrides = write(name, tmp_path)
    text = (tmp_path / file).read_text()
    for old, new in (("\n1,", "\n0,"), ('"pairid": 11', '"pairid": 10'), ('{"id": 1', '{"id": 0')):
        text = text.replace(old, new)
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=rf"stands in an earlier row.*{file}, row 2.*field {field}"):
        build(compose(overrides).data).read(Place(tmp_path / "out"))


def test_rows_of_one_id_are_told_by_it():
    clips = tables.from_rows("clips", [{"clip_id": clip, "split": "test"} for clip in ("a", "b", "b")])
    empty = {name: tables.SCHEMAS[name].empty_table() for name in TABLES if name != "clips"}
    with pytest.raises(UserError, match="clip_id 'b' stands in 2 rows"):
        validate(Dataset(clips=clips, **empty))


def test_a_clip_of_train_that_is_tested_is_told(tmp_path, capsys):
    overrides = write("tf-covr", tmp_path)
    dataset = build(compose(overrides).data).read(Place(tmp_path / "out"))  # DIVES[2] is a target of both
    note = "1 clips of train are in test too: stage 1 leaves them out, queries of train do not"
    assert note in dataset.coverage["notes"]
    assert note in capsys.readouterr().out


def test_a_gallery_that_is_not_the_official_one_is_told(tmp_path):
    overrides = write("cirr", tmp_path / "cirr")
    (tmp_path / "cirr/image_splits/split.rc2.val.json").unlink()
    (note,) = build(compose(overrides).data).read(Place(tmp_path / "out")).coverage["notes"]
    assert "split.rc2.val.json is not there" in note
    overrides = [*write("circo", tmp_path / "circo"), "data.media=files", "data.splits=[val]", "data.min_coverage=0.5"]
    (tmp_path / "circo/COCO2017_unlabeled/annotations/image_info_unlabeled2017.json").unlink()
    for image in (1, 2, 5, 8):  # 7 is named by the annotations and counts as missing
        write_image(tmp_path / f"circo/COCO2017_unlabeled/unlabeled2017/{image:012d}.png")
    coverage = build(compose(overrides).data).read(Place(tmp_path / "out")).coverage
    assert coverage["splits"]["val"] == {"clips": 5, "present": 4, "queries": 2, "kept": 2}
    assert "the 4 images of the folder" in coverage["notes"][0]


def test_no_file_at_all_is_refused_whatever_share_is_asked_for(tmp_path):
    overrides = [*write("egocvr", tmp_path), "data.media=files", "data.min_coverage=0"]
    with pytest.raises(UserError, match=r"no query is left: 5 files are missing.*data\.media=none"):
        build(compose(overrides).data).read(Place(tmp_path / "out"))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data=circo"], "data.root"),
        (["data=circo", "data.root=/nowhere"], "no such folder"),
        (["data=circo", "data.splits=[train]"], "data.splits"),
        (["data=circo", "data.media=video"], "data.media"),
        (["data=circo", "data.min_coverage=90"], "data.min_coverage"),
        (["data=fashioniq", "data.categories=[hats]"], "data.categories"),
    ],
)
def test_a_mistaken_option_is_named(overrides, says, tmp_path):
    with pytest.raises(UserError, match=says):
        build(compose(overrides).data).read(Place(tmp_path))
