"""`python -m t4_ops.lineage`: questions about a revision, answered on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

from t4_ops.errors import InvalidInputError, StorageError, T4Error
from t4_ops.keys import PackageUri
from t4_ops.lineage.diagrams import mermaid
from t4_ops.lineage.freshness import impact, stale
from t4_ops.lineage.graphs import graph
from t4_ops.lineage.heldfiles import origin_of_file
from t4_ops.lineage.origins import origin
from t4_ops.lineage.pages import html_page
from t4_ops.lineage.render import printable, tree
from t4_ops.lineage.reports import render_impact, render_origin, render_stale
from t4_ops.lineage.walks import Subject
from t4_ops.settings import load_settings

OK: Final = 0
ERROR: Final = 1
FOUND: Final = 3
"""With `--check`: something is stale, or depends on the revision. 2 is argparse's, wrong usage."""
UNSURE: Final = 4
"""With `--check`: nothing was found, but not everything that counts could be asked or compared."""

_COMMANDS: Final = ("tree", "stale", "impact", "origin")
_URI: Final = "quilt+s3://bucket#package=ns/name[@hash], or t4+file:///folder#package=..."
_SOURCE: Final = "--source NAMESPACE NAME [VERSION]"
_CHECK: Final = "exit with 3 if there are any, with 4 if something could not be checked"
_EPILOG: Final = (
    "COMMAND --help tells more; without a command it is tree. Exit codes: 0 done, 1 an error,"
    " 2 wrong usage. With --check: 3, stale inputs or dependent revisions were found; 4, none were,"
    " but a registry, an event or an input that is a package could not be read, or events left out"
    " inputs."
)

Answer = tuple[str, int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer a question about a revision or another source.

    Returns:
        The exit code: see `FOUND` and `UNSURE`. Errors are printed to stderr; wrong usage exits
        with 2.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # `python -m t4_ops.lineage URI` is older than the commands, and still the shortest way.
    if words and words[0] not in (*_COMMANDS, "-h", "--help"):
        words.insert(0, "tree")
    parser = _parser()
    given = parser.parse_args(words)
    if given.source is not None and len(given.source) not in (2, 3):
        parser.error(f"a source is given as {_SOURCE}")
    answer: Callable[[argparse.Namespace, Mapping[str, Any]], Answer] = given.answer
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal may be unable to show a name; that is no reason to show nothing.
            stream.reconfigure(errors="backslashreplace")
    try:
        common = {
            "depth": given.depth,
            "settings": load_settings(),
            "registries": given.registry,
        }
        text, code = answer(given, common)
        _write(text if text.endswith("\n") else f"{text}\n", given.output)
    except T4Error as exc:
        sys.stderr.write("\n".join(map(printable, f"error: {exc}".splitlines())) + "\n")
        return ERROR
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m t4_ops.lineage",
        description="Ask what revisions were made from, and what came of them.",
        epilog=_EPILOG,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    what = "what a revision was made from (<-) and what came of it (->)"
    command = _command(commands, "tree", what, _tree, ("tree", "mermaid", "json", "html"))
    what = "the inputs of a revision of which there are newer ones now"
    command = _command(commands, "stale", what, _stale, ("text", "json"))
    command.add_argument("--check", action="store_true", help=_CHECK)
    what = "what was made from a revision and is still in use"
    command = _command(commands, "impact", what, _impact, ("text", "json"))
    command.add_argument("--all", action="store_true", help="show superseded revisions too")
    command.add_argument("--check", action="store_true", help=_CHECK)
    what = "where a file's bytes come from: revisions on its way that hold the same ones"
    command = _command(commands, "origin", what, _origin, ("text", "json"), has_source=False)
    command.add_argument(
        "key", nargs="?", help="logical key; or the URI's path=, or --file instead"
    )
    command.add_argument("--file", help="a local file that is in the package under some key")
    return parser


def _command(
    commands: Any,
    name: str,
    what: str,
    answer: Callable[[argparse.Namespace, Mapping[str, Any]], Answer],
    formats: tuple[str, ...],
    *,
    has_source: bool = True,
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=what, description=f"Print {what}."
    )
    command.set_defaults(answer=answer, source=None)
    if has_source:
        about = command.add_mutually_exclusive_group(required=True)
        about.add_argument("uri", nargs="?", help=_URI)
        what = f"what is asked about, where it is no package: {_SOURCE}"
        about.add_argument("--source", nargs="+", metavar="PART", help=what)
    else:
        command.add_argument("uri", help=_URI)
    command.add_argument("--depth", type=int, help="runs to follow at most, one after the other")
    command.add_argument(
        "--registry", action="append", default=[], help="ask this registry too; may be repeated"
    )
    command.add_argument("--format", choices=formats, default=formats[0])
    command.add_argument("--output", metavar="FILE", help="write into this file, not to stdout")
    return command


def _subject(given: argparse.Namespace) -> Subject:
    if given.source is not None:
        return dict(zip(("namespace", "name", "version"), given.source, strict=False))
    uri: str = given.uri
    if not PackageUri.is_uri(uri):
        raise InvalidInputError(
            f"{uri!r} is no package URI: give {_URI}; for what is no package {_SOURCE}", key=uri
        )
    return uri


def _tree(given: argparse.Namespace, common: Mapping[str, Any]) -> Answer:
    if given.format == "tree":
        return tree(_subject(given), **common), OK
    found = graph(_subject(given), **common)
    if given.format == "mermaid":
        return mermaid(found), OK
    return html_page(found) if given.format == "html" else _json(found.to_dict()), OK


def _stale(given: argparse.Namespace, common: Mapping[str, Any]) -> Answer:
    answer = stale(_subject(given), **common)
    text = _json(answer.to_dict()) if given.format == "json" else render_stale(answer)
    is_unsure = bool(
        answer.unread or answer.omitted_inputs or any(item.ref for item in answer.unchecked)
    )
    return text, _code(given, is_found=answer.is_stale, is_unsure=is_unsure)


def _impact(given: argparse.Namespace, common: Mapping[str, Any]) -> Answer:
    answer = impact(_subject(given), everything=given.all, **common)
    text = _json(answer.to_dict()) if given.format == "json" else render_impact(answer)
    is_unsure = bool(answer.unread)
    return text, _code(given, is_found=bool(answer.revisions), is_unsure=is_unsure)


def _code(given: argparse.Namespace, *, is_found: bool, is_unsure: bool) -> int:
    if not given.check:
        return OK
    if is_found:
        return FOUND
    return UNSURE if is_unsure else OK


def _origin(given: argparse.Namespace, common: Mapping[str, Any]) -> Answer:
    if given.file is not None and given.key is not None:
        raise InvalidInputError("give a logical key or --file, not both")
    if given.file is not None:
        answer = origin_of_file(given.file, _subject(given), **common)
    else:
        answer = origin(_subject(given), given.key, **common)
    return _json(answer.to_dict()) if given.format == "json" else render_origin(answer), OK


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2)


def _write(text: str, output: str | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        Path(output).write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as exc:
        raise StorageError(f"{output} can't be written: {exc.strerror}", key=output) from exc


if __name__ == "__main__":
    sys.exit(main())
