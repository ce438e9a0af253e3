"""Protobuf bodies: what the real kubectl and the real server wrote reads as their JSON, and hostile bytes are refused.

`protobuf_seen.json` holds bodies of kubectl 1.36 beside what the same command prints with `--dry-run=client -o json`
(the tokens and reviews, which it cannot print, beside the fields that it set), and objects of kube-apiserver 1.36 in
both encodings.
"""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.sandbox.kubernetes.documents import schema
from tailrace.sandbox.kubernetes.documents.protobuf import MAGIC, decode
from tailrace.sandbox.kubernetes.status import ApiError

SEEN: list[dict[str, Any]] = json.loads(Path(__file__).with_name("protobuf_seen.json").read_text())
BODIES = [base64.b64decode(seen["body"]) for seen in SEEN]


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def put(number: int, content: bytes | str | int | float) -> bytes:
    """One record."""
    match content:
        case int():
            return varint(number << 3) + varint(content)
        case float():
            return varint(number << 3 | 1) + struct.pack("<d", content)
        case str():
            content = content.encode()
    return varint(number << 3 | 2) + varint(len(content)) + content


def body(kind: str, *records: bytes, version: str = "v1") -> bytes:
    return MAGIC + put(1, put(1, version) + put(2, kind)) + put(2, b"".join(records))


def read(kind: str, *records: bytes, version: str = "v1") -> dict[str, Any]:
    """The document without its kind and version."""
    found = decode(body(kind, *records, version=version))
    assert (found.pop("kind"), found.pop("apiVersion")) == (kind, version)
    return found


def refuse_or_read(hostile: bytes) -> dict[str, Any] | None:
    """None when it is refused; whatever else is raised fails the test. What is read can be written as JSON."""
    try:
        found = decode(hostile)
        json.dumps(found, allow_nan=False)
        return found
    except ApiError:
        return None


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: str(seen["command"]))
def test_what_the_real_programs_wrote_reads_as_their_json(seen: dict[str, Any]) -> None:
    assert decode(base64.b64decode(seen["body"])) == without_nulls(seen["document"])


def test_every_field_has_a_number_but_kind_and_version() -> None:
    for name, facts in schema.builtin_definitions().items():
        fields = dict(zip(facts["fields"], facts.get("numbers", ()), strict=True))
        numbers = [number for number in fields.values() if number]
        assert len(numbers) == len(set(numbers)), name
        assert {field for field, number in fields.items() if not number} <= {"kind", "apiVersion"}, name


def test_a_zero_stays_when_it_says_something() -> None:
    assert read("Pod", put(2, put(4, 0) + put(11, 0))) == {"spec": {"terminationGracePeriodSeconds": 0}}


def test_delete_options_are_understood_in_every_group() -> None:
    records = (put(1, 0), put(2, put(1, "some-uid")), put(4, "Foreground"), put(5, "All"))
    wanted = {
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "some-uid"},
        "propagationPolicy": "Foreground",
        "dryRun": ["All"],
    }
    assert read("DeleteOptions", *records) == wanted
    assert read("DeleteOptions", *records, version="apps/v1") == wanted


def test_binding_and_eviction_are_understood() -> None:
    meta = put(1, put(1, "box"))
    assert read("Binding", meta, put(2, put(1, "Node") + put(3, "n1"))) == {
        "metadata": {"name": "box"},
        "target": {"kind": "Node", "name": "n1"},
    }
    assert read("Eviction", meta, put(2, put(1, 5)), version="policy/v1") == {
        "metadata": {"name": "box"},
        "deleteOptions": {"gracePeriodSeconds": 5},
    }


def test_lists_in_maps_are_unwrapped() -> None:
    extra = put(1, "scopes") + put(2, put(1, "a") + put(1, "b"))
    review = put(2, put(3, "ann") + put(5, extra) + put(5, put(1, "none")))
    assert read("SubjectAccessReview", review, version="authorization.k8s.io/v1") == {
        "spec": {"user": "ann", "extra": {"scopes": ["a", "b"], "none": []}}
    }


def test_a_message_that_comes_in_two_parts_is_merged() -> None:
    parts = put(1, put(1, "first") + put(14, "x")), put(1, put(1, "last") + put(3, "pond") + put(14, "y"))
    assert read("ConfigMap", *parts) == {
        "metadata": {"name": "last", "namespace": "pond", "finalizers": ["x", "y"]}
    }


def test_numbers_of_a_list_may_come_packed_and_be_negative() -> None:
    groups = put(2, put(14, put(4, varint(1) + varint(300)) + put(4, -1)))
    assert read("Pod", groups) == {"spec": {"securityContext": {"supplementalGroups": [1, 300, -1]}}}


def test_fields_of_a_later_release_are_skipped() -> None:
    later = put(900, 1), put(901, 1.5), put(902, "x"), varint(903 << 3 | 5) + b"\0\0\0\0"
    assert read("ConfigMap", *later, put(1, put(1, "brook"))) == {"metadata": {"name": "brook"}}


def test_times_have_the_precision_of_their_type_and_the_zero_time_is_absent() -> None:
    stamp = put(1, 1) + put(2, 2_345_678)
    records = put(1, put(1, "e") + put(8, stamp) + put(9, b"")), put(10, stamp)
    assert read("Event", *records) == {
        "metadata": {"name": "e", "creationTimestamp": "1970-01-01T00:00:01Z"},
        "eventTime": "1970-01-01T00:00:01.002345Z",
    }


