#!/usr/bin/env bash
# Install what the testbed needs and this machine lacks: Debian packages (as root), then a virtual environment in
# .venv on the system's Python, which sees Debian's Mininet and none of its other Python packages. Quick when
# nothing is missing, and safe to run again at any time, also twice at once. Beyond packages nothing of the machine
# is changed, and no service is started.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
stamp=$venv/testbed-installed
unfinished=$venv/testbed-unfinished
python=/usr/bin/python3
policy=/usr/sbin/policy-rc.d
policy_mark="# written by the p4p-testbed install, removed at its end"

# Mininet is named without its recommended parts: they hold a controller service that would take Ryu's port.
packages=(mininet openvswitch-switch iproute2 ethtool iputils-ping traceroute iperf3 util-linux procps kmod
    python3 python3-venv python3-pkg-resources make ca-certificates)

say() { printf 'install: %s\n' "$*"; }

fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

check_machine() {
    [ "$(uname -s)" = Linux ] ||
        fail "the testbed needs Linux; on $(uname -s), use a Linux virtual machine (see the Vagrantfile)."
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
        fail "this script installs with apt; use Debian 12, Ubuntu 22.04 or Ubuntu 24.04."
}

missing_packages() {
    local installed package
    installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null || true)
    for package in "${packages[@]}"; do
        case $'\n'$installed$'\n' in
            *$'\n'"installed $package"$'\n'*) ;;
            *) printf '%s\n' "$package" ;;
        esac
    done
}

# Package scripts ask this file whether they may start services. Runs start Open vSwitch of their own, and where no
# service manager runs a start would fail the installation.
forbid_services() {
    [ -e "$policy" ] && return
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
    chmod 755 "$policy"
    trap allow_services EXIT
}

allow_services() {
    if grep -qsF "$policy_mark" "$policy"; then rm -f "$policy"; fi
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null
}

known_to_apt() {
    local package
    for package in "$@"; do
        apt-cache show --no-all-versions "$package" >/dev/null 2>&1 || return 1
    done
}

update_lists() {
    say "updating the package lists"
    apt update || fail "apt-get update failed: check the network and /etc/apt/sources.list, then run this again."
}

install_packages() {
    local updated=no log
    log=$(mktemp)
    # The machine's lock: two checkouts may install at once, and they share the policy file.
    exec 8</var/lib/dpkg
    flock 8
    allow_services
    if ! known_to_apt "$@"; then
        update_lists
        updated=yes
    fi
    known_to_apt "$@" ||
        fail "apt does not know all of these: $*. Check the network (see above); on Ubuntu also: sudo add-apt-repository universe"
    say "installing Debian packages: $*"
    forbid_services
    if ! apt install -y --no-install-recommends "$@" >"$log" 2>&1; then
        # Old lists name files that the mirror no longer has.
        if [ $updated = yes ] || ! { update_lists && apt install -y --no-install-recommends "$@" >"$log" 2>&1; }; then
            tail -n 20 "$log" >&2
            rm -f "$log"
            fail "apt-get could not install them (its last words are above). Mend that, then run this again."
        fi
    fi
    rm -f "$log"
    allow_services
    exec 8<&-
}

# What decides whether .venv may stay: its place (scripts in it name it) and its Python.
place() { printf '%s %s' "$root" "$(readlink -f "$python")"; }

# What decides whether its content is current.
content() { cat "$root"/{pyproject.toml,constraints.txt,build-constraints.txt,scripts/install.sh} | sha256sum; }

wanted_stamp() { printf '%s\n%s\n' "$(place)" "$(content)"; }

is_current() {
    [ -x "$venv/bin/testbed" ] && [ ! -e "$unfinished" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(wanted_stamp)" ]
}

# Found, not imported: what it imports itself (distutils) may be missing outside .venv.
mininet_folder() {
    "$python" -c 'import importlib.util as u; s = u.find_spec("mininet"); print(*(s.submodule_search_locations if s else []))'
}

check_python() {
    local version
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    case $version in
        3.10 | 3.11 | 3.12) ;;
        *) fail "$python is Python $version; the testbed runs on 3.10, 3.11 and 3.12 (Debian 12, Ubuntu 22.04, 24.04)." ;;
    esac
    [ -n "$(mininet_folder)" ] ||
        fail "$python does not find Debian's mininet: try sudo apt-get install --reinstall mininet."
}

venv_may_stay() {
    [ ! -e "$unfinished" ] && [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 &&
        [ "$(readlink -f "$venv/bin/python")" = "$(readlink -f "$python")" ] &&
        grep -qsi '^include-system-site-packages *= *false' "$venv/pyvenv.cfg" &&
        { [ ! -e "$stamp" ] || [ "$(head -n 1 "$stamp")" = "$(place)" ]; }
}

build_venv() {
    if ! venv_may_stay; then
        if [ -e "$venv" ]; then say "removing .venv, which is unfinished or of another place or Python"; fi
        rm -rf "$venv"
        say "making .venv on $("$python" --version)"
        mkdir "$venv"
        touch "$unfinished"
        "$python" -m venv "$venv"
    fi
    touch "$unfinished"
    say "installing the pinned Python packages (some minutes the first time)"
    (cd "$root" && PIP_CONSTRAINT=build-constraints.txt PIP_ROOT_USER_ACTION=ignore \
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --use-pep517 \
        -c constraints.txt -e '.[dev]') ||
        fail "pip could not install the Python packages (its reason is above); check the network, then run this again."
    link_mininet
    wanted_stamp >"$stamp"
    rm -f "$unfinished"
}

# Mininet alone of the system's packages: others, such as Ubuntu's old pyOpenSSL, break the pinned ones.
link_mininet() {
    local site
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    ln -sfn "$(mininet_folder)" "$site/mininet"
    "$venv/bin/python" -c 'import mininet.net' ||
        fail ".venv cannot import Debian's mininet (see above): try sudo apt-get install --reinstall mininet."
}

main() {
    local missing
    check_machine
    # The checkout's lock: a second call waits, and then finds everything done.
    exec 9<"$root"
    flock -n 9 || { say "waiting for another installation in this checkout" && flock 9; }
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} -gt 0 ]; then
        [ "$(id -u)" -eq 0 ] || fail "these Debian packages are missing, which needs root: ${missing[*]}. Run: sudo make install"
        install_packages "${missing[@]}"
    fi
    if is_current; then
        return
    fi
    check_python
    { [ -w "$root" ] && { [ ! -e "$venv" ] || [ -w "$venv" ]; }; } ||
        fail "$root or its .venv is not yours to write to. Run: sudo make install"
    build_venv
    "$root/scripts/give-back.sh"
    say "done"
}

main "$@"
