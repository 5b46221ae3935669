"""A published file becomes a folder and a file again, by function and by command; a bad file leaves nothing."""

from __future__ import annotations

import os

import pytest
import torch
from golden_values import Golden, fill_by_name
from typer.testing import CliRunner

from covr.checkpoints.folders import export_checkpoint, import_checkpoint, load_folder
from covr.checkpoints.layouts import LAYOUTS
from covr.checkpoints.published import published_tensors
from covr.checkpoints.reader import read_checkpoint
from covr.cli.main import commands
from covr.errors import UserError
from covr.models import AIM, AIMConfig, Combiner, ComposedRetriever, load_published, save_published
from covr.models.joint import BlipRetriever, TFCoVRConfig, TFCoVRRetriever
from covr.models.text.clip import ClipTextConfig
from covr.storage import Place

BLIP = Golden("blip_cir")
SIZES = {"num_heads": 4, "text_num_heads": 4, "enc_token_id": 98}
UNUSED = {"temp": torch.tensor(0.07), "itm_head.weight": torch.ones(2, 32)}


def blip_file(path, scale=0.12, **changed):
    tensors = fill_by_name(BLIP.facts["covr/keys"], scale) | UNUSED | changed
    torch.save({"model": {name: t for name, t in tensors.items() if t is not None}, "epoch": 4}, path)
    return path


def same(found, expected):
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@torch.no_grad()
def test_joint_model_in_and_out(tmp_path):
    file = blip_file(tmp_path / "webvid-covr.ckpt")
    place = Place(tmp_path / "covr")
    import_checkpoint("covr", file, place, sizes=SIZES)
    assert {"config.json", "weights.safetensors", "README.md", "published.json", "unused.safetensors"} == set(
        place.list()
    )
    retriever = ComposedRetriever.load(str(place))
    assert isinstance(retriever, BlipRetriever)
    query = retriever.embed_query(BLIP["img"][:, None], BLIP.tokens("ids35"))
    torch.testing.assert_close(query, BLIP["covr/query_feat"], rtol=0, atol=1e-5)
    assert export_checkpoint(place, tmp_path / "again.ckpt") == "covr"
    again = read_checkpoint(tmp_path / "again.ckpt")
    same(again.tensors, read_checkpoint(file).tensors)
    assert again.wrapper == "model"


def test_without_the_unused_tensors(tmp_path):
    file = blip_file(tmp_path / "webvid-covr.ckpt")
    import_checkpoint("covr", file, Place(tmp_path / "covr"), sizes=SIZES, keep_unused=False)
    export_checkpoint(Place(tmp_path / "covr"), tmp_path / "again.ckpt")
    whole = read_checkpoint(file).tensors
    same(read_checkpoint(tmp_path / "again.ckpt").tensors, {k: v for k, v in whole.items() if k not in UNUSED})


def test_video_encoder_and_combiner_in_and_out(tmp_path):
    aim = {f"backbone.{n}": t for n, t in fill_by_name(Golden("aim_vit_clip").facts["t1/keys"], 0.05).items()}
    aim["cls_head.fc_cls.weight"] = torch.ones(5, 32)
    torch.save({"meta": {"epoch": 30}, "state_dict": aim}, tmp_path / "aim.pth")
    import_checkpoint("aim", tmp_path / "aim.pth", Place(tmp_path / "aim"), sizes={"num_heads": 4})
    assert isinstance(load_folder(Place(tmp_path / "aim")), AIM)
    export_checkpoint(Place(tmp_path / "aim"), tmp_path / "aim-again.pth")
    same(read_checkpoint(tmp_path / "aim-again.pth").tensors, aim)

    combiner = fill_by_name(Golden("combiner").facts["tiny/keys"], 0.05)
    torch.save(combiner, tmp_path / "combiner.pth")
    import_checkpoint("combiner", tmp_path / "combiner.pth", Place(tmp_path / "combiner"))
    assert isinstance(load_folder(Place(tmp_path / "combiner")), Combiner)
    export_checkpoint(Place(tmp_path / "combiner"), tmp_path / "combiner-again.pth")
    same(read_checkpoint(tmp_path / "combiner-again.pth").tensors, combiner)


class Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def damaged(kind, path):
    blip_file(path)
    match kind:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-4000])
        case "missing":
            blip_file(path, **{"text_proj.bias": None})
        case "shape":
            blip_file(path, **{"vision_proj.weight": torch.zeros(16, 47)})
        case "code":
            torch.save({"model": fill_by_name(BLIP.facts["covr/keys"], 0.1), "x": Payload(path.parent / "ran")}, path)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("truncated", "truncated or damaged"),
        ("missing", "1 tensors are missing, the first text_proj.bias"),
        ("shape", "tensor vision_proj.weight has the shape (16, 47)"),
        ("code", "carries code"),
    ],
)
def test_a_bad_file_is_one_line_and_leaves_nothing(tmp_path, kind, says):
    damaged(kind, tmp_path / "bad.ckpt")
    with pytest.raises(UserError) as caught:
        import_checkpoint("covr", tmp_path / "bad.ckpt", Place(tmp_path / "covr"), sizes=SIZES)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.ckpt"]


def test_commands(tmp_path):
    file = blip_file(tmp_path / "webvid-covr.ckpt")
    sizes = [part for name, value in SIZES.items() for part in ("--size", f"{name}={value}")]
    run = CliRunner().invoke(commands, ["import-checkpoint", "covr", str(file), str(tmp_path / "covr"), *sizes])
    assert run.exit_code == 0, run.output
    assert "used: 129" in run.output
    assert "ignored: 2 (temp, itm_head.weight)" in run.output
    assert "other entries, not read: 1 (epoch)" in run.output
    run = CliRunner().invoke(commands, ["export-checkpoint", str(tmp_path / "covr"), str(tmp_path / "again.ckpt")])
    assert run.exit_code == 0, run.output
    same(read_checkpoint(tmp_path / "again.ckpt").tensors, read_checkpoint(file).tensors)
    for arguments in (
        ["import-checkpoint", "covr", str(file), str(tmp_path / "covr"), *sizes],  # taken
        ["import-checkpoint", "covr", str(file), str(tmp_path / "new"), "--size", "num_heads"],
        ["export-checkpoint", str(tmp_path / "covr"), str(tmp_path / "again.ckpt")],  # taken
        ["export-checkpoint", str(tmp_path / "nothing"), str(tmp_path / "new.ckpt")],
    ):
        assert isinstance(CliRunner().invoke(commands, arguments).exception, UserError)


def test_names_that_look_like_markup_are_printed_as_they_are(tmp_path):
    file = blip_file(tmp_path / "[bold]x[red].ckpt", **{"[/red]\x1b[2J": torch.zeros(1)})
    sizes = [part for name, value in SIZES.items() for part in ("--size", f"{name}={value}")]
    run = CliRunner().invoke(commands, ["import-checkpoint", "covr", str(file), str(tmp_path / "covr"), *sizes])
    assert run.exit_code == 0, run.output
    assert "[bold]x[red].ckpt: zip file" in run.output
    assert "[/red]?[2J" in run.output


def test_a_folder_that_was_not_imported_needs_the_layouts_name(tmp_path):
    file = blip_file(tmp_path / "webvid-covr.ckpt")
    loaded = import_checkpoint("covr", file, Place(tmp_path / "covr"), sizes=SIZES)
    loaded.module.save(Place(tmp_path / "trained"))
    with pytest.raises(UserError, match="--layout"):
        export_checkpoint(Place(tmp_path / "trained"), tmp_path / "out.ckpt")
    export_checkpoint(Place(tmp_path / "trained"), tmp_path / "out.ckpt", "covr")
    same(read_checkpoint(tmp_path / "out.ckpt").tensors, published_tensors(loaded.module, LAYOUTS["covr"]))


