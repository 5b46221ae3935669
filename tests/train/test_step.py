"""One step of stage 2 in this process: every option changes what it says, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import tiny_triplets
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm as total_norm

from covr.errors import UserError
from covr.losses import HardNegativeNCE, WeightedTargets
from covr.models import AIM, AIMConfig, ComposedRetriever, FusionConfig, build_fusion
from covr.storage import Place
from covr.train import checkpoint
from covr.train.blocks import compile_blocks, recompute_blocks
from covr.train.order import Order
from covr.train.recipe import Recipe
from covr.train.step import Step
from covr.train.task import Shard
from covr.train.triplets import TripletTask
from covr.train.workers import Workers

RECIPE = Recipe(max_epochs=2, batch_size=7, lr=1e-2, weight_decay=0.05, warmup=0.1, clip_grad=None, seed=1)
WORKERS = Workers(num=1, use_gpu=False, threads=1, data_cpus=0)
LOSS = HardNegativeNCE()
ALONE = Shard(rank=0, world=1, device=torch.device("cpu"), data_cpus=0)


@contextmanager
def kept_bytes() -> Iterator[dict[int, int]]:
    """Bytes of the storages that wait for the way back."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield kept


class WatchedTask(TripletTask):
    """Notes the seed and the encodings of every forward pass, and how much memory waits for the way back."""

    def forward(self, model, batch):
        self.seeds.append(torch.initial_seed())
        with kept_bytes() as kept:
            outputs = super().forward(model, batch)
        self.encoded.append(outputs["query"].detach().clone())
        self.kept_bytes.append(sum(kept.values()))
        return outputs


class Training:
    """A task, its order of rows and its step."""

    def __init__(
        self, root, *, dropout=0.0, recipe=RECIPE, workers=WORKERS, terms=None, kind=WatchedTask, captions=None
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.task = kind(
            ALONE,
            build=partial(tiny_triplets.retriever, dropout),
            loss=WeightedTargets(LOSS, terms or {"si_ti": 1.0}),
            root=root,
            vectors=root / "vectors.arrow",
            out=root / "out",
            captions=captions,
        )
        self.task.seeds, self.task.encoded, self.task.kept_bytes = [], [], []
        self.order = Order(num_rows=self.task.num_rows, batch_size=recipe.batch_size, seed=recipe.seed)
        self.num_steps = self.order.steps_per_epoch * recipe.max_epochs
        self.step = Step(self.task, recipe=recipe, workers=workers, shard=ALONE, num_steps=self.num_steps)
        # The usual first scale, 65536, overflows for some steps before it fits.
        self.step.scaler = torch.amp.GradScaler(
            "cpu", init_scale=256.0, growth_interval=2, enabled=workers.precision == "16-mixed"
        )
        self.model = self.task.model.train()

    def go(self, first: int = 0, last: int = 1) -> list[Tensor]:
        """The losses of steps first..last-1."""
        batches = self.task.batches(self.order, first, last)
        return [self.step(batch, number) for number, batch in enumerate(batches, first)]

    def gradients(self) -> dict[str, Tensor]:
        return {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.model.named_parameters() if p.requires_grad}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 0.0) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Place:
    place = Place(tmp_path_factory.mktemp("step"))
    tiny_triplets.build(place)
    return place


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(root):
    first, again, other = (Training(root, dropout=0.3, recipe=replace(RECIPE, seed=seed)) for seed in (1, 1, 2))
    losses = [torch.stack(training.go(0, 3)) for training in (first, again, other)]
    assert torch.equal(losses[0], losses[1])
    assert_equal(again.weights(), first.weights())
    assert not torch.equal(losses[0], losses[2])


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_half_precision_encodes_in_it_and_takes_the_loss_in_float32(root, precision):
    recipe = replace(RECIPE, clip_grad=100.0)  # gradients are then without the scale of 16-mixed
    full, half = (
        Training(root, recipe=recipe, workers=replace(WORKERS, precision=name)) for name in ("32-true", precision)
    )
    (expected,), (found,) = full.go(), half.go()
    assert found.dtype == torch.float32
    assert 0 < (half.task.encoded[0].float() - full.task.encoded[0]).abs().max() < 0.02
    assert abs(found - expected) < 0.05
    wrong = [half.gradients()[name] - gradient for name, gradient in full.gradients().items()]
    assert total_norm(wrong) < 0.1 * total_norm(list(full.gradients().values()))


def test_learns_its_triplets_by_heart_in_half_precision(root):
    recipe = replace(RECIPE, batch_size=tiny_triplets.NUM_TRIPLETS, max_epochs=80, warmup=0.0, clip_grad=1.0)
    training = Training(root, recipe=recipe, workers=replace(WORKERS, precision="16-mixed"))
    losses = training.go(0, 80)
    assert losses[-1] < 0.3 * losses[0]
    training.model.eval()
    with torch.inference_mode():
        assert training.task.validate()["mAP@10"] > 90


