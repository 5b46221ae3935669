"""What the application can be told."""

from __future__ import annotations

import pytest

from serve.settings import Settings


@pytest.mark.parametrize("field", [{"max_batch_size": 0}, {"batch_wait_s": -1}, {"timeout_s": 0}, {"unknown": 1}])
def test_settings_that_make_no_sense_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        Settings(root="x", **field)
