"""The classifier of stage 1."""

from __future__ import annotations

import torch

from covr.models import AIM, ActionClassifier, AIMConfig

CONFIG = AIMConfig(image_size=32, patch_size=16, num_frames=4, dim=16, depth=1, num_heads=2)


def test_one_head_for_the_label_and_one_for_each_attribute():
    attributes = {"count": ["1", "2", "3"], "side.of body": ["left", "right"]}
    logits = ActionClassifier(AIM(CONFIG), ["a", "b", "c", "d"], attributes)(torch.randn(2, 4, 3, 32, 32))
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        "label": (2, 4),
        "count": (2, 3),
        "side.of body": (2, 2),
    }


def test_the_published_form_has_the_label_alone():
    classifier = ActionClassifier(AIM(CONFIG), ["a", "b"], {})
    heads = {name for name, _ in classifier.named_parameters() if not name.startswith("encoder.")}
    assert heads == {"head.weight", "head.bias"}
    assert classifier.dropout.p == 0.5
    assert classifier.head.weight.std() < 0.02
