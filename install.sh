#!/bin/sh
# Installs mycoswarm on this machine, as a Debian package that is built here from this folder: Debian 12 and 13,
# Ubuntu 24.04, Raspberry Pi OS (64-bit) of the same age. Asks nothing. Run it again after `git pull`: it builds and
# installs only what changed. What it needs for building it removes again.
set -eu

usage() {
    cat <<'END'
usage: sudo ./install.sh [--role ROLE] [--dry-run]
       sudo ./install.sh --uninstall [--purge] [--dry-run]

  --role ROLE    what this machine is to be: hub (hears, understands, knows the home), edge (a satellite of others),
                 worker (computes for others), gpu (the same with a graphics card), or auto (looks at the machine).
                 Without it: auto the first time, and as it is after that.
  --dry-run      only say what would be done; needs no root
  --uninstall    remove it; configuration and data stay, for when it comes back
  --purge        with --uninstall: remove configuration and data, too
END
}

# ---- saying

say() { printf '%s\n' "$*"; }

# What happened, and what to do about it.
die() {
    printf 'error: %s\n' "$1" >&2
    [ -z "${2-}" ] || printf '  %s\n' "$2" >&2
    exit 1
}

# Runs a command that changes something; with --dry-run it is only shown.
change() {
    if [ "$dry" = 1 ]; then
        say "would run: $*"
    else
        "$@"
    fi
}

# ---- looking

# Debian 12 → 3.11 and so on: the Python that comes with the distribution.
find_python() {
    [ -r /etc/os-release ] || die "this system has no /etc/os-release" "$known"
    # shellcheck disable=SC1091 # the system's own description of itself
    system=$(. /etc/os-release && echo "$ID ${VERSION_ID-}")
    # shellcheck disable=SC1091
    name=$(. /etc/os-release && echo "${PRETTY_NAME-$ID}")
    case "$system" in
    "debian 12") python=3.11 ;;
    "debian 13") python=3.13 ;;
    "ubuntu 24.04") python=3.12 ;;
    "raspbian "*) die "this is the 32-bit $name" "mycoswarm needs the 64-bit Raspberry Pi OS" ;;
    *) die "this is $name" "$known" ;;
    esac
}

find_architecture() {
    arch=$(dpkg --print-architecture)
    case "$arch" in
    amd64 | arm64) ;;
    *) die "this system's architecture is $arch" "mycoswarm needs a 64-bit system: amd64 or arm64" ;;
    esac
}

need_root() {
    [ "$dry" = 1 ] || [ "$(id -u)" = 0 ] || die "only root can install programs" "sudo $0"
}

