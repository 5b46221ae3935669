"""Cross-attention as published; weighted sum and slerp by their geometry."""

from __future__ import annotations

import pytest
import torch
from golden_values import Golden

from covr.models.fusion import FusionConfig, build_fusion
from covr.models.fusion.cross_attention import CrossAttentionCombiner
from covr.models.fusion.weighted import slerp, weighted_sum

GOLDEN = Golden("combiner")


@torch.no_grad()
def test_cross_attention_as_published():
    combiner = CrossAttentionCombiner(16).eval()
    combiner.load_state_dict(GOLDEN.below("crossattn/state_dict/"))
    found = combiner(GOLDEN["crossattn/img"], GOLDEN["crossattn/txt"])
    torch.testing.assert_close(found, GOLDEN["crossattn/out"], rtol=0, atol=1e-5)


def unit_rows(seed):
    rows = torch.randn(5, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=-1)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_slerp_divides_the_arc(share):
    video, text = unit_rows(0), unit_rows(1)
    point = slerp(video, text, share)
    angle = lambda a, b: torch.acos((a * b).sum(dim=-1).clamp(-1, 1))  # noqa: E731
    torch.testing.assert_close(angle(video, point), share * angle(video, text), rtol=0, atol=1e-6)
    torch.testing.assert_close(point.norm(dim=-1), torch.ones(5, dtype=torch.float64))


def test_slerp_of_parallel_vectors_is_finite_with_finite_gradients():
    video = unit_rows(0).requires_grad_()
    point = slerp(video, video.detach(), 0.3)
    torch.testing.assert_close(point, video)
    assert torch.autograd.grad(point.sum(), video)[0].isfinite().all()


def test_the_average_is_the_weighted_sum_of_halves():
    video, text = unit_rows(0), unit_rows(1)
    average = build_fusion(FusionConfig(kind="average"), 8)(3 * video, text)
    halves = build_fusion(FusionConfig(kind="weighted-sum"), 8)(3 * video, text)
    torch.testing.assert_close(halves, average)
    torch.testing.assert_close(weighted_sum(video, text, 1.0), text)
    torch.testing.assert_close(build_fusion(FusionConfig(kind="slerp"), 8)(3 * video, text), average)
    assert build_fusion(FusionConfig(kind="cross-attention", num_heads=2), 8)(video.float(), text.float()).shape == (
        5,
        8,
    )
    with pytest.raises(ValueError, match="text_share"):
        FusionConfig(text_share=1.5)
