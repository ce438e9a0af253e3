"""Reading what people wrote: YAML files, folders and standard input; each fault is a sentence with its line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tailrace.errors import Usage

SUFFIXES = {".yaml", ".yml", ".json"}


def read_documents(paths: list[Path]) -> list[Mapping[str, Any]]:
    """All documents of all files, Lists unfolded; `-` is standard input, a folder means its manifests.

    Raises:
        Usage: a file cannot be read or is no YAML.
    """
    return [document for path in paths for file in list_files(path) for document in read_file(file)]


def list_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES)
    if not found:
        raise Usage(f"{path} has no manifests.", hint="name a .yaml file, or a folder that has some")
    return found


def read_file(path: Path) -> Iterator[Mapping[str, Any]]:
    text = read_text(path, hint="check the path after -f")
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise explain_yaml(path, error) from None
    for document in documents:
        if document is None:
            continue
        check_document(path, document)
        if document["kind"].endswith("List") and isinstance(document.get("items"), list):
            for item in document["items"]:
                check_document(path, item)
                yield item
        else:
            yield document


def check_document(path: Path, document: Any) -> None:
    readable = isinstance(document, dict) and isinstance(document.get("kind"), str)
    if not readable or not isinstance(document.get("metadata") or {}, dict):
        raise Usage(
            f"{path} has a document without a kind.", hint="a manifest has apiVersion, kind and metadata"
        )


def read_text(path: Path, *, hint: str) -> str:
    """What a file holds; `-` is standard input.

    Raises:
        Usage: it cannot be read.
    """
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Usage(f"{path} cannot be read: {reason}.", hint=hint) from None


def explain_yaml(name: Path | str, error: yaml.YAMLError) -> Usage:
    """What is wrong with it, and in which line."""
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark else ""
    return Usage(f"{name}{where}: {getattr(error, 'problem', None) or error}.", hint="this is no valid YAML")
