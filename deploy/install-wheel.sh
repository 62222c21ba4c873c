#!/bin/sh
# While an image is built: installs the packages of Duet that lie here, with the one command that they are enough for.
set -eu
/opt/builder/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels .
pip --python /opt/duet/bin/python install --no-cache-dir --no-deps --force-reinstall wheels/*.whl
rm -r wheels build
for command in duet-serve duet-train duet-camera; do
    [ "$command" = "$1" ] || rm -f "/opt/duet/bin/$command"
done
