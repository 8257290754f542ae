"""Where the code of a run is, and what of that enters an event."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from t4_ops import lineage
from t4_ops.ledger import RunInfo, code_of, code_of_file
from tests.ledger_support import check_event, note, revision, stored_events

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


def checkout(root: Path, files: dict[str, str]) -> Path:
    """Make a folder with a script and the files of git that a checkout has."""
    for name, text in files.items():
        path = root / ".git" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    script = root / "jobs" / "etl.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("print('hello')\n")
    return script


def config(url: str) -> str:
    return f'[core]\n\tbare = false\n[remote "origin"]\n\turl = {url}\n\tfetch = +refs/*:refs/*\n'


WHOLE = {
    "HEAD": "ref: refs/heads/feature/x\n",
    "refs/heads/feature/x": f"{COMMIT}\n",
    "config": config("https://github.com/org/repo.git"),
}


def test_a_script_in_a_checkout(tmp_path: Path) -> None:
    script = checkout(tmp_path, WHOLE)

    code = code_of_file(script)

    assert code is not None
    assert (code.path, code.function) == ("jobs/etl.py", None)
    assert code.sha256 == hashlib.sha256(script.read_bytes()).hexdigest()
    assert code.repository == "https://github.com/org/repo.git"
    assert (code.commit, code.branch) == (COMMIT, "feature/x")


@pytest.mark.parametrize(
    ("files", "commit", "branch"),
    [
        ({"HEAD": f"{COMMIT}\n"}, COMMIT, None),
        ({"refs/heads/feature/x": ""}, None, "feature/x"),
        (
            {
                "refs/heads/feature/x": "",
                "packed-refs": f"# pack-refs\n{OTHER} refs/heads/feature/xy\n^{OTHER}\n"
                f"{COMMIT} refs/heads/feature/x\n",
            },
            COMMIT,
            "feature/x",
        ),
        ({"HEAD": "ref: ../../secret\n", "../secret": COMMIT}, None, None),
        ({"HEAD": ""}, None, None),
        ({"HEAD": "nonsense"}, None, None),
    ],
)
def test_what_is_checked_out(
    tmp_path: Path, files: dict[str, str], commit: str | None, branch: str | None
) -> None:
    code = code_of_file(checkout(tmp_path, {**WHOLE, **files}))

    assert code is not None
    assert (code.commit, code.branch) == (commit, branch)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://user:hunter2@host.example/org/repo.git", "https://host.example/org/repo.git"),
        ("https://hunter2@host.example:8443/org/repo", "https://host.example:8443/org/repo"),
        ("https://host.example/repo?token=hunter2#hunter2", "https://host.example/repo"),
        ("git@github.com:org/repo.git", "ssh://github.com/org/repo.git"),
        ("github.com:org/repo.git", "ssh://github.com/org/repo.git"),
        ("ssh://git@host.example:2222/org/repo.git", "ssh://host.example:2222/org/repo.git"),
        ("/srv/git/repo.git", None),
        ("file:///srv/git/repo.git", None),
        ("C:\\repo", None),
        ("https://hunter2@[::1]:8443/org/repo", "https://[::1]:8443/org/repo"),
        ("https://host.example/a team/re%20po", "https://host.example/a%20team/re%20po"),
        ("https://[broken", None),
        ("https://host:port/x", None),
    ],
)
def test_a_repository_is_named_without_credentials(
    tmp_path: Path, url: str, kept: str | None
) -> None:
    code = code_of_file(checkout(tmp_path, {**WHOLE, "config": config(url)}))

    assert code is not None
    assert code.repository == kept


@pytest.mark.parametrize("text", ["", "[remote", "\0\xff", '[remote "origin"]\n', "url = x\n"])
def test_a_damaged_configuration_names_none(tmp_path: Path, text: str) -> None:
    code = code_of_file(checkout(tmp_path, {**WHOLE, "config": text}))

    assert code is not None
    assert (code.repository, code.commit) == (None, COMMIT)


def test_a_linked_worktree(tmp_path: Path) -> None:
    checkout(tmp_path / "main", {**WHOLE, "refs/heads/other": OTHER})
    private = tmp_path / "main" / ".git" / "worktrees" / "w"
    private.mkdir(parents=True)
    (private / "HEAD").write_text("ref: refs/heads/other\n")
    (private / "commondir").write_text("../..\n")
    script = tmp_path / "linked" / "etl.py"
    script.parent.mkdir()
    script.write_text("")
    (tmp_path / "linked" / ".git").write_text(f"gitdir: {private}\n")

    code = code_of_file(script)

    assert code is not None
    assert (code.path, code.commit, code.branch) == ("etl.py", OTHER, "other")
    assert code.repository == "https://github.com/org/repo.git"


def test_a_file_outside_a_repository(tmp_path: Path) -> None:
    script = tmp_path / "etl.py"
    script.write_text("")

    code = code_of_file(script)

    assert code is not None
    assert (code.path, code.repository, code.commit) == (str(script), None, None)


@pytest.mark.parametrize("path", ["", "<stdin>", "/no/such/file.py", "/"])
def test_what_is_no_file_has_no_place(path: str) -> None:
    assert code_of_file(path) is None


def test_a_file_that_changed_is_looked_at_again(tmp_path: Path) -> None:
    file = tmp_path / "etl.py"
    for text in ("print(1)", "print(1, 2)"):
        file.write_text(text)
        code = code_of_file(file)
        assert code is not None
        assert code.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_very_large_file_is_not_hashed(tmp_path: Path) -> None:
    script = tmp_path / "etl.py"
    with script.open("wb") as file:
        os.truncate(file.fileno(), 5 * 1024 * 1024)

    code = code_of_file(script)

    assert code is not None
    assert code.sha256 is None


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def inner(*args: object) -> object:
        return function(*args)

    return inner


@decorated
def a_function() -> None:
    """Stand for a task's function."""


