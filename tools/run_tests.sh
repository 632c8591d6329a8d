#!/usr/bin/env bash
# Runs the test suite; arguments go to pytest, for example: -m "not slow".
set -euo pipefail
source "$(dirname "$0")/venv.sh"
"$PYTHON" -m pytest -n 2 "$@"
