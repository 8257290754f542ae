"""`Bucket`: objects, files and folders of one S3 bucket; and `copy`, between files and buckets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.settings import load_settings
from t4_ops.storage import open_bucket
from tests.package_support import bytes_below, write_files
from tests.s3_support import client_of

TABLE = pd.DataFrame({"n": [1, 2], "text": ["a", "é"]})


def test_objects_go_in_and_come_out(bucket_registry: str, s3_server: SeaweedFS) -> None:
    bucket = t4.Bucket(bucket_registry)
    bucket.put("t/table.parquet", TABLE, meta={"unit": "é", "n": [1, None]})
    bucket.put("array.npy", np.eye(2))
    bucket.put("d.json.gz", {"a": [1, "é"]})
    bucket.put("note.txt", "text é")
    assert bucket.get("t/table.parquet").equals(TABLE)
    assert bucket("t/table.parquet").equals(TABLE)
    assert np.array_equal(bucket.deserialize("array.npy"), np.eye(2))
    assert bucket.get("d.json.gz") == {"a": [1, "é"]}
    assert bucket.get("note.txt") == "text é"
    assert bucket.get_meta("t/table.parquet") == {"unit": "é", "n": [1, None]}
    assert bucket.get_meta("note.txt") == {}
    bucket.set_meta("t/table.parquet", {"other": 1})
    assert bucket.get_meta("t/table.parquet") == {"other": 1}
    # The format it was written in is still known.
    assert bucket.get("t/table.parquet").equals(TABLE)
    # T4's own place for metadata, so that it reads ours and we read its.
    found = client_of(s3_server).head_object(Bucket=bucket_registry[5:], Key="t/table.parquet")
    assert found["Metadata"].keys() == {"helium"}
    client_of(s3_server).put_object(
        Bucket=bucket_registry[5:],
        Key="theirs.csv",
        Body=b"a\n1\n",
        Metadata={"helium": '{"user_meta": {"by": "t4"}, "target": "csv"}'},
    )
    assert bucket.get_meta("theirs.csv") == {"by": "t4"}
    assert bucket.get("theirs.csv")["a"].tolist() == [1]

    for key, error in (
        ("nothing", t4.NotFoundError),
        ("", t4.InvalidInputError),
        ("t/", t4.InvalidInputError),
    ):
        for call in (bucket.get, bucket.get_meta, bucket.delete):
            with pytest.raises(error):
                call(key)
    with pytest.raises(t4.InvalidInputError, match="bytes"):
        bucket.set_meta("note.txt", {"large": "x" * 3000})
    with pytest.raises(t4.InvalidInputError):
        bucket.put("new.txt", "text", meta={"bad": object()})
    with pytest.raises(t4.InvalidInputError):
        bucket.put("new.unknown", {"a": 1})
    assert "new.txt" not in set(bucket.keys())
    open_bucket(bucket_registry, load_settings()).write("bad.json", b"{")
    with pytest.raises(t4.FormatError):
        bucket.get("bad.json")


def test_files_and_folders_go_in_and_come_out(bucket_registry: str, tmp_path: Path) -> None:
    bucket = t4.Bucket(bucket_registry)
    assert repr(bucket) == f"Bucket({bucket_registry!r})"
    files = {"a": b"1", "b/c d#.txt": b"2", "b/large": b"l" * (8 * 1024 * 1024 + 1), "é": b""}
    folder = write_files(tmp_path / "files", {**files, ".quilt/x": b"no"})
    bucket.put_file("one/file.txt", folder / "a")
    bucket.put_dir("dir/", folder)
    bucket.put_dir("other", folder / "b")
    wanted = [*(f"dir/{key}" for key in files), "one/file.txt", "other/c d#.txt", "other/large"]
    wanted_keys = sorted(wanted, key=str.encode)
    assert bucket.keys() == wanted_keys
    folders, objects = bucket.ls()
    assert (folders, objects) == (["dir/", "one/", "other/"], [])
    for path in ("dir", "dir/", "/dir/"):
        folders, objects = bucket.ls(path)
        assert folders == ["dir/b/"]
        assert [(o.key, o.size_bytes) for o in objects] == [("dir/a", 1), ("dir/é", 0)]
    folders, objects = bucket.ls("dir", recursive=True)
    assert (folders, [o.key for o in objects]) == (
        [],
        [key for key in wanted_keys if key.startswith("dir/")],
    )

    bucket.fetch("dir/", tmp_path / "fetched")
    assert bytes_below(tmp_path / "fetched") == files
    bucket.fetch("dir/b/c d#.txt", tmp_path / "one" / "renamed.txt")
    bucket.fetch("dir/a", f"{tmp_path}/into/")
    (tmp_path / "there").mkdir()
    bucket.fetch("dir/a", tmp_path / "there")
    bucket.fetch("", tmp_path / "all")
    below = bytes_below(tmp_path)
    assert below["one/renamed.txt"] == b"2"
    assert below["into/a"] == below["there/a"] == b"1"
    assert bytes_below(tmp_path / "all").keys() == set(wanted)

    open_bucket(bucket_registry, load_settings()).write("evil/.quilt/x", b"x")
    (tmp_path / "file").write_bytes(b"")
    for key, dest, error in (
        ("nothing/", "x", t4.NotFoundError),
        ("nothing", "x", t4.NotFoundError),
        ("evil/", "x", t4.InvalidInputError),
        ("dir/", "file", t4.InvalidInputError),
        ("dir/", "file/x", t4.InvalidInputError),
    ):
        with pytest.raises(error):
            bucket.fetch(key, tmp_path / dest)
    assert not (tmp_path / "x").exists()
    with pytest.raises(t4.NotFoundError):
        bucket.put_file("x", tmp_path / "nothing")
    with pytest.raises(t4.NotFoundError):
        bucket.put_dir("x", tmp_path / "nothing")

    bucket.delete("dir/a")
    with pytest.raises(t4.NotFoundError):
        bucket.get("dir/a")
    bucket.delete_dir("dir")
    bucket.delete("evil/.quilt/x")
    assert bucket.keys() == [key for key in wanted_keys if not key.startswith("dir/")]
    for whole in ("", "/"):
        with pytest.raises(t4.InvalidInputError):
            bucket.delete_dir(whole)


def test_a_bucket_is_a_whole_bucket(s3_env: SeaweedFS, tmp_path: Path) -> None:
    for uri in ("s3://bucket/below", str(tmp_path), "bucket", "http://host"):
        with pytest.raises(t4.InvalidInputError):
            t4.Bucket(uri)
    with pytest.raises(t4.T4Error, match="no-such-bucket"):
        t4.Bucket("s3://no-such-bucket-here").keys()


def test_copy_between_files_and_buckets(bucket_registry: str, tmp_path: Path) -> None:
    store = open_bucket(bucket_registry, load_settings())
    data = b"c" * (8 * 1024 * 1024 + 3)
    write_files(tmp_path, {"src file": data})
    url = f"{bucket_registry}/dir/obj%20ect%3F"
    t4.copy(tmp_path / "src file", url)
    assert store.read("dir/obj ect?").data == data
    t4.copy(url, f"{bucket_registry}/second")
    t4.copy(f"{bucket_registry}/second", (tmp_path / "new dir" / "file").as_uri())
    t4.copy(tmp_path / "new dir" / "file", tmp_path / "third")
    assert (tmp_path / "third").read_bytes() == data
    version = store.write("second", b"newer").version_id
    store.write("second", b"newest")
    t4.copy(f"{bucket_registry}/second", tmp_path / "third")
    assert (tmp_path / "third").read_bytes() == b"newest"
    if store.is_versioned:
        t4.copy(f"{bucket_registry}/second?versionId={version}", tmp_path / "third")
        assert (tmp_path / "third").read_bytes() == b"newer"
    before = bytes_below(tmp_path)
    for src, dest, error in (
        (tmp_path / "nothing", tmp_path / "third", t4.NotFoundError),
        (tmp_path, tmp_path / "third", t4.InvalidInputError),
        (f"{bucket_registry}/nothing", tmp_path / "third", t4.NotFoundError),
        (bucket_registry, tmp_path / "third", t4.InvalidInputError),
        (f"{bucket_registry}/dir/", tmp_path / "third", t4.InvalidInputError),
        (tmp_path / "third", bucket_registry, t4.InvalidInputError),
        (tmp_path / "third", f"{bucket_registry}/dir/", t4.InvalidInputError),
        (tmp_path / "third", f"{url}?versionId=1", t4.InvalidInputError),
        (tmp_path / "src file", tmp_path / "third" / "x", t4.InvalidInputError),
        (tmp_path / "src file", tmp_path / "new dir", t4.T4Error),
    ):
        with pytest.raises(error):
            t4.copy(src, dest)
    assert bytes_below(tmp_path) == before
