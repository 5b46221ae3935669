"""Every row exactly once an epoch, in the same global batches, for any number of rows, batch size and ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covr.errors import UserError
from covr.train.order import Order

SIZES = {"num_rows": st.integers(1, 60), "batch_size": st.integers(1, 20), "seed": st.integers(0, 5)}


def valid_rows(order: Order, step: int, rank: int, world: int) -> list[int]:
    batch = order.global_batch(step)
    padded, part = batch.padded(world), batch.part(rank, world)
    return padded.rows[part][padded.valid[part]].tolist()


@given(**SIZES, world=st.integers(1, 5), epoch=st.integers(0, 3))
def test_every_row_exactly_once_an_epoch(num_rows, batch_size, seed, world, epoch):
    order = Order(num_rows=num_rows, batch_size=batch_size, seed=seed)
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    read = [row for step in steps for rank in range(world) for row in valid_rows(order, step, rank, world)]
    assert sorted(read) == list(range(num_rows))
    assert {order.epoch(step) for step in steps} == {epoch}


@given(**SIZES, world=st.integers(1, 5))
def test_ranks_hold_equal_parts_and_the_order_of_one_worker(num_rows, batch_size, seed, world):
    order = Order(num_rows=num_rows, batch_size=batch_size, seed=seed)
    for step in range(2 * order.steps_per_epoch):
        batch = order.global_batch(step)
        padded = batch.padded(world)
        parts = [padded.rows[batch.part(rank, world)] for rank in range(world)]
        assert len({len(part) for part in parts}) == 1
        assert sum(map(len, parts)) == len(padded.rows)
        dealt = [row for rank in range(world) for row in valid_rows(order, step, rank, world)]
        assert dealt == valid_rows(order, step, 0, 1)
        assert not np.diff(padded.valid.astype(int)).max(initial=-1) > 0, "padding comes last"


def test_epochs_and_seeds_differ():
    order = Order(num_rows=50, batch_size=50, seed=0)
    first, second = (order.global_batch(step).rows.tolist() for step in (0, 1))
    other = Order(num_rows=50, batch_size=50, seed=1).global_batch(0).rows.tolist()
    assert first != second
    assert first != other


def test_random_numbers_depend_on_step_and_place_alone():
    order = Order(num_rows=5, batch_size=2, seed=3)
    draws = {(step, place): order.generator(step, place).random() for step in range(4) for place in (-1, 0, 1)}
    assert len(set(draws.values())) == len(draws)
    assert order.generator(2, 1).random() == draws[2, 1]


def test_no_rows_is_a_users_error():
    with pytest.raises(UserError, match="no rows to train on"):
        Order(num_rows=0, batch_size=2, seed=0)
