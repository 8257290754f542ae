"""The cache of contents: fetched once, verified always, bounded, and never in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.errors import InvalidInputError
from t4_ops.settings import Settings, load_settings
from tests.package_support import NAME, ROOT, bytes_below, watched, write_files

MIB = 1024 * 1024
# One that is read whole, one that is streamed, one that comes in ranges, and nothing.
FILES = {
    "a": b"one",
    "b/streamed": os.urandom(3 * MIB),
    "empty": b"",
    "large": os.urandom(16 * MIB + 5),
}


@pytest.fixture
def bucket(s3_env: SeaweedFS, unversioned_bucket: str, tmp_path: Path) -> str:
    registry = f"s3://{unversioned_bucket}"
    t4.Package().set_dir("/", write_files(tmp_path / "files", FILES)).push(NAME, registry)
    return registry


def cached(tmp_path: Path, cache_bytes: int = 64 * MIB) -> Settings:
    return load_settings(cache_bytes=cache_bytes, cache_dir=str(tmp_path / "cache"))


def install(registry: str, dest: Path, settings: Settings) -> dict[str, bytes]:
    t4.Package.install(NAME, registry, dest=dest, settings=settings)
    return bytes_below(dest)


def kept(tmp_path: Path) -> list[Path]:
    """Return the files that hold contents."""
    return [path for path in (tmp_path / "cache").glob("*/*") if path.is_file()]


def test_it_is_off_unless_wanted(bucket: str, tmp_path: Path) -> None:
    settings = load_settings(cache_dir=str(tmp_path / "cache"))
    assert settings.cache_bytes == 0
    assert install(bucket, tmp_path / "dest", settings) == FILES
    assert not (tmp_path / "cache").exists()
    with pytest.raises(InvalidInputError, match="cache_bytes"):
        load_settings(cache_bytes=-1)


def test_a_second_install_asks_for_no_object(
    bucket: str, s3_env: SeaweedFS, tmp_path: Path
) -> None:
    with watched(s3_env.endpoint_url) as (relay, reached):
        settings = replace(cached(tmp_path), s3=reached.s3)
        assert install(bucket, tmp_path / "first", settings) == FILES
        assert relay.seen("GET", "/.t4/v1/objects/")
        relay.requests.clear()
        assert install(bucket, tmp_path / "second", settings) == FILES
        package = t4.Package.browse(NAME, bucket, settings=settings)
        assert package["a"].get_bytes() == FILES["a"]
        assert package["b/streamed"].get_bytes() == FILES["b/streamed"]
        assert package["large"].get_bytes() == FILES["large"]
        assert not relay.seen("GET", "/.t4/v1/objects/")
    for path in kept(tmp_path):
        assert path.stat().st_nlink == 1
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


def test_a_damaged_file_is_fetched_again(bucket: str, tmp_path: Path) -> None:
    settings = cached(tmp_path)
    install(bucket, tmp_path / "first", settings)
    for path in kept(tmp_path):
        data = bytearray(path.read_bytes())
        if data:
            data[-1] ^= 1
            path.write_bytes(data)
    assert install(bucket, tmp_path / "second", settings) == FILES
    assert install(bucket, tmp_path / "third", settings) == FILES
    assert sorted(path.read_bytes() for path in kept(tmp_path)) == sorted(FILES.values())


def test_a_cut_file_is_fetched_again(bucket: str, tmp_path: Path) -> None:
    settings = cached(tmp_path)
    install(bucket, tmp_path / "first", settings)
    for path in kept(tmp_path):
        os.truncate(path, path.stat().st_size // 2)
    assert install(bucket, tmp_path / "second", settings) == FILES


def test_what_was_used_longest_ago_goes_first(bucket: str, tmp_path: Path) -> None:
    limit = MIB
    package = t4.Package()
    for number in range(12):
        package.set(f"{number:02}.bin", os.urandom(100_000))
    package.push("team/many", bucket)
    package = t4.Package.browse("team/many", bucket, settings=cached(tmp_path, limit))
    for number, key in enumerate(sorted(package.keys())):
        before = set(kept(tmp_path))
        package[key].get_bytes()
        for new in set(kept(tmp_path)) - before:
            os.utime(new, (number, number))  # each step is a second later
        package["00.bin"].get_bytes()
        used = sum(path.stat().st_size for path in kept(tmp_path))
        assert used <= limit
    held = {path.read_bytes() for path in kept(tmp_path)}
    assert package["00.bin"].get_bytes() in held
    assert package["11.bin"].get_bytes() in held
    assert package["01.bin"].get_bytes() not in held


def test_what_is_larger_than_the_cache_is_not_kept(bucket: str, tmp_path: Path) -> None:
    assert install(bucket, tmp_path / "dest", cached(tmp_path, 4 * MIB)) == FILES
    assert FILES["large"] not in {path.read_bytes() for path in kept(tmp_path)}


def test_processes_share_it(bucket: str, tmp_path: Path) -> None:
    limit = 22 * MIB
    given = {"registry": bucket, "root": str(tmp_path), "limit": limit}
    code = (
        "import json, sys; from pathlib import Path\n"
        "from tests.test_transfer_cache import FILES, cached, install\n"
        "given = json.loads(sys.argv[1]); root = Path(given['root'])\n"
        "for turn in range(2):\n"
        "    dest = root / f'{sys.argv[2]}-{turn}'\n"
        "    found = install(given['registry'], dest, cached(root, given['limit']))\n"
        "    assert {key: len(data) for key, data in found.items()} == given['sizes']\n"
    )
    given["sizes"] = {key: len(data) for key, data in FILES.items()}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(given), str(number)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in running:
        _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
    for number in range(4):
        assert bytes_below(tmp_path / f"{number}-1") == FILES
    assert sum(path.stat().st_size for path in kept(tmp_path)) <= limit
    assert {path.read_bytes() for path in kept(tmp_path)} <= set(FILES.values())


def test_a_folder_that_takes_no_files_is_passed_over(
    bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A file in its place: the superuser may write into read-only folders.
    (tmp_path / "cache").write_bytes(b"in the way")
    for number in range(2):
        assert install(bucket, tmp_path / f"{number}", cached(tmp_path)) == FILES
    said = [record for record in caplog.records if "nothing more is kept" in record.message]
    assert len(said) == 1


def test_a_disk_that_takes_no_large_file_is_passed_over(bucket: str, tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from tests.test_transfer_cache import NAME, cached, t4\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (MIB := 1024 * 1024, MIB))\n"
        "package = t4.Package.browse(NAME, sys.argv[1], settings=cached(Path(sys.argv[2])))\n"
        "assert len(package['b/streamed'].get_bytes()) == 3 * MIB\n"
        "assert package['a'].get_bytes() == b'one'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, bucket, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing more is kept" in done.stderr
    assert all(path.stat().st_size < MIB for path in kept(tmp_path))
    assert not [path for path in kept(tmp_path) if path.name.startswith(".t4-")]
