"""What the application can be told."""

from __future__ import annotations

import pytest

from serve.settings import Settings


@pytest.mark.parametrize("field", [{"max_batch_size": 0}, {"batch_wait_s": -1}, {"timeout_s": 0}, {"unknown": 1}])
def test_settings_that_make_no_sense_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        Settings(root="x", **field)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shards": 2}, "for topology separate"),
        ({"max_encoders": 2}, "for topology separate"),
        ({"topology": "separate", "encoders": 3, "max_encoders": 2}, "less than encoders"),
        ({"topology": "separate", "encoders": 2, "upscale_delay_s": 1}, "upscale_delay_s says nothing"),
        ({"watch_s": 0}, "watch_s"),
        ({"retrievers": {"default": "y"}}, "named default"),
        ({"retrievers": {"A b": "y"}}, "pattern"),
        ({"topology": "scattered"}, "colocated"),
    ],
)
def test_what_does_not_go_together_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        Settings(root="x", **given)


def test_every_retriever_has_its_root():
    assert Settings(root="x", retrievers=None).roots == {"default": "x"}
    assert Settings(root="x", retrievers={"other": "y"}).roots == {"default": "x", "other": "y"}
