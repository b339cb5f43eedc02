# Sourced by scripts/start and scripts/test: gives the checkout its own virtual environment.
#
#   setup_environment EXTRAS    e.g. "" or "test,swarm"; afterwards $python is its interpreter
#
# Installs only when pyproject.toml or what the web client is built from has changed since the last time:
# .venv/trio-chat-EXTRAS keeps a hash of them. Everything it says goes to standard error.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

fail() {
    say "$@"
    exit 1
}

inputs_hash() {
    (
        cd "$root"
        cat pyproject.toml hatch_build.py scripts/build_web.py package.json package-lock.json 2>/dev/null
        "$python" --version
        printf '%s\n' "$root"  # a moved checkout needs a new editable install
    ) | sha256sum | cut -d ' ' -f 1
}

create_environment() {
    local base=${PYTHON:-python3}
    command -v "$base" >/dev/null || fail "Python 3.11 or newer is needed, and there is no '$base' here"
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; '$base' is $("$base" --version 2>&1) (set PYTHON to another one)"
    "$base" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "'$base -m venv' needs ensurepip, which this machine has in a package of its own:" \
            "apt-get install python3-venv"
    say "creating $root/.venv"
    rm -rf "$root/.venv"
    "$base" -m venv "$root/.venv" >&2 || { rm -rf "$root/.venv"; fail "'$base -m venv' failed"; }
}

setup_environment() {
    local extras=$1 stamp hash
    # Two calls at once (two terminals) must not install into the same place at the same time.
    if command -v flock >/dev/null; then
        exec 9<"$root"
        flock 9
    fi
    "$python" -c 'import pip' 2>/dev/null || create_environment
    hash=$(inputs_hash)
    stamp=$root/.venv/trio-chat-${extras:-run}
    # The web client's part of the installation lies outside of .venv, and may have been cleaned away.
    if [[ $(cat "$stamp" 2>/dev/null) != "$hash" || ! -d $root/trio_chat/web/vendor ]]; then
        say "installing what is needed (once, and again when pyproject.toml changes)"
        "$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore \
            --editable "$root${extras:+[$extras]}" >&2 || fail "the installation failed; the lines above say why"
        printf '%s\n' "$hash" >"$stamp"
    fi
    if command -v flock >/dev/null; then exec 9<&-; fi
}
