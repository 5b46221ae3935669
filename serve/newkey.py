"""`python -m serve.newkey FILE NAME SCOPE ... [--days N]`: add an API key to a file, and print it: once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from covr.errors import UserError
from covr.storage import Place
from serve.keys import Keys, Scope, make


def add(
    file: Annotated[Path, typer.Argument(help="Made where it is not there.")],
    name: Annotated[str, typer.Argument(help="Whose key it is; audit log and limits go by it.")],
    scopes: Annotated[list[str], typer.Argument(help="query, ingest, admin.")],
    days: Annotated[int | None, typer.Option(help="It expires after so many days.")] = None,
) -> None:
    """Add an API key to a file, and print it: the file keeps its hash only."""
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    chosen: list[Scope] = [scope for scope in ("query", "ingest", "admin") if scope in scopes]
    if unknown := set(scopes) - set(chosen):
        raise UserError("no such scope", ", ".join(sorted(unknown)), "choose of query, ingest, admin")
    known = Keys.read(Place(file)).entries if file.exists() else []
    if any(key.name == name for key in known):
        raise UserError("there is a key of that name", str(file), "choose another name")
    secret, key = make(name, chosen, expires)
    Place(file).write_json({"keys": [json.loads(each.model_dump_json()) for each in [*known, key]]})
    print(secret)


if __name__ == "__main__":
    try:
        typer.run(add)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
