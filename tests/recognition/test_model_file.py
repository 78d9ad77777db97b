"""Model files: what is written comes back, and whatever else lies in a file is refused by its name."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from digit_utils.recognition.model_file import (
    HEAD,
    MAX_PROBABILITY,
    MEMBER,
    ModelCard,
    ModelFileError,
    read_model_file,
    write_model_file,
)
from digit_utils.recognition.recognizer import Recognizer

FLATBUFFER = b"\x1c\0\0\0TFL3" + np.random.default_rng(0).bytes(3000)
CARD = ModelCard(
    temperature=1.234567890123,
    threshold=0.0123456789,
    digit_score=HEAD,
    name="large_cnn",
    provenance={"seed": 3, "data": {"mnist": "ab" * 32}, "écrit": ["à la main", 0.5, None, True]},
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.tflite"
    write_model_file(path, FLATBUFFER, CARD)
    return path


def with_digest(content: bytes) -> bytes:
    """What a forger would write: the digest of the bytes before it is right."""
    return content + hashlib.sha256(content).hexdigest().encode()


def forged(content: object, *, member: str = MEMBER) -> bytes:
    """A whole file with any content in place of the card."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr(member, content if isinstance(content, bytes) else json.dumps(content))
        bundle.comment = bytes(64)
    return with_digest(FLATBUFFER + archive.getvalue()[:-64])


def refused(path, **match):
    with pytest.raises(ModelFileError, **match) as caught:
        read_model_file(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read(path):
    assert read_model_file(path) == (FLATBUFFER, CARD)
    assert read_model_file(str(path)) == (FLATBUFFER, CARD)


def test_the_card_is_an_ordinary_archive_behind_the_network(path):
    assert path.read_bytes().startswith(FLATBUFFER)  # LiteRT reads from the front
    with zipfile.ZipFile(path) as bundle:
        assert bundle.namelist() == [MEMBER]
        assert json.loads(bundle.read(MEMBER))["temperature"] == CARD.temperature


def test_the_same_model_gives_the_same_file(path, tmp_path):
    again = tmp_path / "folder to be made" / "again.tflite"
    write_model_file(again, FLATBUFFER, CARD)
    assert again.read_bytes() == path.read_bytes()


def test_a_model_is_replaced_whole_and_leaves_nothing_beside_it(path):
    write_model_file(path, FLATBUFFER[:500], ModelCard())
    assert read_model_file(path) == (FLATBUFFER[:500], ModelCard())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_cut_off_anywhere_is_refused(path):
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), *range(len(whole) - 300, len(whole))]:
        path.write_bytes(whole[:length])
        refused(path, match="is empty" if length == 0 else "truncated")


def test_one_changed_byte_anywhere_is_noticed(path):
    whole = path.read_bytes()
    start = len(FLATBUFFER)
    for position in [*range(0, start, 53), *range(start, len(whole))]:  # every byte of the archive
        for change in (0x01, 0x80):
            damaged = bytearray(whole)
            damaged[position] ^= change
            path.write_bytes(damaged)
            refused(path, match="damaged")


def test_bytes_before_or_after_are_noticed(path):
    whole = path.read_bytes()
    for content in (whole + b"\n", b"\0" + whole, whole + whole[:100], whole[64:]):
        path.write_bytes(content)
        refused(path, match="damaged")


def test_foreign_files_are_refused(path, exports):
    network = read_model_file(exports["simple_cnn"] / "model.tflite")[0]  # a plain network of LiteRT, no card
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("metadata.json", "{}")  # as a .keras file has
    for content in (network, archive.getvalue(), b"not a model", "Ziffern: größer".encode(), bytes(10_000)):
        path.write_bytes(content)
        refused(path, match="not a model that this project exported; train one with")


def test_missing_files_and_folders_are_named(tmp_path):
    refused(tmp_path / "absent.tflite", match="there is no model file .*; train one with")
    refused(tmp_path / "no" / "such" / "folder.tflite", match="there is no model file")
    refused(tmp_path, match="cannot be read")


def test_a_home_folder_that_nobody_knows_is_refused():
    with pytest.raises(ModelFileError, match=r"no model ~nosuch/m\.tflite: the home folder ~nosuch is not known here"):
        Recognizer.load("~nosuch/m.tflite")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "1.0"),
        ("temperature", None),
        ("temperature", 0),
        ("temperature", -2.5),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("threshold", [0.5]),
        ("threshold", 1.5),
        ("threshold", -0.1),
        ("threshold", float("nan")),
        ("digit_score", "energy"),
        ("digit_score", 1),
        ("name", 7),
        ("provenance", []),
        ("format", 2),
        ("format", None),
    ],
)
def test_a_card_with_a_wrong_value_is_refused_by_the_values_name(path, name, value):
    good = {"format": 1, "temperature": 1.0, "threshold": 0.5, "digit_score": HEAD, "name": "", "provenance": {}}
    path.write_bytes(forged(good))
    assert read_model_file(path)[1] == ModelCard(threshold=0.5, digit_score=HEAD)
    path.write_bytes(forged(good | {name: value}))
    refused(path, match=name)
    del good[name]
    path.write_bytes(forged(good))
    refused(path, match=name)


@pytest.mark.parametrize("value", [-1, "64", 64.0, None])
def test_a_wrong_number_of_features_is_refused_and_an_older_file_has_none(path, value):
    older = {"format": 1, "temperature": 1.0, "threshold": 0.5, "digit_score": HEAD, "name": "", "provenance": {}}
    path.write_bytes(forged(older))
    assert read_model_file(path)[1].features == 0
    path.write_bytes(forged(older | {"features": 64}))
    assert read_model_file(path)[1].features == 64
    path.write_bytes(forged(older | {"features": value}))
    refused(path, match="features")


@pytest.mark.parametrize("value", [-0.5, "1.0", float("nan"), float("inf"), None])
def test_a_wrong_weight_of_confidence_is_refused_and_an_older_file_has_none(path, value):
    older = {"format": 1, "temperature": 1.0, "threshold": 0.5, "digit_score": HEAD, "name": "", "provenance": {}}
    path.write_bytes(forged(older))
    assert read_model_file(path)[1].confidence_weight == 0
    path.write_bytes(forged(older | {"confidence_weight": 1.5}))
    assert read_model_file(path)[1].confidence_weight == 1.5
    path.write_bytes(forged(older | {"confidence_weight": value}))
    refused(path, match="confidence_weight")


@pytest.mark.parametrize("content", [[], "text", 3, None, b"{", b"\xff\xfe", b"", b"[" * 50])
def test_a_card_that_is_no_object_is_refused(path, content):
    path.write_bytes(forged(content))
    refused(path, match=MEMBER)


def test_an_archive_without_a_card_is_refused(path):
    path.write_bytes(forged({}, member="other.json"))
    refused(path, match=MEMBER)
    path.write_bytes(with_digest(FLATBUFFER))
    refused(path, match=MEMBER)


def test_nothing_in_a_file_is_unpickled(path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was executed",))

    for content in (pickle.dumps(Trap()), with_digest(pickle.dumps(Trap())), forged(pickle.dumps(Trap()))):
        path.write_bytes(content)
        refused(path)


def test_a_network_that_litert_cannot_run_is_refused_by_name(path):
    for flatbuffer in (FLATBUFFER, b"", b"\x1c\0\0\0TFL3"):
        write_model_file(path, flatbuffer, ModelCard(digit_score=MAX_PROBABILITY))
        with pytest.raises(ModelFileError, match="LiteRT cannot run the model file") as caught:
            Recognizer.load(path)
        assert str(path) in str(caught.value)