@pytest.mark.parametrize(("rows", "precision"), [(1, "32-true"), (3, "32-true"), (2, "16-mixed")])
def test_gradcache_gives_the_gradients_of_the_whole_batch_and_holds_a_part(root, rows, precision):
    recipe, workers = replace(RECIPE, clip_grad=100.0), replace(WORKERS, precision=precision)
    whole = Training(root, recipe=recipe, workers=workers)
    parts = Training(root, recipe=recipe, workers=replace(workers, gradcache_rows=rows))
    tolerance = 1e-5 if precision == "32-true" else 2e-2
    for step in (0, 1):  # the second batch of the epoch is padded
        (expected,), (found,) = whole.go(step, step + 1), parts.go(step, step + 1)
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
        wrong = [parts.gradients()[name] - gradient for name, gradient in whole.gradients().items()]
        assert total_norm(wrong) < tolerance * total_norm(list(whole.gradients().values()))
    assert max(parts.task.kept_bytes) < max(whole.task.kept_bytes)


def test_gradcache_draws_the_same_dropout_both_times(root):
    parts = Training(root, dropout=0.3, workers=replace(WORKERS, gradcache_rows=3))
    parts.go()
    first, second = parts.task.encoded[:3], parts.task.encoded[3:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len(set(parts.task.seeds[:3])) == 3, "each chunk has numbers of its own"

    # The same chunks with one graph through all of them.
    whole = Training(root, dropout=0.3)
    (batch,) = whole.task.batches(whole.order, 0, 1)
    encoded = []
    for seed, chunk in zip(parts.task.seeds, whole.task.chunks(batch, 3), strict=False):
        torch.manual_seed(seed)
        encoded.append(whole.task.forward(whole.model, chunk))
    whole.task.loss({name: torch.cat([part[name] for part in encoded]) for name in encoded[0]}, batch).backward()
    assert_equal(parts.gradients(), whole.gradients(), atol=1e-6)


def test_gradient_checkpointing_keeps_less_and_gives_the_same_gradients(root):
    plain, recomputed = Training(root, dropout=0.3), Training(root, dropout=0.3)
    recompute_blocks(recomputed.model)
    assert torch.equal(*(training.go()[0] for training in (plain, recomputed)))
    assert_equal(recomputed.gradients(), plain.gradients())
    assert recomputed.task.kept_bytes[0] < 0.7 * plain.task.kept_bytes[0]


def test_gradient_checkpointing_of_aim(root):
    def run(change) -> tuple[dict[str, Tensor], int]:
        torch.manual_seed(0)
        model = AIM(AIMConfig(image_size=16, num_frames=2, dim=16, depth=2, num_heads=2, drop_path=0.5)).train()
        change(model)
        with kept_bytes() as kept:
            output = model(torch.randn(4, 2, 3, 16, 16))
        output.square().sum().backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, sum(kept.values())

    (expected, much), (found, little) = run(lambda model: None), run(recompute_blocks)
    assert_equal(found, expected)
    assert little < 0.5 * much


def test_compiled_blocks_give_the_values_of_plain_ones():
    torch._dynamo.utils.counters.clear()
    plain, compiled = (build_fusion(FusionConfig(kind="weighted-sum", text_share=0.3), 8) for _ in range(2))
    compile_blocks(compiled)
    video, text = torch.randn(2, 3, 8)
    with torch.no_grad():  # a fifth of the time of compiling both ways
        torch.testing.assert_close(compiled(video, text), plain(video, text), rtol=0, atol=1e-6)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0


def test_the_gradient_is_clipped(root):
    free, clipped = Training(root), Training(root, recipe=replace(RECIPE, clip_grad=0.01))
    norms = []
    for training in (free, clipped):
        training.go()
        norms.append(total_norm(list(training.gradients().values())))
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


def test_parts_learn_at_their_own_rates(root):
    recipe = replace(RECIPE, weight_decay=0.0, lr_scale={"text": 0.5, "text.projection": 0.0})
    plain, scaled = Training(root, recipe=replace(recipe, lr_scale={})), Training(root, recipe=recipe)
    start = plain.weights()
    for training in (plain, scaled):
        training.go()
    for name, value in start.items():
        factor = 0.0 if name.startswith("text.projection") else 0.5 if name.startswith("text") else 1.0
        moved, expected = scaled.weights()[name] - value, plain.weights()[name] - value
        torch.testing.assert_close(moved, factor * expected, rtol=1e-2, atol=1e-6, msg=name)


def test_the_average_is_what_is_evaluated_and_saved(root):
    training = Training(root, recipe=replace(RECIPE, ema=0.3))
    expected = training.weights()
    for step in range(4):
        training.go(step, step + 1)
        stays = min(0.3, (1 + step) / (10 + step))
        expected = {name: stays * expected[name] + (1 - stays) * value for name, value in training.weights().items()}
    own = training.weights()
    training.model.eval()
    with training.step.averaged():
        assert_equal(training.weights(), expected, atol=1e-6)
        training.task.finish()
    assert_equal(training.weights(), own)
    saved = dict(ComposedRetriever.load(root / "out").named_parameters())
    assert_equal({name: saved[name].detach() for name in expected}, expected, atol=1e-6)
    assert not torch.allclose(expected["text.projection.weight"], own["text.projection.weight"], atol=1e-4)


def test_a_resume_in_mid_epoch_goes_on_bit_for_bit(root, tmp_path):
    """With everything that has a state: moments, average, loss scale; and dropout in chunks."""
    recipe = replace(RECIPE, max_epochs=4, batch_size=4, ema=0.9, clip_grad=1.0)  # 4 steps an epoch
    workers = replace(WORKERS, precision="16-mixed", gradcache_rows=2)
    make = partial(Training, root, dropout=0.3, recipe=recipe, workers=workers)
    calm, stopped = make(), make()
    expected = calm.go(0, 11)
    stopped.go(0, 6)
    record = {"scaler": stopped.step.scaler.state_dict()}
    checkpoint.save(tmp_path, stopped.model, stopped.step.optimizer, record, stopped.step.averages)

    resumed = make()
    read = checkpoint.load(tmp_path, resumed.model, resumed.step.optimizer, resumed.step.averages)
    resumed.step.scaler.load_state_dict(read["scaler"])
    assert torch.equal(torch.stack(resumed.go(6, 11)), torch.stack(expected[6:]))
    assert_equal(resumed.weights(), calm.weights())
    assert_equal(resumed.step.averages, calm.step.averages)
    assert resumed.step.scaler.get_scale() == calm.step.scaler.get_scale() > 256, "it has grown on both sides"


def test_captions_are_targets_of_their_own_weight_and_do_not_learn(root):
    losses = {}
    for terms in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)):
        training = Training(root, terms=dict(zip(("si_ti", "si_tc"), terms, strict=True)))
        before = {name: vectors.clone() for name, vectors in training.task.fixed_targets.items()}
        losses[terms] = training.go(0, 1)[0]
        assert_equal(training.task.fixed_targets, before)
    assert losses[0.5, 0.5] == pytest.approx((losses[1.0, 0.0] + losses[0.0, 1.0]).item() / 2, abs=1e-5)
    assert abs(losses[1.0, 0.0] - losses[0.0, 1.0]) > 0.01

    # By hand: the caption of each target, encoded by the text encoder before training.
    training = Training(root, terms={"si_tc": 1.0})
    (batch,) = training.task.batches(training.order, 0, 1)
    by_vector = {tuple(value): n for n, value in enumerate(training.task.vectors.values.tolist())}
    training.model.eval()
    texts = [f"number {by_vector[tuple(value)] % 4}" for value in batch["target"].tolist()]
    torch.testing.assert_close(batch["si_tc"], training.task.retriever.text(texts))
    query = training.task.retriever.forward_query(batch["query"], batch["texts"])
    expected = LOSS(query, batch["si_tc"], batch["positives_rows"], batch["valid"])
    assert losses[0.0, 1.0] == pytest.approx(expected.item(), abs=1e-5)