@pytest.fixture
def stage2(tmp_path):
    """A file of TF-CoVR's stage 2 (CLIP's text tower), and one of the AIM encoder behind its vectors."""
    torch.manual_seed(0)
    text = ClipTextConfig(vocab_size=49408, dim=16, depth=1, num_heads=2, projection_dim=12)
    save_published(TFCoVRRetriever(TFCoVRConfig(text=text, dim=16, combiner=(6, 10))), "tf-covr", tmp_path / "s2.ckpt")
    save_published(
        AIM(AIMConfig(image_size=32, num_frames=4, dim=16, depth=1, num_heads=2)), "aim", tmp_path / "aim.pth"
    )
    return tmp_path / "s2.ckpt", tmp_path / "aim.pth"


@torch.no_grad()
def test_tf_covr_with_its_video_encoder_reads_frames(tmp_path, stage2):
    file, video = stage2
    run = ["import-checkpoint", "tf-covr", str(file), str(tmp_path / "served"), "--size", "text_num_heads=2"]
    done = CliRunner().invoke(commands, [*run, "--video", str(video), "--video-size", "num_heads=2"])
    assert done.exit_code == 0, done.output
    retriever = ComposedRetriever.load(str(tmp_path / "served"))
    frames = torch.randint(0, 256, (2, 4, 3, 40, 50), dtype=torch.uint8)
    aim = load_published("aim", video, num_heads=2)
    vectors = aim.pool(aim(aim.preprocess(frames)))
    text = ["show it twice", "mirror it"]
    torch.testing.assert_close(retriever.embed_query(frames, text), retriever.embed_query(vectors, text))
    torch.testing.assert_close(retriever.embed_target(frames), retriever.embed_target(vectors))
    encoder = retriever.query_encoder
    torch.testing.assert_close(encoder.features(encoder.resize(frames))["pooled"], vectors)
    # The published file has no video encoder, and gets none.
    export_checkpoint(Place(tmp_path / "served"), tmp_path / "again.ckpt")
    same(read_checkpoint(tmp_path / "again.ckpt").tensors, read_checkpoint(file).tensors)


def test_a_video_encoder_that_does_not_fit_leaves_nothing(tmp_path, stage2):
    file, video = stage2
    sizes = {"sizes": {"text_num_heads": 2}, "video_sizes": {"num_heads": 2}}
    place = Place(tmp_path / "served")
    with pytest.raises(UserError, match="belongs to the layout tf-covr"):
        import_checkpoint("covr", file, place, video=video)
    save_published(
        AIM(AIMConfig(image_size=32, num_frames=4, dim=24, depth=1, num_heads=2)), "aim", tmp_path / "wide.pth"
    )
    with pytest.raises(UserError, match="vectors have 24 values, the combiner reads 16"):
        import_checkpoint("tf-covr", file, place, video=tmp_path / "wide.pth", **sizes)
    video.write_bytes(video.read_bytes()[:-2000])
    with pytest.raises(UserError, match="truncated or damaged"):
        import_checkpoint("tf-covr", file, place, video=video, **sizes)
    assert not place.exists()


@torch.no_grad()
def test_positions_are_resized_for_another_size_of_the_picture(tmp_path):
    file = blip_file(tmp_path / "webvid-covr.ckpt")
    same_size, larger = (load_published("covr", file, **SIZES, image_size=size) for size in (32, 64))
    assert larger.embed_target(torch.rand(1, 2, 3, 64, 64)).shape == (1, 16)
    own, resized = same_size.visual_encoder.pos_embed, larger.visual_encoder.pos_embed
    assert (own.shape[1], resized.shape[1]) == (5, 17)
    torch.testing.assert_close(resized[:, 0], own[:, 0])  # the class token's stays
    grid = own[:, 1:].reshape(1, 2, 2, -1).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, (4, 4), mode="bicubic").flatten(2).mT
    torch.testing.assert_close(resized[:, 1:], expected)
