"""Every route of the running endpoint, answering as it should."""

from __future__ import annotations

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urljoin

import httpx
import numpy as np
import pytest
import torch
from make_videos import make_video
from PIL import Image
from small_root import CLIP_IDS, CONFIDENT_FROM, TEXT, ranked


@pytest.fixture(scope="module")
def http(url):
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def search(http: httpx.Client, **query: object) -> dict:
    response = http.post("/v1/search", json=query)
    assert response.status_code == 200, response.text
    return response.json()


def upload(http: httpx.Client, content: bytes, **fields: str) -> dict:
    response = http.post("/v1/search", files={"video": ("a name.mp4", content)}, data=fields)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("clip_id", CLIP_IDS)
def test_a_query_by_clip_id_gets_the_retrievers_own_ranking_without_that_clip(http, served, clip_id):
    answer = search(http, clip_id=clip_id, text=TEXT, k=10)
    feature = served.snapshot.features_NF[served.snapshot.row(clip_id)]
    expected = ranked(served, feature, TEXT, without=clip_id)
    assert [result["clip_id"] for result in answer["results"]] == [name for name, _ in expected]
    np.testing.assert_allclose([r["score"] for r in answer["results"]], [score for _, score in expected], atol=1e-5)
    assert [result["rank"] for result in answer["results"]] == [1, 2, 3, 4]


def test_an_answer_says_what_answered_and_links_to_the_clips(http, served):
    response = http.post("/v1/search", json={"clip_id": "a", "text": TEXT, "k": 4})
    answer = response.json()
    assert answer["request_id"] == response.headers["x-request-id"]
    assert answer["retriever"] == served.retriever.fingerprint
    assert answer["index"] == served.snapshot.fingerprint
    assert answer["took_ms"] > 0
    by_id = {result["clip_id"]: result for result in answer["results"]}
    assert (by_id["segment"]["start_s"], by_id["segment"]["end_s"]) == (0.5, 2.0)
    assert (by_id["b"]["start_s"], by_id["b"]["end_s"]) == (None, None)
    assert by_id["b"]["label"] == "label 1"
    for result in answer["results"]:
        media = http.get(urljoin(str(http.base_url), result["media"]))
        assert media.content == served.media(result["clip_id"]).read_bytes()
        assert http.get(urljoin(str(http.base_url), result["thumbnail"])).headers["content-type"] == "image/jpeg"


def test_pages_follow_one_another_without_gap_or_repetition(http):
    whole = search(http, clip_id="a", text=TEXT, k=10)
    assert whole["next"] is None
    pages, cursor = [], None
    while not pages or cursor:
        page = search(http, clip_id="a", text=TEXT, k=3, **({"cursor": cursor} if cursor else {}))
        pages += page["results"]
        cursor = page["next"]
    assert pages == whole["results"]


def test_a_cursor_of_another_index_is_stale(http):
    cursor = search(http, clip_id="a", text=TEXT, k=1)["next"]
    answer = http.post("/v1/search", json={"clip_id": "a", "text": TEXT, "k": 1, "cursor": "0" * 16 + cursor[16:]})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:covr:problem:stale-cursor")


def test_a_text_alone_and_a_video_alone(http, served):
    with torch.inference_mode():
        text_D = served.retriever.text_target([TEXT])[0].numpy()
    own_D = served.snapshot.vectors_ND[served.snapshot.row("a")]
    for query, vector_D, without in (({"text": TEXT}, text_D, None), ({"clip_id": "a"}, own_D, "a")):
        answer = search(http, **query)
        scores = dict(zip(CLIP_IDS, (served.snapshot.vectors_ND @ vector_D).tolist(), strict=True))
        scores.pop(without, None)
        expected = sorted(scores, key=lambda clip_id: -scores[clip_id])
        assert [result["clip_id"] for result in answer["results"]] == expected
        assert answer["text_share"] is None
    by_file = http.post("/v1/search", files={"video": served.media("a").read_bytes()}).json()
    assert (by_file["mode"], by_file["timings_ms"]["decode"] > 0) == ("video", True)
    assert by_file["results"] == search(http, clip_id="a")["results"] or np.allclose(
        [r["score"] for r in by_file["results"]], [r["score"] for r in search(http, clip_id="a")["results"]], atol=1e-4
    )


def test_the_texts_share_is_the_fusions_gate(http, served):
    feature_1D = torch.tensor(served.snapshot.features_NF[served.snapshot.row("a")])[None]
    with torch.inference_mode():
        gate = float(served.retriever.embed_query_with_share(feature_1D, [TEXT])[1][0])
    assert search(http, clip_id="a", text=TEXT)["text_share"] == pytest.approx(gate, abs=1e-5)


