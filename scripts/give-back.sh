#!/usr/bin/env bash
# Give what root made in this checkout to the checkout's owner, so that git, an editor and `make lint` work for that
# person after `sudo make ...`. Does nothing for others than root, and in a checkout of root's own.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
[ "$(id -u)" -eq 0 ] || exit 0
owner=$(stat -c %u:%g "$root")
[ "${owner%%:*}" -ne 0 ] || exit 0
# -h: a symbolic link itself, never the system's file that it points to.
find "$root" -xdev -user 0 -exec chown -h "$owner" {} +
