"""The bulk reader and the JSON reader give the same state for any record."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift_analyzer.baseline_files import Feature, Schema
from drift_analyzer.capture_reader import Capture
from drift_analyzer.inference_time import TimeWindows

FEATURES = (
    Feature("a", "Fractional", edges=np.array([-1.0, 0.0, 0.5, 10.0]), counts=np.ones(5), scale=2.0),
    Feature("b", "Integral", edges=np.array([0.0, 1.0]), counts=np.ones(3)),
    Feature("c", "String", categories={"JFK": 3, "LGA": 2, "é": 1}),
    Feature("d", "Fractional", edges=np.array([0.0]), counts=np.ones(2)),
)
WITH_OUTPUT = (*FEATURES, Feature("score", "Fractional", "output", edges=np.array([0.5]), counts=np.ones(2)))

ODD_CELLS = [
    "",
    "nan",
    "NaN",
    "NAN",
    "null",
    "true",
    "False",
    "inf",
    "-Infinity",
    "1.",
    ".5",
    "+3",
    "007",
    "1e3",
    "1e999",
]
ODD_CELLS += [" 2", "2 ", "1_000", "[1", "{}", "JFK", "LGA", "é", "日本", "a b", "-0", "123456789012345678901234567890"]
ODD_CELLS += [
    "x" * 70,
    '"q"',
    "back\\slash",
    "tab\there",
    "#",
    "'",
    "0x10",
    "١٢",
    "\u2028",
    "\x7f",
    "None",
    "1 2",
    "--1",
]
cell = st.one_of(
    st.sampled_from(["1", "0", "-2.5", "3.25", "10", "JFK", "LGA"]),
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.integers().map(str),
    st.sampled_from(ODD_CELLS),
    st.text(max_size=4),
)
plain = st.sampled_from(["1", "0", "-2.5", "3.25", "1e-3", "10"])
row = st.one_of(
    st.tuples(plain, plain, st.sampled_from(["JFK", "LGA", "EWR"]), plain).map(list),
    st.tuples(cell, cell, cell, cell).map(list),
    st.lists(cell, min_size=0, max_size=6),
)
end = st.sampled_from(["", "\n", "\r\n", "\n\n"])
time = st.sampled_from(
    [
        "2026-02-14T17:25:49Z",
        "2026-02-14T18:00:00Z",
        "2026-02-14T17:25:49.123Z",
        "2026-02-14T17:25:49.123456Z",
        "2026-02-30T00:00:00Z",
        "soon",
        None,
    ]
)
usual_time = st.sampled_from(["2026-02-14T17:25:49Z", "2026-02-14T17:59:59.999Z"])


@st.composite
def side(draw: st.DrawFn, mode: str, rows: st.SearchStrategy[list[list[str]]]) -> dict[str, object]:
    encoding = draw(st.sampled_from(["CSV", "CSV", "CSV", "CSV", "JSON", "BASE64", "XML", "csv"]))
    data: object = draw(st.sampled_from(["\n", "\r\n"])).join(",".join(cells) for cells in draw(rows)) + draw(end)
    if encoding == "JSON":
        values = draw(rows)
        named = {"a": 1, "b": 2, "c": "JFK", "d": None}
        documents = [values, {"instances": values}, named, {"a": 1, "c": "JFK", "z": 1}, [1, 2, "x", None]]
        documents += [{"instances": [named, named]}, {"inputs": {"a": [1, 2], "b": [3, 4]}}, [[1, True, 1, 1.0]]]
        documents += [{"instances": [named, [1, 2, "é", 10**160]]}, [[1, 2, [3], {"x": 1}]], {"a": [1], "b": [1, 2]}]
        data = json.dumps(draw(st.sampled_from(documents)))
    if encoding == "BASE64":
        data = base64.b64encode(str(data).encode("utf-8", "replace")).decode()
    content = draw(st.sampled_from(["text/csv", "text/csv; charset=utf-8", "application/json"]))
    body = {"observedContentType": content, "mode": mode, "data": data, "encoding": encoding}
    return draw(shuffled(body))


@st.composite
def shuffled(draw: st.DrawFn, body: dict[str, object]) -> dict[str, object]:
    return {key: body[key] for key in draw(st.permutations(list(body)))} if draw(st.integers(0, 4)) == 0 else body


@st.composite
def line(draw: st.DrawFn) -> bytes:
    usual = draw(st.booleans())
    rows = st.lists(row, min_size=1, max_size=1 if usual else 3)
    capture: dict[str, object] = {
        "endpointInput": draw(side("INPUT", rows)),
        "endpointOutput": draw(
            side("OUTPUT", st.lists(st.lists(cell, min_size=1, max_size=2), min_size=1, max_size=2))
        ),
    }
    if not usual:
        for key in draw(st.sets(st.sampled_from(["endpointInput", "endpointOutput"]))):
            capture[key] = draw(st.sampled_from([None, {}, "text", []]))
    meta: dict[str, object] = {
        "eventId": draw(st.uuids().map(str)),
        "inferenceTime": draw(usual_time if usual else time),
    }
    if draw(st.booleans()):
        meta["inferenceId"] = draw(st.text(max_size=3))
    if draw(st.integers(0, 5)) == 0:
        meta["customAttributes"] = ["data", 'endpointInput"']
    body = draw(shuffled({"captureData": capture, "eventMetadata": draw(shuffled(meta)), "eventVersion": "0"}))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    text = json.dumps(body, separators=separators, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace")
    if draw(st.integers(0, 9)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    if draw(st.integers(0, 30)) == 0:
        text = draw(st.sampled_from([b"{}", b"[]", b"null", b'{"captureData":{}}', b"\xff\xfe", b'{"a":NaN}', b"  "]))
    return text


def read(lines: bytes, *, fast: bool, features: tuple[Feature, ...], hourly: bool) -> tuple[object, object, object]:
    capture = Capture(Schema(features), TimeWindows(3600) if hourly else TimeWindows(), fast=fast)
    capture.read(io.BytesIO(lines), "f")
    bad = sorted((bad.reason, bad.line) for bad in capture.bad)
    return {window: state.to_json() for window, state in capture.windows.items()}, bad, capture.unplaced.to_json()


@settings(max_examples=90, deadline=None)
@given(
    st.lists(line(), max_size=8),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([FEATURES, WITH_OUTPUT]),
    st.booleans(),
)
def test_the_bulk_reader_reads_what_the_json_reader_reads(
    lines: list[bytes], ending: bytes, features: tuple[Feature, ...], hourly: bool
) -> None:
    data = ending.join(lines)
    assert read(data, fast=True, features=features, hourly=hourly) == read(
        data, fast=False, features=features, hourly=hourly
    )


PLAIN = (
    b'{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"%s","encoding":"CSV"},'
    b'"endpointOutput":{"observedContentType":"text/csv","mode":"OUTPUT","data":"0.2\\n","encoding":"CSV"}},'
    b'"eventMetadata":{"eventId":"e","inferenceTime":"2026-02-14T17:25:49Z"},"eventVersion":"0"}\n'
)


def test_plain_records_are_read_in_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []
    original = Capture._collect

    def counted(self: Capture, line: bytes, source: str) -> None:
        calls.append(line)
        original(self, line, source)

    monkeypatch.setattr(Capture, "_collect", counted)
    capture = Capture(Schema(WITH_OUTPUT))
    rows = b"".join(PLAIN % (b"%d,%s,JFK,nan" % (i, b"" if i % 3 else b"4")) for i in range(300))
    capture.read(io.BytesIO(rows + PLAIN % b"1,2,3" + PLAIN % b"1,2,\\u00e9,4"), "f")
    assert len(calls) == 2
    state = capture.windows[0]
    assert (state.records, state.rows, state.bad) == (301, 301, 1)
    assert state.features["d"].missing == 300


edit = st.tuples(
    st.integers(0, 400), st.sampled_from(["replace", "insert", "delete"]), st.sampled_from(b'",\\n{}:0aXM\x00\xff- ')
)
uneven = st.one_of(*[st.lists(plain, min_size=width, max_size=width) for width in (4, 4, 3, 5)])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(uneven, st.lists(edit, max_size=1)), min_size=2, max_size=6),
    st.sampled_from([FEATURES, WITH_OUTPUT]),
    st.booleans(),
)
def test_a_plain_record_with_one_byte_changed_is_read_as_json_reads_it(
    records: list[tuple[list[str], list[tuple[int, str, int]]]], features: tuple[Feature, ...], hourly: bool
) -> None:
    lines = [PLAIN % b"1,2,JFK,4"]
    for cells, edits in records:
        text = bytearray(PLAIN % ",".join(cells).encode())
        for place, kind, byte in edits:
            at = place % (len(text) - 1)
            text[at : at + (kind != "insert")] = b"" if kind == "delete" else bytes([byte])
        lines.append(bytes(text))
    data = b"".join(lines)
    assert read(data, fast=True, features=features, hourly=hourly) == read(
        data, fast=False, features=features, hourly=hourly
    )


def test_two_records_whose_widths_even_out_are_both_refused() -> None:
    capture = Capture(Schema(FEATURES))
    capture.read(io.BytesIO(PLAIN % b"1,2,JFK,4" + PLAIN % b"1,2,JFK" + PLAIN % b"1,2,JFK,4,5"), "f")
    state = capture.windows[0]
    assert (state.rows, state.bad, dict(state.widths)) == (1, 2, {4: 1, 3: 1, 5: 1})


def test_an_encoding_of_the_same_length_is_not_taken_for_csv() -> None:
    capture = Capture(Schema(FEATURES))
    line = PLAIN % b"1,2,JFK,4"
    capture.read(io.BytesIO(line + line.replace(b"CSV", b"XML", 1)), "f")
    assert dict(capture.windows[0].reasons) == {"encoding is not CSV, JSON or BASE64": 1}