def test_the_last_answer_is_refined_by_another_sentence(http, served):
    first, second = "show it with two turns.", "on the beam instead"
    answer = search(http, clip_id="a", refines=[first, "slower"], text=second)
    assert answer["text"] == "show it with two turns, slower, on the beam instead"
    feature = served.snapshot.features_NF[served.snapshot.row("a")]
    expected = ranked(served, feature, answer["text"], without="a")
    np.testing.assert_allclose([r["score"] for r in answer["results"]], [score for _, score in expected], atol=1e-5)
    sent = upload(http, served.media("a").read_bytes(), refines=json.dumps([first, "slower"]), text=second)
    assert [r["clip_id"] for r in sent["results"]] == [r["clip_id"] for r in answer["results"]]
    for refused in ({"clip_id": "a", "refines": [first]}, {"text": "x" * 1990, "refines": [first]}):
        assert http.post("/v1/search", json=refused).status_code == 422


def test_an_answer_says_what_it_does_not_know(http):
    known = search(http, text=TEXT)
    assert (known["unseen"], known["truncated"], known["confident"]) == ([], False, None)
    odd = search(http, clip_id="a", text="Show it with 2 quarks and a flimflam, two quarks")
    assert (odd["unseen"], odd["truncated"]) == (["quarks", "and", "a", "flimflam"], False)
    assert search(http, text="antidisestablishmentarianism " * 30)["truncated"]  # more tokens than the encoder reads
    answers = [search(http, clip_id=clip_id, text=TEXT) for clip_id in CLIP_IDS]
    for answer in answers:
        assert answer["confident"] == (answer["results"][0]["score"] >= CONFIDENT_FROM)
        if answer["next"]:
            assert search(http, clip_id="a", text=TEXT, cursor=answer["next"])["confident"] == answer["confident"]


def test_a_filter_and_excluded_clips_bound_the_answers_to_a_clip_that_is_sent(http, served):
    where = {"and": [{"field": "attributes.element", "equal": "jump"}, {"not": {"field": "label", "equal": "label 1"}}]}
    answer = upload(http, served.media("a").read_bytes(), text=TEXT, filter=json.dumps(where), exclude='["segment"]')
    assert {result["clip_id"] for result in answer["results"]} == {"dive/2½ somersaults", "e?f#g"}


def test_several_queries_in_one_request(http):
    queries = [{"clip_id": "a", "text": TEXT}, {"text": TEXT, "k": 2}, {"clip_id": "b", "exclude": ["a"]}]
    answers = http.post("/v1/search/batch", json={"queries": queries}).json()["answers"]
    for query, answer in zip(queries, answers, strict=True):
        alone = search(http, **query)
        assert [r["clip_id"] for r in answer["results"]] == [r["clip_id"] for r in alone["results"]]
    refused = http.post("/v1/search/batch", json={"queries": [*queries, {"clip_id": "nope"}]})
    assert (refused.status_code, refused.json()["detail"]) == (404, "Query 3: No clip of this id is indexed.")
    assert http.post("/v1/search/batch", json={"queries": queries * 30}).status_code == 422


def test_k_bounds_the_answers(http):
    assert len(search(http, clip_id="a", text=TEXT, k=2)["results"]) == 2
    assert len(search(http, clip_id="a", text=TEXT, k=1000)["results"]) == 4


def test_an_uploaded_clip_is_decoded_and_encoded_like_the_indexed_ones(http, served, tmp_path):
    make_video(tmp_path / "new.mp4", seed=99)
    seen = upload(http, (tmp_path / "new.mp4").read_bytes(), text=TEXT, k="5")
    assert len(seen["results"]) == 5
    # The same moving picture as clip "a", in a file of its own: not left out, and ranked as by id.
    twin = served.media("a").read_bytes() + b"\x00\x00\x00\x08free"
    answer = upload(http, twin, text=TEXT, k="5")
    expected = ranked(served, served.snapshot.features_NF[served.snapshot.row("a")], TEXT, without=None)
    assert [result["clip_id"] for result in answer["results"]] == [name for name, _ in expected]
    np.testing.assert_allclose([r["score"] for r in answer["results"]], [score for _, score in expected], atol=1e-4)


def test_an_uploaded_clip_that_is_an_indexed_file_is_not_its_own_answer(http, served):
    answer = upload(http, served.media("b").read_bytes(), text=TEXT, k="10")
    assert sorted(result["clip_id"] for result in answer["results"]) == sorted(set(CLIP_IDS) - {"b"})


def test_an_image_is_a_clip_of_one_frame(http):
    buffer = io.BytesIO()
    Image.new("RGB", (100, 80), "red").save(buffer, "PNG")
    assert len(upload(http, buffer.getvalue(), text=TEXT)["results"]) == 5


