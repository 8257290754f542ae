"""Hashes of objects: the vectors of the format, any pieces, and an independent computation."""

from __future__ import annotations

import hashlib
from array import array
from base64 import b64encode
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from t4_ops.checksums import (
    CHUNK_BYTES,
    CRC64NVME,
    HASH_TYPES,
    MAX_CHUNKS,
    SHA256,
    SHA256_CHUNKED,
    Buffer,
    Checksum,
    checksum_of,
    chunk_size_bytes,
    combine_digests,
    new_hasher,
)
from t4_ops.errors import FormatError

MIB = 1024 * 1024
CHUNK = 8 * MIB
ZEROS = bytes(CHUNK + 1)

# Bytes, `sha2-256-chunked`, `CRC64NVME`; made by quilt3 8.0.0.
VECTORS = [
    (b"", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "AAAAAAAAAAA="),
    (b"1", "nC5Nj+l9iBQw3k51S0IFucJ86WcVIxz/xDNzQMsRAoA=", "I5Whw0YbvtI="),
    (b"hello", "lZXJ35AHUUjrBoYDZd8zWEt1v/eCpRDGzUiDpBmDPVA=", "M3eFcAZSQlc="),
    (ZEROS[:-2], "6D2pq48irFt4HfUg5jZ5Mh0xLWnHtZnvhWpbUMHXGos=", "hq1h6wASsY8="),
    (ZEROS[:-1], "MIsGKY+ykqN4CPj3gGGu4Gv03N7OWKWpsZqEf+OrGJs=", "of12kAisj10="),
    (ZEROS, "Y68lgvvPstmbueZHNVw/WNEIEX0Qxy01vyRB//bzz/g=", "atFxuE1UqMo="),
]
_IDS = ["empty", "1", "hello", "8MiB-1", "8MiB", "8MiB+1"]


def _expected(data: bytes, chunked: str, crc: str) -> dict[str, str]:
    return {SHA256_CHUNKED: chunked, SHA256: hashlib.sha256(data).hexdigest(), CRC64NVME: crc}


def _hash_in_pieces(hash_type: str, data: Buffer, cuts: list[int]) -> str:
    hasher = new_hasher(hash_type, len(data))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    view = memoryview(data)
    for start, end in pairwise(edges):
        hasher.update(view[start:end])
    return hasher.finish().value


@pytest.mark.parametrize(("data", "chunked", "crc"), VECTORS, ids=_IDS)
@pytest.mark.parametrize("hash_type", HASH_TYPES)
def test_the_vectors_in_one_update(hash_type: str, data: bytes, chunked: str, crc: str) -> None:
    value = _expected(data, chunked, crc)[hash_type]
    assert checksum_of(data, hash_type) == Checksum(hash_type, value)


@pytest.mark.parametrize(("data", "chunked", "crc"), VECTORS, ids=_IDS)
@given(
    cuts=st.lists(
        st.integers(0, CHUNK + 1) | st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1]),
        max_size=5,
    )
)
@settings(max_examples=10)
@example(cuts=[0, 0, 1])
def test_the_vectors_in_any_pieces(data: bytes, chunked: str, crc: str, cuts: list[int]) -> None:
    for hash_type, value in _expected(data, chunked, crc).items():
        assert _hash_in_pieces(hash_type, data, cuts) == value


def test_the_default_is_what_new_entries_carry() -> None:
    assert checksum_of(b"hello") == Checksum(SHA256_CHUNKED, VECTORS[2][1])


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_one_chunk_is_hashed_twice_and_none_once(data: bytes, cuts: list[int]) -> None:
    digest = hashlib.sha256(data).digest()
    expected = hashlib.sha256(digest).digest() if data else digest
    assert _hash_in_pieces(SHA256_CHUNKED, data, cuts) == b64encode(expected).decode()
    assert _hash_in_pieces(SHA256, data, cuts) == digest.hex()


def test_three_chunks_and_a_bit() -> None:
    data = hashlib.shake_256(b"seed").digest(3 * CHUNK + 5)
    digests = [hashlib.sha256(data[at : at + CHUNK]).digest() for at in range(0, len(data), CHUNK)]
    assert [len(digests), len(data) - 3 * CHUNK] == [4, 5]
    expected = b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    assert checksum_of(data).value == expected
    assert combine_digests(digests) == Checksum(SHA256_CHUNKED, expected)
    assert _hash_in_pieces(SHA256_CHUNKED, data, [5, CHUNK + 1, 2 * CHUNK, 3 * CHUNK]) == expected


