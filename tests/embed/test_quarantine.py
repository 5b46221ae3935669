from collections import Counter

import pytest

from covr.embed.quarantine import Quarantine, check_budget, settled
from covr.errors import UserError
from covr.storage import Place


def row(clip_id, reason, attempt=1, key="k"):
    return {"clip_id": clip_id, "key": key, "uri": "u", "reason": reason, "detail": "d", "attempt": attempt}


def test_the_latest_attempt_counts(tmp_path):
    quarantine = Quarantine(Place(tmp_path), "embed")
    quarantine.write([row("a", "corrupt"), row("b", "timeout")])
    quarantine.write([row("b", "crashed", attempt=2)])
    quarantine.write([row("a", "corrupt"), row("b", "timeout")])  # a retry of the first write
    Quarantine(Place(tmp_path), "frames").write([row("c", "empty")])
    assert quarantine.refusals() == {("a", "k"): (1, "corrupt"), ("b", "k"): (2, "crashed")}
    assert len(quarantine.store.read()) == 4


def test_only_a_reason_that_may_lie_in_the_machine_gets_a_second_attempt():
    assert settled(1, "corrupt")
    assert not settled(1, "timeout")
    assert settled(2, "timeout")


def test_the_budget_names_the_reasons(tmp_path):
    quarantine = Quarantine(Place(tmp_path), "embed")
    check_budget(Counter(corrupt=1), 10, 0.1, quarantine)
    with pytest.raises(UserError, match=r"3 of 10 clips are refused \(2 corrupt, 1 empty\), allowed are 10%"):
        check_budget(Counter(corrupt=2, empty=1), 10, 0.1, quarantine)
