"""One endpoint for all tests of this folder."""

from __future__ import annotations

import pytest
from small_root import Served, build_root, options, small_retriever

from covr.storage import Place
from serve.run import serving


@pytest.fixture(scope="package")
def served(tmp_path_factory) -> Served:
    root, retriever = Place(tmp_path_factory.mktemp("served")), small_retriever()
    return Served(root=root, retriever=retriever, snapshot=build_root(root, retriever))


@pytest.fixture(scope="package")
def url(ray_cluster, served):
    """The endpoint below a route prefix, so that every link is seen to carry it."""
    with serving(served.root, options(port=0, route_prefix="/retrieval")) as address:
        yield address
