#!/bin/sh
# Install teledx_fed from the files beside this one, without a network: sh install.sh FOLDER
set -eu

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

[ $# -eq 1 ] || fail "name a new folder to install into, for example: sh install.sh /srv/teledx/venv"
[ ! -e "$1" ] || fail "$1 must be new, got one that exists. Name another, or move it away."

bundle=$(cd "$(dirname "$0")" && pwd)
read -r version platform < "$bundle/PLATFORM"
python=${PYTHON:-python$version}
here=$("$python" -c 'import sys, sysconfig; print("%d.%d" % sys.version_info[:2], sysconfig.get_platform())') ||
  fail "Python $version must be here, got no $python. Install it, or set PYTHON=/path/to/python$version."
[ "$here" = "$version $platform" ] ||
  fail "these files are for Python $version on $platform, got $here. Ask the coordinator for others."

(cd "$bundle" && sha256sum --check --strict --quiet SHA256SUMS) ||
  fail "a file is not as it was packed. Copy the folder again, or ask the coordinator."

"$python" -m venv "$1"
"$1/bin/python" -m pip --isolated install --quiet --disable-pip-version-check --no-index "$bundle"/wheels/uv-*.whl
# With its cache on the same disk, uv links files and does not copy them: half the disk.
"$1/bin/uv" pip install --quiet --no-config --cache-dir "$1/unpacked" --no-index --find-links "$bundle/wheels" \
  --compile-bytecode --require-hashes --requirement "$bundle/requirements.txt" --python "$1/bin/python"
rm -rf "$1/unpacked"
"$1/bin/python" -m sites --help > /dev/null
echo "installed into $1"