def test_captions_may_come_from_a_table_of_texts(root, tmp_path):
    """CoVR's txt2_*.pth; a caption that it lacks, or another width, is told."""
    texts = [f"number {n}" for n in range(4)]
    feats = torch.randn(4, tiny_triplets.DIM, generator=torch.Generator().manual_seed(0))

    def training(texts: list[str], feats: Tensor) -> Training:
        torch.save({"texts": texts, "feats": feats}, tmp_path / "txt2.pth")
        return Training(root, terms={"si_tc": 1.0}, captions=Place(tmp_path / "txt2.pth"))

    found = training(texts, feats).task.fixed_targets["si_tc"]
    expected = torch.nn.functional.normalize(feats, dim=-1)[[n % 4 for n in range(12)]]
    torch.testing.assert_close(found, expected)
    with pytest.raises(UserError, match=r"1 captions are not in the table.*txt2\.pth: 'number 3'"):
        training(texts[:3], feats[:3])
    with pytest.raises(UserError, match=r"vectors of shape \(5,\) for a model of 16"):
        training(texts, feats[:, :5])


def test_a_target_without_a_caption_is_named(tmp_path):
    place = Place(tmp_path)
    tiny_triplets.build(place, captions=tiny_triplets.CLIPS[1:])
    with pytest.raises(UserError, match=r"1 of 12 clips have no caption \[tables/texts: clip clip00\]"):
        Training(place, terms={"si_tc": 1.0})


def test_a_set_without_a_val_split_is_trained_and_one_without_train_is_told(tmp_path):
    """CC-CoIR, FineCVR and MTCIR publish no val split, EgoCVR and CIRCO nothing to train on."""
    place = Place(tmp_path / "train")
    tiny_triplets.build(place, splits=["train"])
    training = Training(place)
    assert len(training.go(0, 2)) == 2
    assert training.task.validate() == {}
    place = Place(tmp_path / "test")
    tiny_triplets.build(place, splits=["test"])
    with pytest.raises(UserError, match=r"no queries to train on.*split test.*model\.finetune\.max_epochs=0"):
        Training(place)
