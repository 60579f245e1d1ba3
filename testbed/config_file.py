"""Reading a program's configuration: a YAML file in, a validated pydantic model out.

What is wrong in the file becomes one `UserError` that lists every problem with its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError

from testbed.errors import Problem, UserError
from testbed.spec.yaml_reader import Places, read_yaml

UNIX_PATH_LIMIT = 107  # sun_path holds 108 bytes with the closing zero: unix(7)
Model = TypeVar("Model", bound=BaseModel)


def _short_enough(path: Path) -> Path:
    if len(str(path).encode()) > UNIX_PATH_LIMIT:
        raise ValueError(f"a Unix socket's path has at most {UNIX_PATH_LIMIT} bytes")
    return path


SocketPath = Annotated[Path, AfterValidator(_short_enough)]


def load_config(path: Path, model: type[Model]) -> Model:
    """The file at `path` as a `model`. Raises UserError where it is none or can't be read."""
    try:
        data = read_yaml(path.read_text(encoding="utf-8"), path, Places())
    except OSError as error:
        raise UserError(Problem(where=str(path), what=f"can't be read: {error.strerror}")) from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(
            [_problem(path, model, item["loc"], item["type"], item["msg"]) for item in error.errors()]
        ) from error


def _problem(path: Path, model: type[BaseModel], loc: tuple[int | str, ...], kind: str, text: str) -> Problem:
    place = ".".join(str(part) for part in loc)
    unknown_key = kind == "extra_forbidden" and len(loc) == 1
    return Problem(
        where=f"{path}: {place}" if place else str(path),
        what=text,
        allowed="the keys " + ", ".join(model.model_fields) if unknown_key else "",
    )
