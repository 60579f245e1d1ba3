#!/usr/bin/env bash
# Run the emulation's tests on a kernel that has netem and Open vSwitch's datapath: User-mode Linux, started as a
# program on this machine's own files. What is written inside stays in its memory. Arguments go to pytest instead of
# the usual test; with `--` first, they are a command to run. Variables: UML_SECONDS (600), UML_MEMORY (3072M).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)
modules=/usr/lib/uml/modules
seconds=${UML_SECONDS:-600}

skip() {
    printf 'kernel tests skipped: %s\n' "$*"
    exit 0
}

if ! command -v linux.uml >/dev/null || [ ! -d "$modules" ]; then
    skip "User-mode Linux is missing (apt-get install user-mode-linux)"
fi
[ -x "$root/.venv/bin/python" ] || skip "the project is not installed (make install)"

if [ "${1:-}" = -- ]; then
    shift
    command=("$@")
else
    command=("$root/.venv/bin/python" -m pytest -q -p no:cacheprovider)
    if [ $# -gt 0 ]; then command+=("$@"); else command+=("$root/tests/emulation" "$root/tests/kernel"); fi
fi

scratch=$(mktemp -d)
uml=
tidy() {
    # Interrupted: the whole kernel is one process with children in its own session.
    if [ -n "$uml" ] && kill -0 "$uml" 2>/dev/null; then kill -- "-$uml" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap tidy EXIT

printf 'cd %q && exec %s\n' "$root" "$(printf '%q ' "${command[@]}")" >"$scratch/command"

# The kernel's arguments can't hold spaces, so the rest comes in files of the folder named by `out`. Its memory is a
# file in TMPDIR, which must allow execution and be fast.
begun=$SECONDS
TMPDIR=/dev/shm setsid timeout --foreground $((seconds + 60)) linux.uml mem="${UML_MEMORY:-3072M}" \
    rootfstype=hostfs rootflags=/ ro quiet con=null con0=null,fd:1 umid=kernel uml_dir="$scratch/" \
    init="$here/uml-init.sh" out="$scratch" seconds="$seconds" \
    </dev/null >"$scratch/console" 2>&1 &
uml=$!
: >"$scratch/output"
tail --pid="$uml" -n +1 -f "$scratch/output"
wait "$uml" || true
if [ ! -s "$scratch/status" ]; then
    printf 'User-mode Linux ended without running the command; its console said:\n' >&2
    tail -n 20 "$scratch/console" >&2
    exit 1
fi
printf 'User-mode Linux: %d s\n' $((SECONDS - begun))
exit "$(cat "$scratch/status")"
