"""`testbed schema`: the JSON Schema of topology or experiment files, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def schema(
    kind: Annotated[Literal["topology", "experiment"], typer.Argument(help="The kind of file.")] = "topology",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file and not to stdout.")
    ] = None,
) -> None:
    """Print the JSON Schema of a kind of file. Editors use it to complete and check what you write.

    Example: testbed schema topology -o topology.schema.json
    """
    import json

    from testbed.cli.output import write_output
    from testbed.spec.schema import json_schema

    text = json.dumps(json_schema(kind), indent=2, ensure_ascii=False)
    if output is None:
        typer.echo(text)
        return
    write_output(output, text + "\n")
    typer.echo(f"wrote {output}", err=True)