@pytest.mark.parametrize("text", ["show 🤸 twice", "‮right to left‬ مرحبا", "zero​width", "nul\x00inside", "word " * 390])
def test_texts_of_every_kind_are_answered(http, text):
    assert len(search(http, clip_id="a", text=text)["results"]) == 4


def test_concurrent_queries_each_get_their_own_answer(http, served):
    queries = [(clip_id, f"{TEXT} and {number}") for number in range(8) for clip_id in CLIP_IDS]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda query: search(http, clip_id=query[0], text=query[1], k=4), queries))
    for (clip_id, text), answer in zip(queries, answers, strict=True):
        expected = ranked(served, served.snapshot.features_NF[served.snapshot.row(clip_id)], text, without=clip_id)
        np.testing.assert_allclose([r["score"] for r in answer["results"]], [score for _, score in expected], atol=1e-5)
    assert max(answer["batch_size"] for answer in answers) > 1  # answered in batches
    assert search(http, clip_id="a", text=TEXT)["batch_size"] == 1  # alone


def test_a_refused_query_takes_no_other_with_it(http):
    with ThreadPoolExecutor(16) as threads:
        bodies = [{"clip_id": clip_id, "text": TEXT, "k": 4} for clip_id in ["a", "nope"] * 16]
        statuses = [r.status_code for r in threads.map(lambda body: http.post("/v1/search", json=body), bodies)]
    assert statuses == [200, 404] * 16


@pytest.mark.parametrize("clip_id", CLIP_IDS)
def test_a_clip_by_its_id(http, clip_id):
    clip = http.get(f"/v1/clips/{quote(clip_id, safe='')}").json()
    assert clip["clip_id"] == clip_id
    assert clip["attributes"] == {"element": "jump"}
    assert (clip["width"], clip["height"], clip["num_frames"], clip["fps"]) == (64, 48, 30, 10.0)


def test_media_by_byte_range(http, served):
    data = served.media("a").read_bytes()
    part = http.get("/media/a", headers={"Range": "bytes=10-109"})
    assert (part.status_code, part.content) == (206, data[10:110])
    assert part.headers["content-range"] == f"bytes 10-109/{len(data)}"
    assert http.get("/media/a", headers={"Range": "bytes=-5"}).content == data[-5:]
    head = http.head("/media/a")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(data)))
    assert head.headers["content-type"] == "video/mp4"


def test_the_thumbnail_is_the_middle_frame(http):
    first, again = (http.get("/thumbnail/a") for _ in range(2))
    picture = Image.open(io.BytesIO(first.content))
    assert (picture.format, picture.size) == ("JPEG", (64, 48))
    assert first.content == again.content


def test_health_and_readiness(http, served):
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {
        "clips": 5,
        "retriever": served.retriever.fingerprint,
        "index": served.snapshot.fingerprint,
        "refused": None,
        "others": {},
    }


def test_metrics_count_requests_and_stages(http):
    def value(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", http.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    counted = 'covr_requests_total{route="/v1/search",status="200"}'
    before, encoded = value(counted), value('covr_query_stage_seconds_count{stage="encode"}')
    search(http, clip_id="a", text=TEXT)
    assert value(counted) == before + 1
    assert value('covr_query_stage_seconds_count{stage="encode"}') == encoded + 1
    assert value('covr_index_clips{retriever="default"}') == 5
    refused = value('covr_rejections_total{reason="unknown-clip"}')
    http.post("/v1/search", json={"clip_id": "nope", "text": TEXT})
    assert value('covr_rejections_total{reason="unknown-clip"}') == refused + 1
    assert value("covr_queries_waiting") == 0


def test_openapi_describes_the_search_and_its_errors(http):
    api = http.get("/openapi.json").json()
    assert set(api["paths"]) == {
        "/v1/search",
        "/v1/search/batch",
        "/v1/clips",
        "/v1/clips/{clip_id}",
        "/media/{clip_id}",
        "/thumbnail/{clip_id}",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/admin/reload",
    }
    post = api["paths"]["/v1/search"]["post"]
    assert set(post["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    multipart = post["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert multipart["properties"]["video"]["format"] == "binary"
    assert multipart["required"] == ["video"]
    for path in api["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    ((media_type, content),) = response["content"].items()
                    assert media_type == "application/problem+json"
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert {"Problem", "FieldError", "SearchAnswer", "Clip", "And"} <= set(api["components"]["schemas"])
    for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(api)):
        assert name in api["components"]["schemas"]
    assert "#/$defs" not in json.dumps(api)
    assert http.get("/docs").status_code == 200
