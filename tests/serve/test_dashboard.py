"""The Grafana dashboard asks for what /metrics has, and for all of it."""

from __future__ import annotations

import json
import re

import httpx
from prometheus_client.parser import text_string_to_metric_families
from small_root import TEXT


def test_every_panel_asks_for_metrics_that_are_there(url):
    httpx.post(f"{url}/v1/search", json={"text": TEXT}).raise_for_status()
    httpx.post(f"{url}/v1/search", json={"clip_id": "nope"})
    families = list(text_string_to_metric_families(httpx.get(f"{url}/metrics").text))
    labels: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    with open("platform/deploy/grafana.json") as file:
        dashboard = json.load(file)
    asked = set()
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            names = set(re.findall(r"covr_\w+", target["expr"]))
            assert names
            assert names <= labels.keys()
            asked |= names
            used = set(re.findall(r"(\w+)=~?\"", target["expr"]))
            for by in re.findall(r"by \(([^)]*)\)", target["expr"]):
                used |= set(by.split(", "))
            used |= set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert used <= set().union(*(labels[name] for name in names))
    stems = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in asked}
    assert stems == {family.name for family in families if not family.name.endswith("_created")}
