from __future__ import annotations

import pickle

import pytest

from covr.errors import UserError
from covr.storage import Place
from covr.storage.overlay import Overlay


def test_shared_folders_lead_elsewhere_and_all_others_do_not(tmp_path):
    root = Place(tmp_path)
    overlay = Overlay(root / "seed-1", {"tables": root / "tables"})
    for place in (overlay, pickle.loads(pickle.dumps(overlay))):
        assert str(place / "tables") == str(root / "tables")
        assert str(place / "tables/clips") == str(place / "tables" / "clips") == str(root / "tables" / "clips")
        assert str(place.resolve("tables/x.mp4")) == str(root / "tables/x.mp4")
        assert str(place / "tablesque") == str(root / "seed-1/tablesque")
        with pytest.raises(UserError, match="may not leave"):
            place / "tables/../.."
