"""The weather pipeline, once on Airflow and once on Prefect, against one registry.

`make demo` uses a folder; `make demo-s3` an S3 server that is started here and stopped at the end.
Each engine runs in a process of its own, with its home, its database and its log below `.demo/`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Final

from demo.seaweedfs import seaweedfs
from t4_ops.lineage import graph, html_page, origin_of_file, render_origin, tree
from t4_ops.settings import load_settings

ROOT: Final = Path(__file__).resolve().parents[1]
BUCKET: Final = "t4-demo"
# The first start of either engine makes its database; on a busy machine that takes minutes.
ENGINE_TIMEOUT_S: Final = 900
PACKAGES: Final = ("weather/observations", "weather/summary")
# A demo shows its own settings, not those of whoever runs it.
FOREIGN: Final = ("AIRFLOW_", "AWS_", "OPENLINEAGE_", "PREFECT_", "T4_")


def main() -> int:
    """Run the demo and return 0 if both engines arrived at the same top hashes."""
    parser = argparse.ArgumentParser(prog="python -m demo.run", description=__doc__)
    parser.add_argument("--s3", action="store_true", help="use an S3 server instead of a folder")
    parser.add_argument("--source", help="CSV file of daily weather; default: Seattle, 2012-2015")
    arguments = parser.parse_args()
    work = ROOT / ".demo" / ("s3" if arguments.s3 else "folder")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    with ExitStack() as stack:
        for name in [name for name in os.environ if name.startswith(FOREIGN)]:
            del os.environ[name]
        registry = str(work / "registry")
        if arguments.s3:
            server = stack.enter_context(seaweedfs(work / "seaweedfs"))
            server.create_bucket(BUCKET, versioned=True)
            os.environ.update(server.environ())
            registry = f"s3://{BUCKET}"
        os.environ["T4_REGISTRY"] = registry
        os.environ["T4_LOCAL_REGISTRY"] = str(work / "local")
        # All servers of the demo are on this machine, whatever way it goes to others.
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
        os.environ["T4_CONFIG_FILE"] = str(work / "t4.toml")
        _say(f"Registry: {load_settings().registry}")
        results = {
            engine: _run_engine(engine, work, arguments.source) for engine in ("airflow", "prefect")
        }
        is_equal = _compare(results)
        uri = results["airflow"]["packages"]["weather/summary"]["uri"]
        return 0 if _show_lineage(uri, work) and is_equal else 1


def _run_engine(engine: str, work: Path, source: str | None) -> dict[str, Any]:
    """Run the pipeline on one engine in a process of its own and print its steps."""
    home = work / engine
    home.mkdir()
    answer, log = home / "steps.json", home / "log.txt"
    start_s = time.monotonic()
    _say(f"\n{engine.capitalize()} (log: {log.relative_to(ROOT)})")
    job = json.dumps({"home": str(home), "answer": str(answer), "source": source})
    with log.open("w") as output:
        exit_code = _run_group([sys.executable, "-m", f"demo.on_{engine}", job], output)
    if exit_code or not answer.is_file():
        tail = "\n".join(log.read_text().splitlines()[-40:])
        raise SystemExit(f"{tail}\n\n{engine} failed ({exit_code or 'no answer'}): see {log}")
    result: dict[str, Any] = json.loads(answer.read_text())
    for step in result["steps"]:
        top_hash = step["top_hash"] or "-"
        _say(f"  {step['name']:24} {top_hash:12.12} {step['seconds']:7.2f} s  {step['note']}")
    _say(
        f"  in all, {engine.capitalize()}'s own start included: {time.monotonic() - start_s:.1f} s"
    )
    return result


def _run_group(command: list[str], output: IO[str]) -> int | str:
    """Run a command in a process group of its own, which ends with it: engines start servers."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            return process.wait(ENGINE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"not done after {ENGINE_TIMEOUT_S} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _compare(results: dict[str, dict[str, Any]]) -> bool:
    _say("\nTop hashes")
    is_equal = True
    for name in PACKAGES:
        hashes = {result["packages"][name]["top_hash"] for result in results.values()}
        verdict = "the same on both engines" if len(hashes) == 1 else "DIFFERENT"
        is_equal = is_equal and len(hashes) == 1
        _say(f"  {name:22} {' '.join(sorted(hashes))}  {verdict}")
    return is_equal


def _show_lineage(uri: str, work: Path) -> bool:
    """Show what the runs left in the registry, and return whether both engines are in it.

    Nothing asked for it but `inputs=`. What only reads (browse, install) made nothing of it.
    """
    settings = load_settings()
    _say(f"\nLineage, from both engines' runs: python -m t4_ops.lineage '{uri}'\n")
    _say(tree(uri, settings=settings))
    found = graph(uri, settings=settings)
    page = work / "lineage.html"
    page.write_text(html_page(found), encoding="utf-8")
    _say(f"\nThe same as a page: {page.relative_to(ROOT)}")
    held = min((work / "airflow" / "files" / "installed").rglob("*.parquet"))
    _say(f"\nWhere a file that somebody holds is from: {held.relative_to(ROOT)}\n")
    origin = origin_of_file(held, "weather/observations", settings=settings)
    _say(render_origin(origin))
    engines = {run.event.run.engine for run in found.runs}
    inputs = [item for event in origin.first.runs for item in event.inputs]
    # What is no package is where everything began.
    is_whole = engines == {"airflow", "prefect"} and any(not item.package for item in inputs)
    if not is_whole:
        _say(f"\nThe lineage is NOT WHOLE: engines {engines}, origins {inputs}")
    return is_whole


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
