#!/bin/sh
# Prepares what the Makefile's commands run in, and nothing else does:
#
#   tools/bootstrap.sh run     virtual environment, pinned packages, page libraries
#   tools/bootstrap.sh test    the same with the test tools, and Chromium for the browser tests
#
# Safe to call every time: when nothing has changed it compares two files and returns. It changes .venv/ and
# frontend/vendor/ only; what is missing from the system it installs when it is root on Debian, else it prints the
# command that does. Plain sh, because macOS and Debian have that in common.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# --- Debian packages -------------------------------------------------------------------------------------------------

apt_command() { # PACKAGE...: the command that installs them
    printf '%s' "apt-get -o DPkg::Lock::Timeout=300 update && apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $*"
}

can_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

apt_install() { # PACKAGE...
    # Two clones queue at flock. A stranger's apt-get is waited for by trying again: the timeout covers dpkg's lock
    # only, `update` gives up at once.
    echo "Installing Debian packages: $*"
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        if DEBIAN_FRONTEND=noninteractive flock /var/lib/apt sh -c "$(apt_command "$@")" >.apt.log 2>&1; then
            rm -f .apt.log
            return
        fi
        grep -q 'Could not get lock' .apt.log || break
        echo "Another apt-get is running (try $attempt of 10)"
        sleep 10
    done
    cat .apt.log >&2
    fail "This failed: $(apt_command "$@")"
}

# --- the virtual environment -----------------------------------------------------------------------------------------

is_new_enough() { # PYTHON
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() { # prints the first Python >= 3.11 that can make a virtual environment; fails when there is none
    for candidate in python3.13 python3.12 python3.11 python3; do
        if is_new_enough "$candidate" && "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

find_any_python() { # as above, but one without ensurepip will do
    for candidate in python3.13 python3.12 python3.11 python3; do
        if is_new_enough "$candidate"; then return; fi
    done
    return 1
}

make_venv() {
    if is_new_enough .venv/bin/python && .venv/bin/python -c 'import pip' >/dev/null 2>&1; then return; fi
    if ! python=$(find_python); then
        find_any_python || fail \
            "Python 3.11 or newer is needed. Found: $(python3 --version 2>&1 || echo 'no python3')."
        can_apt || fail \
            "This Python cannot make virtual environments: its ensurepip module is missing." \
            "On Debian or Ubuntu this command, as root, installs it:" \
            "  $(apt_command python3-venv)"
        apt_install python3-venv
        python=$(find_python) || fail "python3-venv is installed, but no Python here can make a virtual environment."
    fi
    echo "Creating .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
}

install_pins() { # REQUIREMENTS_FILE: pip checks every file against the hashes in it
    # The copy in .venv says what was installed last. It is written last, so a broken installation is repeated.
    if cmp -s "$1" ".venv/$1"; then return; fi
    echo "Installing the packages pinned in $1"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$1"
    # requirements-dev.txt holds the pins of requirements.txt too (a test compares them).
    cp requirements.txt .venv/requirements.txt
    cp "$1" ".venv/$1"
}

# --- the browser of the tests ----------------------------------------------------------------------------------------

find_browser() {
    # Fonts are only recommended by Chromium's package, and without any a page has no letters.
    packages=""
    command -v chromium >/dev/null || packages="chromium fonts-liberation"
    # The program with which Playwright drives it wants one more library.
    .venv/bin/python -m playwright --version >/dev/null 2>&1 || packages="$packages libatomic1"
    if [ -z "$packages" ]; then return; fi
    # shellcheck disable=SC2086 # one word a package
    if can_apt; then
        apt_install $packages
    else
        echo "The browser tests will be skipped: there is no Chromium, or not all it needs. On Debian, as root:"
        echo "  $(apt_command $packages)"
    fi
}

# --- what to do ------------------------------------------------------------------------------------------------------

case "${1:-}" in
    run)
        make_venv
        install_pins requirements.txt
        ;;
    test)
        make_venv
        install_pins requirements-dev.txt
        find_browser
        ;;
    *)
        fail "usage: tools/bootstrap.sh run|test"
        ;;
esac
# Without the network this warns and goes on: the page works without its chart.
.venv/bin/python tools/web_assets.py
