"""What portal and tracker do around their work: read their file, say that they serve, stop when told to.

In comes a pydantic model of the configuration and a coroutine that serves; out comes the process's exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel

from testbed.config_file import load_config
from testbed.errors import TestbedError, UserError

Config = TypeVar("Config", bound=BaseModel)


def split_listen(listen: str) -> tuple[str, int]:
    """`ip:port` or `[ipv6]:port` as (ip, port); port 0: any free one. ValueError where it is neither."""
    host, separator, port = listen.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"'{listen}' is not an address and a port: write 10.0.0.1:8080 or [::1]:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _checked_listen(listen: str) -> str:
    split_listen(listen)
    return listen


Listen = Annotated[str, AfterValidator(_checked_listen)]


def _checked_listens(listens: str | tuple[str, ...]) -> str | tuple[str, ...]:
    for listen in (listens,) if isinstance(listens, str) else listens:
        split_listen(listen)
    if not listens:
        raise ValueError("give at least one address")
    return listens


Listens = Annotated[str | tuple[str, ...], AfterValidator(_checked_listens)]
"""One address, or a list of them."""


def write_ready(path: Path | None) -> None:
    """Write the file that tells the launcher that the service serves: whole, or not at all."""
    if path is None:
        return
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps({"pid": os.getpid(), "monotonic_ns": time.monotonic_ns()}))
    os.replace(part, path)


async def stop_signal() -> None:
    """Return when the process is told to stop (SIGTERM or SIGINT)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def run_program(
    name: str, model: type[Config], serve: Callable[[Config], Coroutine[Any, Any, None]], about: str
) -> int:
    """Run `serve` on the file that `--config` names. Returns 0: stopped, 1: failed, 2: wrong input."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}", description=about, epilog=f"example: python -m {name} --config config.yaml"
    )
    parser.add_argument("--config", type=Path, required=True, help="the YAML file that says what to serve")
    arguments = parser.parse_args()
    try:
        config = load_config(arguments.config, model)
        logging.basicConfig(
            level=getattr(config, "log_level", "INFO"),
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        asyncio.run(serve(config))
    except TestbedError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except OSError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
