"""Mininet's nodes, links and interfaces, made fit for a run that owns and batches what it makes.

Mininet's classes stay what a user knows (`net.hosts`, `node.cmd`, the CLI), but they make nothing one by one:
a node lives in a named namespace that the blueprint's batches create, and gets its shell only when used.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from mininet.link import Intf, Link
from mininet.node import Node, Switch

from testbed.emulation.journal import NAMESPACES, RUN_VARIABLE
from testbed.emulation.processes import die_with


class _LabNode(Node):
    """What hosts and switches share: a named namespace, and a shell that starts at the first command."""

    def __init__(self, name: str, *, namespace: str, **options: Any) -> None:
        self.namespace = namespace
        super().__init__(name, **{**options, "inNamespace": True})

    def startShell(self, mnopts: str | None = None) -> None:
        """Called by Mininet for every new node: nothing yet, a shell for each of hundreds is slow."""

    def mountPrivateDirs(self) -> None:
        """No node has directories of its own."""

    def cmd(self, *arguments: Any, **options: Any) -> Any:
        self._need_shell()
        return super().cmd(*arguments, **options)

    def sendCmd(self, *arguments: Any, **options: Any) -> Any:
        self._need_shell()
        return super().sendCmd(*arguments, **options)

    def popen(self, *arguments: Any, **options: Any) -> Any:
        return super().popen(*arguments, **{"mncmd": [], **options})

    def _need_shell(self) -> None:
        if self.shell is None:
            # Mininet must not make a namespace of its own for the shell: `_popen` enters the node's.
            self.inNamespace = False
            super().startShell()
            self.inNamespace = True

    def _popen(self, command: list[str], **options: Any) -> Any:
        entered = ["nsenter", f"--net={NAMESPACES / self.namespace}", "--", *command]
        tag = self.namespace.partition(".")[0]
        options = {
            "preexec_fn": partial(die_with, os.getpid()),
            "env": {**os.environ, RUN_VARIABLE: tag},
            **options,
        }
        return super()._popen(entered, **options)


class LabHost(_LabNode):
    """A host of the network. `namespace` is its named network namespace."""


class LabSwitch(_LabNode, Switch):
    """The switch of a PoP: a bridge of the run's Open vSwitch, `management` its OpenFlow socket."""

    def __init__(self, name: str, *, bridge: str, management: str, **options: Any) -> None:
        self.bridge = bridge
        self.management = management
        super().__init__(name, **options)

    def dpctl(self, *arguments: str) -> str:
        """Run `ovs-ofctl` on this switch; Mininet's CLI calls this."""
        command, *rest = arguments
        return str(self.cmd("ovs-ofctl", "-O", "OpenFlow13", command, f"unix:{self.management}", *rest))

    def start(self, controllers: Any) -> None:
        """Nothing to do: the run's one transaction has made and connected the bridge."""

    def stop(self, deleteIntfs: bool = True) -> None:
        """Nothing to do: the bridge goes with its namespace."""


class LabIntf(Intf):
    """An interface that exists by a batch; only what the CLI shows is kept here."""

    def __init__(self, name: str, **options: Any) -> None:
        address = options.pop("address", None)
        super().__init__(name, **options)
        if address:
            self.ip, self.prefixLen = address, 32

    def config(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}

    def delete(self) -> None:
        """Nothing to do: it goes with its namespace."""


class LabLink(Link):
    """A veth pair that a batch makes."""

    @classmethod
    def makeIntfPair(cls, *_: Any, **__: Any) -> None:
        """Nothing to do: all pairs are made in one batch."""