# need_space FOLDER MEBIBYTES: before anything is begun that would end in the middle.
need_space() {
    free=$(df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "$free" -ge "$2" ] || die "$1 has $free MB left, and $2 MB are needed" "make room there; \`apt-get clean\` may help"
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Asks the project's own code, which for this needs nothing but Python: ask EXPRESSION
ask() {
    (cd "$here" && "python$python" -B -c "
from pathlib import Path
from provisioning.package.role import detected_role
from provisioning.package.source import Source
from provisioning.package.target import Target
print($1)")
}

# What nothing needs any more; to be suggested by something is no need.
removable() {
    apt-get --simulate -o APT::AutoRemove::SuggestsImportant=false autoremove 2>/dev/null |
        awk '/^Remv/ { print $2 }' | sort
}

# ---- doing

refresh() {
    [ "${refreshed-}" ] && return
    refreshed=1
    change apt-get -q=2 update ||
        die "the distribution's package lists cannot be fetched" "is the network up? apt-get update shows what is wrong"
}

# Installs what is missing for building, and remembers what came, so that clean_up can take it away again.
get_tools() {
    missing=
    for each in "$@"; do
        is_installed "$each" || missing="$missing $each"
    done
    [ "$missing" ] || return 0
    refresh
    # shellcheck disable=SC2086 # a word for each package
    came=$(apt-get --simulate --no-install-recommends install $missing 2>/dev/null | awk '/^Inst/ { print $2 }')
    # shellcheck disable=SC2086
    change apt-get -q=2 -o Dpkg::Use-Pty=0 --no-install-recommends --yes install $missing >"$log" 2>&1 ||
        die "these packages cannot be installed:$missing" "$(tail -n 5 "$log")"
}

clean_up() {
    unset TMPDIR
    [ -z "${work-}" ] || rm -rf "$work"
    [ "${came-}" ] && [ "$dry" = 0 ] || return 0
    # shellcheck disable=SC2086
    apt-mark auto $came >/dev/null 2>&1 || return 0
    unused=$(removable | grep -Fx -e "$came") || return 0 # what something else has come to need stays
    # shellcheck disable=SC2086
    apt-get -q=2 -o Dpkg::Use-Pty=0 --yes purge $unused >/dev/null 2>&1 || say "left over from building: $unused"
}

build() {
    say "Building the package for Python $python on $arch: a few minutes on a small computer."
    if [ "$dry" = 1 ]; then
        say "would run: mycoswarm package build --python $python --arch $arch --role $package_role"
        return
    fi
    "python$python" -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --retries 2 --disable-pip-version-check -c "$here/constraints.txt" click uv >"$log" 2>&1 ||
        die "pip cannot fetch what the package is built with" "is the network up? $(grep -m 1 . "$log")"
    package=$(cd "$here" && "$work/venv/bin/python" -B -m provisioning.package build \
        --python "$python" --arch "$arch" --role "$package_role" --out "$work") ||
        die "the package cannot be built" "above is why; without a network there is nothing to build it from"
}

put_in() {
    refresh
    had_mosquitto=0
    ! is_installed mosquitto || had_mosquitto=1
    say "Installing it."
    if [ "$dry" = 1 ]; then
        say "would run: apt-get install the package and what it depends on"
        return
    fi
    MYCOSWARM_ROLE=$role DEBIAN_FRONTEND=noninteractive apt-get -q=2 -o Dpkg::Use-Pty=0 --yes --reinstall \
        --allow-downgrades install "$package" >"$log" 2>&1 ||
        die "apt cannot install the package" "$(tail -n 8 "$log")"
    # The node starts a broker of its own; a second one, that nobody asked for, would only take its port.
    if [ "$had_mosquitto" = 0 ] && is_installed mosquitto && [ -d /run/systemd/system ]; then
        systemctl --quiet disable --now mosquitto.service || true
    fi
}

install_it() {
    need_root
    find_python
    find_architecture
    [ -f "$here/pyproject.toml" ] || die "$here is not the project's folder" "install.sh belongs into the checkout"
    need_space /var/tmp 900
    need_space /usr 500
    work=$(mktemp -d /var/tmp/mycoswarm-install.XXXXXX)
    chmod 755 "$work" # apt reads the package there as nobody in particular
    log=$work/log
    export TMPDIR="$work" # /tmp is often a small memory disk
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP

    get_tools "python$python"
    if ! command -v "python$python" >/dev/null; then # only in a dry run
        say "would then build and install the package for Python $python on $arch"
        return
    fi
    package_role=$role
    case "$role" in
    '' | auto)
        package_role=$(ask 'detected_role()')
        case "$(dpkg-query -W -f '${Version}' mycoswarm 2>/dev/null)" in
        *+gpu) package_role=gpu ;;
        esac
        ;;
    esac
    id=$(ask "Source(Path()).build_id(Target('$python', '$arch', '$package_role' == 'gpu'))")
    if is_installed mycoswarm && [ "$(cat /usr/lib/mycoswarm/build-id 2>/dev/null)" = "$id" ]; then
        say "mycoswarm is installed, and nothing changed since."
        [ -z "$role" ] || change mycoswarm role "$role"
        return
    fi
    case "$python" in
    3.12) get_tools "python$python-venv" "python$python-dev" gcc g++ make ;; # one of the pins has no wheel for it
    *) get_tools "python$python-venv" ;;
    esac
    build
    put_in
    [ "$dry" = 1 ] || say "mycoswarm is installed: $(mycoswarm role). Try: sudo mycoswarm doctor"
}

uninstall_it() {
    need_root
    command -v apt-get >/dev/null || die "this system has no apt" "$known"
    action=remove
    [ "$purge" = 0 ] || action=purge
    case "$(dpkg-query -W -f '${db:Status-Status}' mycoswarm 2>/dev/null)/$action" in
    installed/* | config-files/purge | half-*/* | unpacked/*) ;;
    *)
        say "mycoswarm is not installed."
        return
        ;;
    esac
    # We switched it off; somebody who switched it on again has a use for it.
    if systemctl --quiet is-enabled mosquitto.service 2>/dev/null; then
        change apt-mark -qq manual mosquitto
    fi
    before=$(removable)
    change apt-get -q=2 -o Dpkg::Use-Pty=0 --yes "$action" mycoswarm
    [ "$dry" = 0 ] || return 0
    # What was installed for it alone goes with it; what was unneeded before is not our business.
    unused=$(removable | grep -Fxv -e "${before:-none}") || unused=
    # shellcheck disable=SC2086
    [ -z "$unused" ] || apt-get -q=2 -o Dpkg::Use-Pty=0 --yes purge $unused
    if [ "$purge" = 1 ]; then
        say "mycoswarm and all that it knew is gone."
    else
        say "mycoswarm is removed. /etc/mycoswarm and /var/lib/mycoswarm are still there; --uninstall --purge removes them."
    fi
}

# ---- what is asked for

here=$(cd "$(dirname "$0")" && pwd)
known="install.sh knows Debian 12 and 13, Ubuntu 24.04 and the 64-bit Raspberry Pi OS of the same age"
dry=0 purge=0 uninstall=0 role=
while [ $# -gt 0 ]; do
    case "$1" in
    --dry-run) dry=1 ;;
    --uninstall) uninstall=1 ;;
    --purge) purge=1 ;;
    --role=*) role=${1#--role=} ;;
    --role)
        [ $# -gt 1 ] || die "--role needs a role" "hub, edge, worker, gpu or auto"
        role=$2
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) die "$1 is no option" "./install.sh --help lists them" ;;
    esac
    shift
done
case "$role" in
'' | hub | edge | worker | gpu | auto) ;;
*) die "\"$role\" is no role" "hub, edge, worker, gpu or auto" ;;
esac
[ "$purge" = 0 ] || [ "$uninstall" = 1 ] || die "--purge belongs to --uninstall" "./install.sh --uninstall --purge"

if [ "$uninstall" = 1 ]; then
    uninstall_it
else
    install_it
fi
