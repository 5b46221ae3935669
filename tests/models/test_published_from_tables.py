"""Each published system as its YAML, its weights from a published file, its features from the table that embed writes:
the golden values of the published implementations."""

from __future__ import annotations

import pytest
import torch
from golden_values import Golden, fill_by_name

from covr import tables
from covr.checkpoints.published import fill_published, write_checkpoint
from covr.clips import version
from covr.config.compose import compose
from covr.embed.features import Features
from covr.embed.read import SideFeatures
from covr.errors import UserError
from covr.losses import HardNegativeNCE, WeightedTargets
from covr.models import AIM, AIMConfig, ComposedRetriever, build_retriever, build_video, save_published
from covr.models.joint.store import build_joint
from covr.storage import Place, TableStore

BLIP, STAGE2 = Golden("blip_cir"), Golden("aim_cir_stage2")
LOSS = HardNegativeNCE(weights="published")
EDIT = BLIP.tokens("ids35")
CAPTION, DESCRIPTION = BLIP.tokens("desc_ids256"), BLIP.tokens("desc_ids35")
TEXT = {name: STAGE2[name] for name in ("input_ids", "attention_mask")}
PROMPT = {"prompt_proj.weight": [48, 32], "prompt_proj.bias": [48]}


def option(path: str, target: str, **sizes: object) -> str:
    values = ",".join(f"{name}:{value}" for name, value in {"_target_": target, **sizes}.items())
    return f"++model.joint.{path}={{{values}}}"


IMAGE = "covr.models.image.vit.ImageConfig"
BLIP_SIZES = [
    option("image", IMAGE, image_size=32, patch_size=16, dim=48, depth=3, num_heads=4, ffn_dim=192),
    option(
        "text", "covr.models.text.med.MEDConfig",
        vocab_size=100, dim=32, depth=3, num_heads=4, ffn_dim=64, image_dim=48, enc_token_id=98,
    ),
    "++model.joint.projection_dim=16",
]  # fmt: skip
QFORMER = {
    "vocab_size": 101, "dim": 32, "depth": 4, "num_heads": 4, "ffn_dim": 64, "max_positions": 64,
    "num_queries": 8, "image_dim": 768,
}  # fmt: skip
QFORMER_CONFIG = "covr.models.text.qformer.QFormerConfig"
VIDEO = AIMConfig(image_size=32, patch_size=16, num_frames=2, dim=768, depth=1, num_heads=12)


def retriever(name: str, *sizes: str):
    """As `pretrain` and `embed` meet it: built from the YAML, saved, loaded."""
    joint = build_joint(compose([f"model={name}", *sizes]).model)
    place = Place(next(size for size in sizes if "ckpt.path" in size).split("=")[1] + "-model")
    joint.save(place)
    return ComposedRetriever.load(place)


def store(root: Place, model, *, query: torch.Tensor | None, target: torch.Tensor) -> SideFeatures:
    """Features of the clips q0.. and t0.. under the two encoders of a model, as `embed` leaves them."""
    clips = [{"clip_id": f"{side}{n}", "uri": "", "sha256": f"{side}{n}"} for side in "qt" for n in range(len(target))]
    table = tables.from_rows("clips", clips)
    TableStore(root / "tables/clips", "clips").publish(table, "0" * 32)
    sides = [("t", model.target_encoder, model.needs.target_feature, target)]
    if query is not None:
        sides.append(("q", model.query_encoder, model.needs.query_feature, query))
    for side, encoder, feature, values in sides:
        features = Features(root, encoder.fingerprint())
        features.describe(encoder.sampling, version("decord"))
        keys = dict(zip(table["clip_id"].to_pylist(), features.keys(table).to_pylist(), strict=True))
        rows = [
            {
                "clip_id": f"{side}{n}",
                "key": keys[f"{side}{n}"],
                "feature": feature,
                "value": value.flatten().tolist(),
                "shape": list(value.shape),
            }
            for n, value in enumerate(values)
        ]
        features.write(tables.from_rows("features", rows))
    return SideFeatures(root, model)


def ids(side: str, count: int) -> list[str]:
    return [f"{side}{n}" for n in range(count)]


