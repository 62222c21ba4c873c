"""What of a message is the model's input, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.errors import BadTensorError
from service.open_inference.model_tensors import configure, describe, read_outputs, read_pictures
from service.open_inference.wire import Message, read_message
from tests.pictures import grey
from tests.tiny_model import SIZE, metadata

METADATA = metadata()
MOST = 2
VALUES = SIZE * SIZE * 3
FLAT = grey().ravel().tolist()
IMAGE: dict[str, Any] = {"name": "image", "shape": [1, SIZE, SIZE, 3], "datatype": "UINT8", "data": FLAT}
ENCODED: dict[str, Any] = {
    "name": "encoded_image",
    "shape": [1],
    "datatype": "BYTES",
    "parameters": {"binary_data_size": 5},
}
ELEMENT = b"\1\0\0\0x"


def message(*inputs: dict[str, Any], binary: bytes = b"", **fields: Any) -> Message:
    head = json.dumps({"inputs": inputs, **fields}).encode()
    return read_message(head + binary, str(len(head)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "picture"}, "no input 'picture'"),
        ({"datatype": "FP32"}, "datatype 'FP32', but must have UINT8"),
        ({"shape": []}, "must have \\[N, 56, 56, 3\\]"),
        ({"shape": [VALUES]}, "must have"),
        ({"shape": [0, SIZE, SIZE, 3], "data": []}, "N at least 1"),
        ({"shape": [1, 3, SIZE, SIZE]}, "must have"),
        ({"shape": [1, SIZE, SIZE]}, "must have"),
        ({"shape": [2**62, 2**62, 4, 2**62]}, "must have"),
        ({"shape": [2**62, SIZE, SIZE, 3]}, "never fit into the queue of 2"),
        ({"shape": [3, SIZE, SIZE, 3]}, "3 pictures never fit"),
        ({"shape": [2, SIZE, SIZE, 3]}, f"no list of {2 * VALUES} values"),
        ({"data": FLAT[1:]}, "no list of"),
        ({"data": []}, "no list of"),
        ({"data": [FLAT]}, "no list of"),
        ({"data": grey().tolist()}, "no list of"),
        ({"data": [grey().transpose(2, 0, 1).tolist()]}, "no list of"),
        ({"data": [[[[1, 2, 3]], [[1, 2]]]]}, "no list of"),
        ({"data": [*FLAT[1:], [1]]}, "whole numbers"),
        ({"data": [*FLAT[1:], 256]}, "0 to 255"),
        ({"data": [*FLAT[1:], -1]}, "0 to 255"),
        ({"data": [*FLAT[1:], 10**100]}, "0 to 255"),
        ({"data": [*FLAT[1:], 1.0]}, "whole numbers"),
        ({"data": [*FLAT[1:], float("nan")]}, "whole numbers"),
        ({"data": [*FLAT[1:], True]}, "whole numbers"),
        ({"data": [*FLAT[1:], "1"]}, "whole numbers"),
        ({"data": [*FLAT[1:], None]}, "whole numbers"),
        ({"data": [*FLAT[1:], {}]}, "whole numbers"),
    ],
)
def test_image_that_is_not_the_models(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadTensorError, match=reason):
        read_pictures(message(IMAGE | change), METADATA, MOST)


def test_deeply_nested_data() -> None:
    data: Any = 1
    for _ in range(100):
        data = [data]
    with pytest.raises(BadTensorError):
        read_pictures(message(IMAGE | {"data": data}), METADATA, MOST)


@pytest.mark.parametrize("size", [VALUES - 1, VALUES + 1, 0])
def test_binary_image_of_another_size(size: int) -> None:
    tensor = {key: IMAGE[key] for key in ("name", "shape", "datatype")} | {"parameters": {"binary_data_size": size}}
    with pytest.raises(BadTensorError, match=f"{size} bytes, but its shape .* takes {VALUES}"):
        read_pictures(message(tensor, binary=bytes(size)), METADATA, MOST)


@pytest.mark.parametrize(
    ("change", "binary", "reason"),
    [
        ({"datatype": "UINT8"}, ELEMENT, "must have BYTES"),
        ({"shape": []}, ELEMENT, "must have \\[N\\] or \\[N, 1\\]"),
        ({"shape": [1, 2]}, ELEMENT, "must have"),
        ({"shape": [0]}, ELEMENT, "N at least 1"),
        ({"shape": [3]}, ELEMENT * 3, "3 pictures never fit"),
        ({"shape": [2]}, ELEMENT, "ends before element 1 of 2"),
        ({"shape": [1]}, ELEMENT + b"\0", "1 bytes follow the last of 1"),
        ({"shape": [1]}, b"\2\0\0\0x", "says that it has 2 bytes, but 1 follow"),
        ({"shape": [1]}, b"\xff\xff\xff\xffx", "4294967295 bytes, but 1 follow"),
        ({"shape": [1]}, b"\0\0\0", "ends before element 0"),
    ],
)
def test_encoded_image_that_does_not_add_up(change: dict[str, Any], binary: bytes, reason: str) -> None:
    tensor = ENCODED | change | {"parameters": {"binary_data_size": len(binary)}}
    with pytest.raises(BadTensorError, match=reason):
        read_pictures(message(tensor, binary=binary), METADATA, MOST)


def test_encoded_image_as_json() -> None:
    tensor = {"name": "encoded_image", "shape": [1], "datatype": "BYTES", "data": ["x"]}
    with pytest.raises(BadTensorError, match="send it as binary data"):
        read_pictures(message(tensor), METADATA, MOST)


@pytest.mark.parametrize("inputs", [(IMAGE, ENCODED), (ENCODED, IMAGE), (IMAGE, IMAGE)])
def test_exactly_one_input(inputs: tuple[dict[str, Any], ...]) -> None:
    binary = ELEMENT if ENCODED in inputs else b""
    with pytest.raises(BadTensorError, match="exactly one of"):
        read_pictures(message(*inputs, binary=binary), METADATA, MOST)


@pytest.mark.parametrize(
    ("names", "reason"), [(["joint_score", "class"], r"no output \['class'\]"), (["joint_score", "joint_score"], "each once")]
)
def test_outputs_that_the_model_has_not(names: list[str], reason: str) -> None:
    with pytest.raises(BadTensorError, match=reason):
        read_outputs(message(IMAGE, outputs=[{"name": name} for name in names]).request, METADATA, pictures=1)


def test_more_numbers_than_json_should_carry() -> None:
    as_json = message(IMAGE).request
    assert len(read_outputs(as_json, METADATA, pictures=15)) == 7
    with pytest.raises(BadTensorError, match="ask for outputs as binary data"):
        read_outputs(as_json, METADATA, pictures=16)
    without_maps = message(
        IMAGE, outputs=[{"name": "anomaly_map", "parameters": {"binary_data": True}}, {"name": "joint_score"}]
    )
    assert len(read_outputs(without_maps.request, METADATA, pictures=1000)) == 2


def test_a_model_of_one_branch_has_its_outputs_alone() -> None:
    described = describe("tiny", "1", metadata(("semantic",)))
    assert [output.name for output in described.outputs] == [
        "semantic_score",
        "semantic_probability",
        "joint_probability",
        "joint_score",
    ]
    assert [output.name for output in configure("tiny", metadata(("semantic",)), 4).output] == [
        output.name for output in described.outputs
    ]