def props(*records: bytes) -> bytes:
    """A CustomResourceDefinition whose schema is this message."""
    crd = put(2, put(7, put(1, "v1") + put(4, put(1, b"".join(records)))))
    return body("CustomResourceDefinition", crd, version="apiextensions.k8s.io/v1")


def read_props(*records: bytes) -> Any:
    return decode(props(*records))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_the_unions_of_schemas_read_as_their_one_part() -> None:
    inner = put(5, "string")
    assert read_props(put(24, put(1, inner))) == {"items": {"type": "string"}}
    assert read_props(put(24, put(2, inner) + put(2, b""))) == {"items": [{"type": "string"}, {}]}
    assert read_props(put(30, put(1, 1))) == {"additionalProperties": True}
    assert read_props(put(30, put(1, 0))) == {"additionalProperties": False}
    assert read_props(put(30, put(1, 1) + put(2, b""))) == {"additionalProperties": {}}
    assert read_props(put(32, put(1, "a") + put(2, put(2, "b")))) == {"dependencies": {"a": ["b"]}}
    assert read_props(put(8, put(1, "null")), put(20, put(1, "null")), put(9, 0.0)) == {
        "enum": [None],
        "maximum": 0.0,
    }


@pytest.mark.parametrize(
    ("hostile", "why"),
    [
        (b"", "expected prefix [107 56 115 0]"),
        (b'{"kind":"Pod"}', "expected prefix"),
        (MAGIC, "'Kind' is missing"),
        (body(""), "'Kind' is missing"),
        (body("Pod", version=""), "'apiVersion' is missing"),
        (body("Heron"), 'no kind "Heron" is registered for version "v1"'),
        (body("Pod", version="a/b/v1"), "no kind"),
        (body("Pod") + put(3, "gzip"), 'encoding "gzip"'),
        (body("Pod", b"\x00\x00"), "illegal tag 0"),
        (body("Pod", b"\x0b"), "illegal wire type 3"),
        (body("Pod", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), "unexpected EOF"),
        (body("Pod", b"\xff" * 11), "integer overflow"),
        (body("Pod", put(1, 5)), "wrong wireType = 0"),
        (body("Pod", put(1, put(1, b"\xff"))), "not UTF-8"),
        (body("Pod", put(1, put(8, put(1, 1 << 62)))), "out of range"),
        (body("Service", put(2, put(1, put(4, put(1, 2))))), "impossible IntOrString.Type"),
        (props(put(20, put(1, "{"))), "not JSON"),
        (props(put(20, put(1, "[" * 100_000))), "not JSON"),
        (props(put(9, float("nan"))), "no form in JSON"),
    ],
)
def test_what_cannot_be_read_is_a_bad_request(hostile: bytes, why: str) -> None:
    with pytest.raises(ApiError) as refused:
        decode(hostile)
    assert refused.value.code == 400
    assert why in refused.value.message


def test_depth_is_bounded() -> None:
    schemas = b""
    for _ in range(25):
        schemas = put(29, put(1, "inner") + put(2, schemas))
    assert read_props(schemas)
    for _ in range(2000):
        schemas = put(29, put(2, schemas))
    with pytest.raises(ApiError, match="nested too deeply"):
        decode(props(schemas))


@pytest.mark.parametrize("index", range(len(SEEN)), ids=lambda index: str(SEEN[index]["command"]))
def test_a_truncated_body_is_refused_or_has_lost_nothing_of_its_object(index: int) -> None:
    whole = decode(BODIES[index])
    # Cut between two fields of the envelope: there is no object yet, or only the empty content type is gone.
    lossless = (whole, {"kind": whole["kind"], "apiVersion": whole["apiVersion"]})
    for end in range(0, len(BODIES[index]), 1 if len(BODIES[index]) < 500 else 17):
        found = refuse_or_read(BODIES[index][:end])
        assert found is None or found in lossless, end


KINDS = sorted(tuple(facts["kind"]) for facts in schema.builtin_definitions().values() if "kind" in facts)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_no_bytes_raise_anything_but_a_bad_request(noise: bytes) -> None:
    refuse_or_read(noise)
    refuse_or_read(MAGIC + noise)


RECORDS = st.recursive(
    st.builds(put, st.integers(1, 40), st.integers(0, 3) | st.binary(max_size=8) | st.floats()),
    lambda inner: st.builds(
        lambda number, parts: put(number, b"".join(parts)), st.integers(1, 10), st.lists(inner, max_size=4)
    ),
    max_leaves=30,
)


@given(st.sampled_from(KINDS), st.lists(RECORDS, max_size=4))
@settings(deadline=None)
def test_no_message_of_any_kind_raises_anything_but_a_bad_request(
    kind: tuple[str, str, str], records: list[bytes]
) -> None:
    group, version, name = kind
    refuse_or_read(body(name, *records, version=f"{group}/{version}" if group else version))


@given(st.sampled_from(BODIES), st.data())
@settings(deadline=None)
def test_no_damage_to_a_real_body_raises_anything_but_a_bad_request(real: bytes, data: st.DataObject) -> None:
    damaged = bytearray(real)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(4, len(real) - 1))] = data.draw(st.integers(0, 255))
    refuse_or_read(bytes(damaged))