def blip(tmp_path, name: str, *options: str):
    keys = BLIP.facts["covr/keys"] | (PROMPT if name == "bse-covr" else {})
    write_checkpoint(fill_by_name(keys, 0.12), "model", tmp_path / "blip.ckpt")
    return retriever(name, *BLIP_SIZES, f"model.ckpt.path={tmp_path / 'blip.ckpt'}", *options)


def blip_vectors(tmp_path, model, description=None):
    """The query and target vectors of the golden batch, read from tables."""
    with torch.no_grad():
        query = None if model.query_encoder is None else model.query_features(BLIP["img"][:, None])
    features = store(Place(tmp_path), model, query=query, target=BLIP["tar"][:, None])
    found = torch.from_numpy(features.query(ids("q", 4)))
    more = {} if description is None else {"descriptions": description}
    return model.embed_query(found, EDIT, **more), model.embed_target(torch.from_numpy(features.target(ids("t", 4))))


def near(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_blip_covr(tmp_path):
    query, target = blip_vectors(tmp_path, blip(tmp_path, "blip-covr"))
    near(query, BLIP["covr/query_feat"])
    both = WeightedTargets(LOSS, {"si_ti": 0.5, "si_tc": 0.5})
    near(both(query, {"si_ti": target, "si_tc": BLIP["txt"]}), BLIP["covr/loss_half_half"])


@pytest.mark.parametrize("modality", ["text", "visual"])
def test_blip_covr_of_one_modality(tmp_path, modality):
    near(LOSS(*blip_vectors(tmp_path, blip(tmp_path, f"blip-covr-{modality}"))), BLIP[f"covr_{modality}_loss"])


def test_bse_covr(tmp_path):
    model = blip(tmp_path, "bse-covr")
    near(LOSS(*blip_vectors(tmp_path, model, DESCRIPTION)), BLIP["bse/loss"])
    near(model.prompt(DESCRIPTION), BLIP["bse/prompt"])
    near(
        blip(tmp_path / "test", "bse-covr", "model.joint.description_token=enc").prompt(DESCRIPTION),
        BLIP["bse/prompt_test"],
    )


def test_ecde_with_the_caption_and_as_its_published_test_without(tmp_path):
    query, target = blip_vectors(tmp_path, blip(tmp_path, "ecde"), CAPTION)
    both = WeightedTargets(LOSS, {"si_ti": 0.8, "si_tm": 0.2})
    near(both(query, {"si_ti": target, "si_tm": BLIP["mm"]}), BLIP["ecde/loss"])
    published = blip(tmp_path / "test", "ecde", "model.joint.caption_in=training")
    assert published.needs.query_description is None
    near(blip_vectors(tmp_path / "test", published, CAPTION)[0], BLIP["covr/query_feat"])
    assert published.train().needs.query_description == "caption"


def stage2(tmp_path) -> dict[str, torch.Tensor]:
    shapes = {name: shape for name, shape in STAGE2.facts["keys"].items() if name.startswith("combiner.")}
    return STAGE2.below("state_dict_no_combiner/") | fill_by_name(shapes, 0.03)


def test_tf_covr_stage_2(tmp_path):
    torch.manual_seed(0)
    write_checkpoint(stage2(tmp_path), "model", tmp_path / "tf-covr.ckpt")
    save_published(AIM(VIDEO), "aim", tmp_path / "aim.pth")
    sizes = [
        option("text", QFORMER_CONFIG, **QFORMER),
        option("video", "covr.models.video.AIMConfig", image_size=32, num_frames=2, depth=1),
        f"model.ckpt.path={tmp_path / 'tf-covr.ckpt'}",
    ]
    with pytest.raises(UserError, match=r"model\.ckpt\.video"):
        retriever("tf-covr-published", *sizes)
    model = retriever("tf-covr-published", *sizes, f"model.ckpt.video={tmp_path / 'aim.pth'}")
    # Both sides are read by one encoder, and so from one table.
    assert model.query_encoder.fingerprint() == model.target_encoder.fingerprint()
    features = store(Place(tmp_path), model, query=STAGE2["ref"], target=STAGE2["tar"])
    query = model.embed_query(torch.from_numpy(features.query(ids("q", 5))), TEXT)
    near(query, STAGE2["composed"])
    near(LOSS(query, model.embed_target(torch.from_numpy(features.target(ids("t", 5))))), STAGE2["loss"])


def blip2(tmp_path, name: str, **fused: torch.Tensor):
    """A BLIP-2 model whose Q-Former and projections are those of the golden stage 2, behind a tiny image encoder."""
    sizes = [
        option("image", IMAGE, image_size=28, patch_size=14, dim=768, depth=1, num_heads=12, ffn_dim=32, drop_path=0.0),
        option("qformer", QFORMER_CONFIG, **QFORMER),
        "++model.joint.projection_dim=768",
        "++model.joint.combiner=[3072,6144]",
    ]
    torch.manual_seed(0)
    blank = build_joint(compose([f"model={name}", *sizes, "model.init=scratch"]).model)
    save_published(blank, "blip2", tmp_path / "blank.pth")
    tensors = torch.load(tmp_path / "blank.pth", weights_only=True)["model"]
    given = stage2(tmp_path)
    tensors |= {key: given[key] for key in given if key in tensors}
    write_checkpoint(tensors, "model", tmp_path / "blip2.pth")
    return retriever(name, *sizes, f"model.ckpt.path={tmp_path / 'blip2.pth'}")


def blip2_query(tmp_path, model, stored: torch.Tensor | None) -> torch.Tensor:
    target = torch.randn(5, 15, 8, 768, generator=torch.Generator().manual_seed(0))
    features = store(Place(tmp_path), model, query=stored, target=target)
    return model.embed_query(torch.from_numpy(features.query(ids("q", 5))), TEXT)


def mean_of(projection, states: torch.Tensor) -> torch.Tensor:
    unit = torch.nn.functional.normalize
    return unit(unit(projection(states), dim=-1).mean(dim=1), dim=-1)


@torch.no_grad()
def test_covr_2(tmp_path):
    model = blip2(tmp_path, "covr-2")
    query = blip2_query(tmp_path, model, STAGE2["img_tokens"])
    near(query, mean_of(model.text_proj, STAGE2["multimodal"][:, :8]))


@torch.no_grad()
def test_blip2_of_one_modality_and_with_the_combiner(tmp_path):
    text = blip2(tmp_path / "text", "blip2-text")
    near(blip2_query(tmp_path / "text", text, None), STAGE2["text_feat"])
    video = blip2(tmp_path / "video", "blip2-video")
    query = blip2_query(tmp_path / "video", video, STAGE2["img_tokens"])
    near(query, mean_of(video.vision_proj, STAGE2["image_mode"]))
    mlp = blip2(tmp_path / "mlp", "blip2-mlp")
    stored = STAGE2["ref"][:, None, None].expand(-1, 15, 8, -1)  # rows whose mean is the golden video vector
    near(blip2_query(tmp_path / "mlp", mlp, stored), STAGE2["composed"])


@torch.no_grad()
def test_tf_covr_base(tmp_path):
    """The composed kind: frames as AIM reads them, BERT from a published file, gated combiner."""
    write_checkpoint(stage2(tmp_path), "model", tmp_path / "stage2.ckpt")
    aim, variant = Golden("aim_vit_clip"), "t1"
    video = "image_size=32 patch_size=8 num_frames=4 dim=32 depth=3 num_heads=4 drop_path=0.0"
    bert = "layers=4 dim=32 num_heads=4 ffn_dim=64 vocab_size=101 max_positions=64"
    sizes = [
        *(f"++model.video.{size}" for size in video.split()),
        *(f"++model.text.{size}" for size in bert.split()),
        f"model.text.weights={tmp_path / 'stage2.ckpt'}",
        "model.init=scratch",
    ]
    # AIM's golden network is 32 wide, stage 2's vectors are 768 wide: each with the other part at random.
    cfg = compose(
        ["model=tf-covr-base", *sizes, "++model.fusion.projection_dim=8", "++model.fusion.hidden_dim=8"]
    ).model
    model = build_retriever(cfg, build_video(cfg)).eval()
    write_checkpoint(aim.below(f"{variant}/state_dict/"), "state_dict", tmp_path / "aim.pth")
    fill_published(model.video, "aim", tmp_path / "aim.pth")
    pooled = aim[f"{variant}/pooled"]
    features = store(Place(tmp_path / "aim"), model, query=pooled, target=pooled)
    expected = torch.nn.functional.normalize(pooled, dim=-1)
    near(model.embed_target(torch.from_numpy(features.target(ids("t", 2)))), expected)
    near(model.forward_target(aim[f"{variant}/x"].transpose(1, 2)), expected)

    cfg = compose(["model=tf-covr-base", *sizes, "++model.video.dim=768", "++model.video.num_heads=12"]).model
    model = build_retriever(cfg, build_video(cfg)).eval()
    given = stage2(tmp_path)
    model.text.projection.load_state_dict({name: given[f"text_proj.{name}"] for name in ("weight", "bias")})
    combiner = {name: given[f"combiner.{name}"] for name in model.fusion.combiner.state_dict()}
    model.fusion.combiner.load_state_dict(combiner)
    features = store(Place(tmp_path / "stage2"), model, query=STAGE2["ref"], target=STAGE2["tar"])
    query = model.embed_query(torch.from_numpy(features.query(ids("q", 5))), TEXT)
    near(query, STAGE2["composed"])
    near(LOSS(query, model.embed_target(torch.from_numpy(features.target(ids("t", 5))))), STAGE2["loss"])


@torch.no_grad()
def test_clip_mlp(tmp_path):
    """The golden combiner of width 1024 behind CLIP's towers, whose text projection gives the golden text vectors."""
    golden = Golden("combiner")
    sizes = [
        option("image", "covr.models.image.clip.ClipResNetConfig", image_size=32, layers="[1,1,1,1]", width=4),
        option("text", "covr.models.text.clip.ClipTextConfig", dim=16, depth=1, num_heads=2, projection_dim=1024),
    ]
    torch.manual_seed(0)
    blank = build_joint(compose(["model=clip-mlp", *sizes, "model.init=scratch"]).model).eval()
    words = torch.tensor([[49406, 5 + n, 49407] for n in range(4)])
    states = blank.text.text_model(words).pooler_output
    blank.text.text_projection.weight.copy_(torch.linalg.lstsq(states, golden["clip/txt"]).solution.T)
    shapes = {f"combiner.{name}": shape for name, shape in golden.facts["clip/keys"].items()}
    weights = {name: fill_by_name({name.removeprefix("combiner."): shape}, 0.05) for name, shape in shapes.items()}
    save_published(blank, "openai-clip", tmp_path / "blank.pt")
    tensors = torch.load(tmp_path / "blank.pt", weights_only=True)
    tensors |= {name: next(iter(one.values())) for name, one in weights.items()}
    write_checkpoint(tensors, None, tmp_path / "clip.pt")
    model = build_joint(compose(["model=clip-mlp", *sizes, f"model.ckpt.path={tmp_path / 'clip.pt'}"]).model).eval()
    frames = golden["clip/img"][:, None].expand(-1, 15, -1)
    features = store(Place(tmp_path), model, query=frames, target=frames)
    text = {"input_ids": words, "attention_mask": torch.ones_like(words)}
    near(model.embed_query(torch.from_numpy(features.query(ids("q", 4))), text), golden["clip/out"])


def test_short_clips_have_fewer_frames_and_no_weight_for_the_rest(tmp_path):
    model = blip(tmp_path, "blip-covr")
    frames = [BLIP["tar"][:, None].expand(-1, 3, -1)[n][: 3 - n % 2] for n in range(4)]
    features = store(Place(tmp_path), model, query=None, target=frames)
    found = torch.from_numpy(features.target(ids("t", 4)))
    assert found.shape == (4, 3, 16)
    near(model.embed_target(found), torch.nn.functional.normalize(BLIP["tar"], dim=-1))
    with pytest.raises(UserError, match=r"no clip is embedded with this encoder"):
        features.query(["q0"])
