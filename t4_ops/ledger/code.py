"""Which code a run executed: the file, its bytes, and the commit of the repository it lies in.

Git's files are read as files: no program is started, nothing of the repository is run.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections.abc import Callable
from configparser import Error as ConfigError
from configparser import RawConfigParser
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from t4_ops.ledger.text import clean

# Generous for sources and for git's own files; what is larger is not read.
_FILE_MAX_BYTES: Final = 4 * 1024 * 1024
_TEXT_MAX_CHARS: Final = 1024
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH: Final = "refs/heads/"
# `user@host:path`, git's short form of ssh.
_SCP_LIKE: Final = re.compile(r"(?:[^@/:]+@)?(?P<host>[^@/:]{2,}):(?P<path>[^:].*)")


@dataclass(frozen=True, slots=True)
class CodeLocation:
    """Where the code of a run is, and in which state.

    Attributes:
        path: The file: relative to its repository if it is in one, else absolute.
        function: Name of the function that ran, if it was one.
        sha256: SHA-256 of the file's bytes.
        repository: URL of the repository's remote `origin`, without credentials.
        commit: The commit that was checked out when this process first saw the file as it is; the
            file may differ from it, which `sha256` tells.
        branch: The branch, at the same moment.
    """

    path: str
    function: str | None = None
    sha256: str | None = None
    repository: str | None = None
    commit: str | None = None
    branch: str | None = None


def code_of_file(path: str | os.PathLike[str], function: str | None = None) -> CodeLocation | None:
    """Return where a file of code is; None if there is no such file, as in a notebook or prompt.

    It is looked at again only when the file has changed: runs ask for it by the thousand.
    """
    place = os.path.abspath(path)
    found = _code_of_file(place, _state_of(place))
    if found is None or function is None:
        return found
    return replace(found, function=clean(function, _TEXT_MAX_CHARS))


def code_of(function: Callable[..., Any] | None) -> CodeLocation | None:
    """Return where a function is, its decorators passed by; None if it is in no file."""
    if function is None:
        return None
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return None
    return code_of_file(code.co_filename, getattr(function, "__qualname__", None))


def _state_of(path: str) -> tuple[int, int] | None:
    """Return what changes with a file: time and size; None if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=256)
def _code_of_file(path: str, _: tuple[int, int] | None) -> CodeLocation | None:
    # No folder and nothing in it is opened but regular files: `<stdin>` is none.
    if not os.path.isfile(path):
        return None
    data = _read(Path(path))
    sha256 = None if data is None else hashlib.sha256(data).hexdigest()
    found = CodeLocation(clean(path, _TEXT_MAX_CHARS), sha256=sha256)
    for folder in Path(path).parents:
        git = _git_folder(folder)
        if git is not None:
            relative = Path(path).relative_to(folder).as_posix()
            return _with_git(replace(found, path=clean(relative, _TEXT_MAX_CHARS)), git)
    return found


def _git_folder(folder: Path) -> Path | None:
    """Return the git folder of a checkout; in a linked worktree `.git` is a file that names it."""
    git = folder / ".git"
    if git.is_dir():
        return git
    named = _text(git).removeprefix("gitdir:").strip() if git.is_file() else ""
    return folder / named if named and (folder / named).is_dir() else None


def _with_git(found: CodeLocation, git: Path) -> CodeLocation:
    # What worktrees share lies elsewhere.
    common = git / (_text(git / "commondir").strip() or ".")
    head = _text(git / "HEAD").strip()
    ref = head.removeprefix("ref:").strip() if head.startswith("ref:") else None
    commit = head if ref is None else _commit_of(ref, git, common)
    branch = ref.removeprefix(_BRANCH) if ref is not None and ref.startswith(_BRANCH) else None
    return replace(
        found,
        repository=_repository(common / "config"),
        commit=commit if _COMMIT.fullmatch(commit) else None,
        branch=None if branch is None else clean(branch, _TEXT_MAX_CHARS),
    )


def _commit_of(ref: str, git: Path, common: Path) -> str:
    if ".." in ref or not ref.startswith("refs/"):
        return ""
    for folder in (git, common):
        loose = _text(folder / ref).strip()
        if loose:
            return loose
    lines = (line.partition(" ") for line in _text(common / "packed-refs").splitlines())
    return next((commit for commit, _, name in lines if name.strip() == ref), "")


def _repository(config: Path) -> str | None:
    parser = RawConfigParser(strict=False, allow_no_value=True)
    try:
        # Git indents its options, which this parser would take for continued lines.
        parser.read_string("\n".join(line.strip() for line in _text(config).splitlines()))
        url = parser.get('remote "origin"', "url", fallback=None)
    except ConfigError:
        return None
    return None if url is None else _without_credentials(url.strip())


def _without_credentials(url: str) -> str | None:
    """Return a remote's URL without user, password, query and fragment; None for a local path."""
    short = None if "://" in url else _SCP_LIKE.fullmatch(url)
    if short is not None:
        url = f"ssh://{short['host']}/{short['path'].lstrip('/')}"
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if parts.scheme not in ("http", "https", "ssh", "git") or not host:
        return None
    # `hostname` comes without the brackets of an IPv6 address.
    host = f"[{host}]" if ":" in host else host
    path = quote(unquote(parts.path))
    return clean(f"{parts.scheme}://{host}{port}{path}", _TEXT_MAX_CHARS)


def _text(path: Path) -> str:
    data = _read(path)
    return "" if data is None else data.decode("utf-8", errors="replace")


def _read(path: Path) -> bytes | None:
    """Return a small regular file's bytes; None if there is none, or it can't be read."""
    try:
        if not path.is_file() or path.stat().st_size > _FILE_MAX_BYTES:
            return None
        return path.read_bytes()
    except OSError:
        return None
