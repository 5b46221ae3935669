"""Video encoders in and out of folders; shipped, pretrained and absent weights."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from omegaconf import OmegaConf
from timm.models.vision_transformer import VisionTransformer

from covr.config.compose import compose
from covr.errors import UserError
from covr.models import AIM, AIMConfig, build_video, load_video, save_video
from covr.models.video import store
from covr.storage import Place

CONFIG = AIMConfig(image_size=32, patch_size=16, num_frames=4, dim=16, depth=2, num_heads=2)
PIXELS = torch.randn(2, 4, 3, 32, 32)


def model(init: str, weights: str | None = None):
    video = {
        "_target_": "covr.models.video.AIMConfig",
        **{name: getattr(CONFIG, name) for name in ("image_size", "patch_size", "num_frames", "dim", "depth")},
        "num_heads": CONFIG.num_heads,
        "weights": weights,
    }
    return OmegaConf.create({"video": video, "init": init})


@torch.no_grad()
def test_round_trip(tmp_path):
    encoder = AIM(CONFIG).eval()
    save_video(encoder, Place(tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    loaded = load_video(Place(tmp_path / "there"))
    assert loaded.fingerprint() == encoder.fingerprint()
    assert not loaded.training
    assert torch.equal(loaded(PIXELS), encoder(PIXELS))
    assert f"{sum(p.numel() for p in encoder.parameters()):,} parameters" in (tmp_path / "there/README.md").read_text()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"torn"), "not the file that was saved"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "no such file"),
        (lambda folder: (folder / "config.json").write_text('{"kind": "retriever"}'), "expected a 'video encoder'"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, spoil, message):
    save_video(AIM(CONFIG), Place(tmp_path))
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        load_video(Place(tmp_path))


def test_options_of_another_version_are_told(tmp_path):
    save_video(AIM(CONFIG), Place(tmp_path))
    written = json.loads((tmp_path / "config.json").read_text())
    written["config"]["stem_norm"] = "group"
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(UserError, match=r"another version of covr.*stem_norm"):
        load_video(Place(tmp_path))


def test_scratch_follows_the_seed():
    torch.manual_seed(3)
    first = build_video(model("scratch")).fingerprint()
    torch.manual_seed(3)
    assert build_video(model("scratch")).fingerprint() == first


@pytest.mark.parametrize("layout", ["timm", "openai"])
@torch.no_grad()
def test_pretrained_starts_as_clip_frame_by_frame(tmp_path, layout):
    clip = VisionTransformer(
        img_size=32, patch_size=16, num_classes=8, embed_dim=16, depth=2, num_heads=2, pre_norm=True,
        norm_layer="layernorm", act_layer="quick_gelu",
    ).eval()  # fmt: skip
    for module in clip.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5
    state = {name: torch.randn_like(tensor) * 0.1 for name, tensor in clip.state_dict().items()}
    clip.load_state_dict(state)
    if layout == "openai":
        state = openai(state)
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    encoder = build_video(model("pretrained", str(tmp_path))).eval()
    expected = clip.forward_features(PIXELS.flatten(0, 1))[:, 0]
    torch.testing.assert_close(encoder(PIXELS).flatten(0, 1), expected, atol=1e-5, rtol=1e-5)


def openai(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = {
        "patch_embed.proj": "conv1", "norm_pre": "ln_pre", "norm.": "ln_post.", "blocks": "transformer.resblocks",
        "norm1": "ln_1", "norm2": "ln_2", "qkv.": "in_proj_", "attn.proj": "attn.out_proj", "fc1": "c_fc",
        "fc2": "c_proj",
    }  # fmt: skip
    published = {}
    for name, tensor in state.items():
        if name == "cls_token":
            published["visual.class_embedding"] = tensor[0, 0]
        elif name == "pos_embed":
            published["visual.positional_embedding"] = tensor[0]
        elif name == "head.weight":
            published["visual.proj"] = tensor.T.contiguous()
        elif name != "head.bias":
            for ours, theirs in names.items():
                name = name.replace(ours, theirs) if ours != "norm." or name.startswith("norm.") else name
            published[f"visual.{name}"] = tensor
    return published


def test_absent_weights_say_what_to_give(tmp_path):
    with pytest.raises(UserError, match=r"model\.video\.weights.*give a checkpoint file"):
        build_video(compose(["model=tf-covr-base"]).model)
    with pytest.raises(UserError, match=r"no weights there.*nothing-here"):
        build_video(model("pretrained", str(tmp_path / "nothing-here")))
    with pytest.raises(UserError, match="choose scratch, backbone or pretrained"):
        build_video(model("somehow"))


def test_weights_that_do_not_fit_are_refused(tmp_path):
    state = {name.removeprefix("vit."): tensor for name, tensor in AIM(CONFIG).state_dict().items()}
    del state["blocks.1.mlp.fc1.weight"]
    safetensors.torch.save_file(state, tmp_path / "partial.safetensors")
    with pytest.raises(UserError, match=r"misses tensor blocks\.1\.mlp\.fc1\.weight"):
        build_video(model("pretrained", str(tmp_path / "partial.safetensors")))


def test_the_shipped_backbone_is_checked_by_its_hash(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "BACKBONE", Place(tmp_path))
    with pytest.raises(UserError, match=r"model\.init=scratch"):
        build_video(model("backbone"))
    encoder = AIM(CONFIG)
    weights = tmp_path / "aim-tiny.safetensors"
    safetensors.torch.save_file(encoder.state_dict(), weights)
    record = {"command": "as recorded", "seed": 1, "sha256": Place(weights).sha256()}
    (tmp_path / "aim-tiny.json").write_text(json.dumps(record))
    assert build_video(model("backbone")).fingerprint() == encoder.fingerprint()
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="another hash"):
        build_video(model("backbone"))
