"""What the doctor makes of nodes that differ."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from covr.doctor.cluster import door
from covr.doctor.nodes import _gpus, differences, skew


def test_versions_that_differ_are_told_with_their_nodes():
    one = {"Python": "3.11.9", "torch": "2.14.1", "six": "1.0"}
    (fine,) = differences({"a": one, "b": dict(one)})
    assert (fine.state, fine.found) == ("ok", "the same 3 packages on all nodes")
    other = {"Python": "3.11.9", "torch": "2.13.0"}
    found = {each.check: each for each in differences({"a": one, "b": other})}
    assert found["versions of torch"].state == "fault"
    assert found["versions of torch"].found == "2.14.1 on a, 2.13.0 on b"
    assert (found["versions of six"].state, found["versions of six"].found) == ("advice", "1.0 on a, none on b")


def test_clocks_that_are_apart():
    (fine,) = skew({"a": 0.1, "b": -0.2})
    assert (fine.state, fine.found) == ("ok", "0.30 s apart at most")
    (off,) = skew({"a": 0.0, "b": -75.0})
    assert off.state == "fault"
    assert off.found == "75.00 s apart at most; furthest off is b"


def test_gpus_that_ray_gives_away_and_torch_cannot_use():
    assert _gpus("a", 1.0, 0).state == "fault"
    assert _gpus("a", 0.0, 2).state == "advice"
    assert _gpus("a", 2.0, 2).state == "ok"


def test_a_job_server_that_takes_jobs_from_anybody():
    class Open(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Open)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = door(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    assert found.state == "fault"
    assert "takes jobs from anybody" in found.found