def test_no_chunks_combine_to_the_hash_of_nothing() -> None:
    assert combine_digests([]).value == VECTORS[0][1]
    assert combine_digests(iter([hashlib.sha256(b"1").digest()])).value == VECTORS[1][1]


@pytest.mark.parametrize(
    ("size_bytes", "chunk_mib"),
    [
        (0, 8),
        (1, 8),
        (CHUNK, 8),
        (CHUNK + 1, 8),
        (83_886_080_000, 8),
        (83_886_080_001, 16),
        (2 * 83_886_080_000, 16),
        (2 * 83_886_080_000 + 1, 32),
        (5 * 1024**4, 1024),
    ],
)
def test_the_chunk_schedule(size_bytes: int, chunk_mib: int) -> None:
    assert chunk_size_bytes(size_bytes) == chunk_mib * MIB


@given(st.integers(0, 50 * 1024**4))
@example(83_886_080_000)
@example(83_886_080_001)
def test_the_chunk_is_the_smallest_doubling_that_fits_10000_parts(size_bytes: int) -> None:
    doublings = (8 * MIB << power for power in range(30))
    fitting = [size for size in doublings if -(-size_bytes // size) <= 10_000]
    assert chunk_size_bytes(size_bytes) == fitting[0]
    assert (CHUNK_BYTES, MAX_CHUNKS) == (8 * MIB, 10_000)


@pytest.mark.parametrize(
    ("size_bytes", "chunk_bytes"), [(83_886_080_000, 8 * MIB), (83_886_080_001, 16 * MIB)]
)
def test_the_size_that_is_promised_sets_the_chunks(size_bytes: int, chunk_bytes: int) -> None:
    data = bytes(16 * MIB + 1)
    hasher = new_hasher(SHA256_CHUNKED, size_bytes)
    hasher.update(data)
    digests = [
        hashlib.sha256(data[at : at + chunk_bytes]).digest()
        for at in range(0, len(data), chunk_bytes)
    ]
    assert hasher.finish() == combine_digests(digests)


def _crc64_nvme(data: bytes) -> int:
    """CRC-64/NVME bit by bit, from its published parameters (reflected, all ones in and out)."""
    crc = 2**64 - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return crc ^ (2**64 - 1)


def test_the_independent_crc_has_the_published_check_value() -> None:
    assert _crc64_nvme(b"123456789") == 0xAE8B14860A799888


@given(st.binary(max_size=100), st.lists(st.integers(0, 100), max_size=4))
def test_the_crc_is_the_published_one(data: bytes, cuts: list[int]) -> None:
    expected = b64encode(_crc64_nvme(data).to_bytes(8, "big")).decode()
    assert _hash_in_pieces(CRC64NVME, data, cuts) == expected


@pytest.mark.parametrize("hash_type", HASH_TYPES)
def test_every_buffer_gives_the_hash_of_its_bytes(hash_type: str) -> None:
    numbers = array("d", [1.0, 2.5, -3.0])
    expected = checksum_of(numbers.tobytes(), hash_type)
    assert checksum_of(bytearray(numbers.tobytes()), hash_type) == expected
    assert checksum_of(memoryview(numbers.tobytes()), hash_type) == expected


@pytest.mark.parametrize("hash_type", HASH_TYPES)
def test_a_view_of_wide_items_counts_in_bytes(hash_type: str) -> None:
    data = bytes(range(256)) * (CHUNK // 256 + 1)
    assert checksum_of(memoryview(data).cast("Q"), hash_type) == checksum_of(data, hash_type)


@pytest.mark.parametrize("hash_type", HASH_TYPES)
def test_no_update_is_an_empty_object(hash_type: str) -> None:
    assert new_hasher(hash_type, 0).finish() == checksum_of(b"", hash_type)


@pytest.mark.parametrize("hash_type", ["sha256", "MD5", "", "SHA2-256-CHUNKED", "crc64nvme"])
def test_an_unknown_type_can_not_be_verified(hash_type: str) -> None:
    with pytest.raises(FormatError, match=r"is unknown.*sha2-256-chunked, SHA256, CRC64NVME"):
        new_hasher(hash_type, 1)
    with pytest.raises(FormatError, match="is unknown"):
        checksum_of(b"x", hash_type)
