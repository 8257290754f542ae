"""How `make bench` judges its figures; those here are made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import floors
from benchmarks.bench_report import judge_all, says
from benchmarks.bench_run import Run
from benchmarks.figures import Figure, total_cpu_s
from benchmarks.floor_table import FLOORS
from benchmarks.floors import Verdict
from tests.bench_support import PAIRS, rounds, whole_run

# Verdicts


def test_every_floor_is_judged_and_may_be_met() -> None:
    judged = zip(FLOORS, judge_all(whole_run()), strict=True)
    assert [floor.work for floor, verdict in judged if not verdict.met] == []


@pytest.mark.parametrize("case", [case for case in PAIRS if not case.startswith("changed-alone")])
def test_ten_times_the_time_and_the_requests_miss_a_floor(case: str) -> None:
    run = whole_run()
    ours = run.cases[case]["t4_ops"]
    run.cases[case]["t4_ops"] = [
        replace(f, wall_s=f.wall_s * 10, cpu_s=f.cpu_s * 100, requests=2000, peak_mb=200)
        for f in ours
    ]
    missed = [verdict for verdict in judge_all(run) if verdict.met is False]
    assert missed
    assert all(verdict.margin is None or verdict.margin < 1 for verdict in missed)


def test_nothing_is_judged_of_a_run_of_nothing() -> None:
    assert {verdict.met for verdict in judge_all(Run("now", {}, {}))} == {None}


def test_a_floor_is_judged_at_its_own_size_only() -> None:
    run = whole_run()
    run.cases = {"build 300x4096": {"t4_ops": rounds(1), "quilt3": rounds(50)}}
    verdict = floors.faster("build", "10000x4096", "quilt3", 5)(run)
    assert verdict.met is None
    assert "not measured at this size; at 300x4096: 50.00x" in verdict.measured


def test_a_peer_that_was_left_out_decides_nothing() -> None:
    run = whole_run()
    del run.cases["push 10000x4096"]["s5cmd"]
    verdict = floors.at_most("push", "10000x4096", "s5cmd", 1, total_cpu_s)(run)
    assert verdict == Verdict("s5cmd was left out")


def test_margins_say_how_far_a_floor_is_passed() -> None:
    run = whole_run()
    run.cases["push 10000x4096"]["s5cmd"] = rounds(4.0)
    verdict = floors.at_most("push", "10000x4096", "s5cmd", 1)(run)
    assert verdict.met is False
    assert verdict.margin == pytest.approx(0.5)


def test_the_most_memory_of_any_transfer_decides() -> None:
    run = whole_run()
    run.cases["copy 3000x4096"]["t4_ops"][1] = Figure(1, 1, peak_mb=160, manifest_bytes=1_000_000)
    verdict = floors.memory(run)
    assert verdict.met is False
    assert "159 MB at most (copy 3000x4096)" in verdict.measured


def test_requests_of_an_unchanged_push_are_counted_against_its_files() -> None:
    run = whole_run()
    assert floors.no_request_per_file(run).met
    run.cases["again 10000x4096"]["t4_ops"] = rounds(1, requests=10_004)
    assert floors.no_request_per_file(run).met is False


def test_a_changed_hundredth_may_cost_what_it_costs_alone() -> None:
    run = whole_run()
    assert floors.cost_of_changes(run).met
    run.cases["changed 10000x4096"]["t4_ops"] = rounds(1.5)
    assert floors.cost_of_changes(run).met is False


def test_a_lost_move_misses_the_floor() -> None:
    run = whole_run()
    name = "folder: latest alone"
    run.pointers[name] = [replace(run.pointers[name][0], lost=1)]
    assert floors.lost(run).met is False
    assert floors.lost(replace(run, options={"rivals": 4})).met is None


@pytest.mark.parametrize(
    ("met", "words"),
    [
        ([True], "met"),
        ([True, True], "met"),
        ([False], "**missed**"),
        ([False, False], "**missed**"),
        ([True, False], "**missed** in run 2"),
        ([False, None], "**missed** in run 1"),
        ([None, True], "met in run 2, not measured in the other"),
        ([None, None], "not measured"),
    ],
)
def test_a_floor_is_met_only_where_every_run_met_it(met: list[bool | None], words: str) -> None:
    assert says([Verdict("", one) for one in met]) == words


def test_what_the_processors_allow_is_told_beside_a_verified_install() -> None:
    run = whole_run()
    # 0.7 of 9 s moved by the peer, 0.8 of 5 s hashed, on two processors: 6.3 + 4 over 2 over 6.3.
    told = floors.verified_install(run).measured
    assert told.endswith("; s5cmd and SHA-256 alone make 0.82x here")
    del run.cases["hash 2048MiB"]
    assert "SHA-256" not in floors.verified_install(run).measured
