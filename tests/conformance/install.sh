#!/usr/bin/env bash
# Installs the Autobahn suite into a folder of its own: install.sh [DEST]
#
# DEST is $WSTEST_DEST if absent, else wsreactor/autobahn in the user's cache: about 80 MB. The
# suite runs on Python 2.7 alone: $PYTHON27, or python2.7 from PATH, or one of pyenv's. A C
# compiler is needed too, for the suite's masking. A DEST that is complete is left as it is.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dest=${1:-${WSTEST_DEST:-${XDG_CACHE_HOME:-$HOME/.cache}/wsreactor/autobahn}}
requirements=$here/requirements.txt

# A python2.7 on PATH may be a pyenv shim with nothing behind it: only running it tells.
works() {
    "$1" -c 'import sys, ssl, zlib; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null
}

find_python27() {
    local candidate pyenv=${PYENV_ROOT:-$HOME/.pyenv}
    for candidate in "${PYTHON27:-}" python2.7 "$pyenv"/versions/2.7*/bin/python2.7; do
        if [ -n "$candidate" ] && works "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "install.sh: no Python 2.7 found; name one in PYTHON27" >&2
    return 1
}

# A user base is an environment without virtualenv: its packages come first, its .pth files
# count (zope.interface needs that), and the pip that Python 2.7 brings can fill it.
export PYTHONUSERBASE=$dest PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH PYTHONHOME PYTHONNOUSERSITE VIRTUAL_ENV

if cmp -s "$requirements" "$dest/installed.txt" && "$dest/bin/wstest" --autobahnversion; then
    exit
fi
python=$(find_python27)
install=("$python" -m pip install --user --ignore-installed --no-deps --no-warn-script-location)
rm -rf "$dest/bin" "$dest/lib" "$dest/installed.txt"
mkdir -p "$dest"
# What builds wsaccel has to be there first. setuptools 44 is the last for Python 2.7.
"${install[@]}" setuptools==44.0.0 wheel==0.37.1 Cython==3.0.12
"${install[@]}" --no-build-isolation -r "$requirements"
"$python" -c 'import wsaccel.utf8validator, wsaccel.xormask'
"$dest/bin/wstest" --autobahnversion
cp "$requirements" "$dest/installed.txt"