def test_a_function_is_in_its_file() -> None:
    code = code_of(a_function)

    assert code is not None
    assert (code.path.split("/")[-1], code.function) == ("test_ledger_code.py", "a_function")
    assert code_of(None) is None
    assert code_of(len) is None
    assert code_of(eval("lambda: 0")) is None  # noqa: S307


def test_an_event_tells_it_in_openlineages_words_and_ours(tmp_path: Path) -> None:
    script = checkout(tmp_path / "repo", WHOLE)
    run = RunInfo.here("job", code=code_of_file(script, "main"))

    done = note([], [revision(tmp_path, "out/p")], run=run)

    event = stored_events(tmp_path)[done.event_id]
    check_event(event)
    location = event["job"]["facets"]["sourceCodeLocation"]
    assert {name: value for name, value in location.items() if name[0] != "_"} == {
        "type": "git",
        "url": "https://github.com/org/repo.git",
        "repoUrl": "https://github.com/org/repo.git",
        "path": "jobs/etl.py",
        "version": COMMIT,
        "branch": "feature/x",
    }
    own = event["job"]["facets"]["t4_code"]
    assert (own["path"], own["function"], own["commit"]) == ("jobs/etl.py", "main", COMMIT)
    assert own["sha256"] == hashlib.sha256(script.read_bytes()).hexdigest()


def test_a_script_is_the_code_of_its_runs(tmp_path: Path) -> None:
    script = tmp_path / "etl.py"
    script.write_text(
        "from t4_ops import lineage\n"
        "from tests.ledger_support import revision\n"
        "def main():\n"
        f"    with lineage.run(inputs=revision({str(tmp_path)!r}, 'in/p')):\n"
        "        pass\n"
        "main()\n"
    )
    subprocess.run(
        [sys.executable, str(script)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        timeout=60,
    )

    (event,) = stored_events(tmp_path).values()
    assert event["job"]["name"] == "etl.py"
    own = event["job"]["facets"]["t4_code"]
    assert (own["path"], own["function"]) == (str(script), "main")


def test_a_script_that_has_gone_elsewhere_is_still_found(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "etl.py").write_text("another file of this name")
    script = tmp_path / "etl.py"
    script.write_text(
        "import os\nos.chdir('elsewhere')\nfrom t4_ops.ledger import RunInfo\n"
        "print(RunInfo.here().code.sha256)\n"
    )
    done = subprocess.run(
        [sys.executable, "etl.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == hashlib.sha256(script.read_bytes()).hexdigest()


def test_a_run_names_the_function_that_opened_it(tmp_path: Path) -> None:
    with lineage.run(job="etl", inputs=revision(tmp_path, "in/p")) as run:
        pass

    assert run.info.code is not None
    assert run.info.code.function == "test_a_run_names_the_function_that_opened_it"
    text = json.dumps(stored_events(tmp_path))
    assert "test_ledger_code.py" in text
