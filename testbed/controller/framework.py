"""The one module that imports Ryu, or os-ken, its maintained fork: the same names under another roof.

The environment variable TESTBED_CONTROLLER_FRAMEWORK says which, before this is imported.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar, cast

from testbed.controller.green import eventlet as eventlet

Handler = TypeVar("Handler", bound=Callable[..., None])
VARIABLE = "TESTBED_CONTROLLER_FRAMEWORK"
_PACKAGES = {"ryu": "ryu", "os-ken": "os_ken"}

NAME = os.environ.get(VARIABLE, "ryu")
VERSION = version(NAME)


def _module(name: str) -> Any:
    return importlib.import_module(f"{_PACKAGES[NAME]}.{name}")


os.environ["OSKEN_HUB_TYPE"] = "eventlet"  # os-ken 4 has the system's threads instead, unless told
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of os-ken about eventlet
    _cfg = _module("cfg")
    _app_manager = _module("base.app_manager")
    _controller = _module("controller.controller")
    _handler = _module("controller.handler")
    _common = _module("ofproto.ofproto_common")
    ofp_event = _module("controller.ofp_event")
    protocol = _module("ofproto.ofproto_v1_3")

CONFIG_DISPATCHER = _handler.CONFIG_DISPATCHER
MAIN_DISPATCHER = _handler.MAIN_DISPATCHER
DEAD_DISPATCHER = _handler.DEAD_DISPATCHER
Application: Any = getattr(_app_manager, "RyuApp" if NAME == "ryu" else "OSKenApp")


def handles(events: Any, *states: str) -> Callable[[Handler], Handler]:
    """The framework's decorator with a type: for one event or several, of switches in one of `states`."""
    return cast(Callable[[Handler], Handler], _handler.set_ev_cls(events, list(states)))


class _SwitchStream:
    """A Unix socket as the framework's `Datapath` wants it: it sets an option that only TCP has."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def setsockopt(self, *_: Any) -> None:
        return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def start(application: str, openflow_socket: str, **context: Any) -> Any:
    """Start the application of a module, which gets `context`, and accept switches on a Unix socket.

    Returns the application.
    """
    serve = _controller.datapath_connection_factory
    _controller.datapath_connection_factory = lambda stream, address: serve(_SwitchStream(stream), address)
    _cfg.CONF(args=[], project="testbed", default_config_files=[], default_config_dirs=[])
    _cfg.CONF.set_override("ofp_listen_host", openflow_socket)
    # Without a port of its own it would listen a second time, for the old port 6633, on the same path.
    _cfg.CONF.set_override("ofp_tcp_listen_port", _common.OFP_TCP_PORT)
    manager = _app_manager.AppManager.get_instance()
    manager.load_apps([application])
    manager.instantiate_apps(**context)
    return next(app for app in manager.applications.values() if type(app).__module__ == application)
