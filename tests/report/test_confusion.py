"""The confusion matrix as a picture: true labels down, dark where many."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from covr.report.confusion import mask, picture, shares


def test_rows_are_shares():
    np.testing.assert_allclose(shares(np.array([[1, 3], [0, 0]])), [[0.25, 0.75], [0, 0]])


def test_the_picture_shows_each_cell_where_it_is():
    image = Image.open(io.BytesIO(picture(np.array([[4, 0], [1, 3]]))))
    assert image.size == (720, 720)
    gray = np.asarray(image.convert("L"))
    cells = gray[180::360, 180::360].astype(int)
    assert cells[0, 1] == 255
    assert cells[0, 0] < cells[1, 1] < cells[1, 0] < 255


def test_the_mask_has_a_pixel_per_cell():
    found = Image.open(io.BytesIO(mask(np.eye(7))))
    assert (found.size, found.mode) == ((7, 7), "RGBA")
    np.testing.assert_array_equal(np.asarray(found)[..., 3], 255 * np.eye(7))
