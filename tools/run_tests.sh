#!/usr/bin/env bash
# Runs the test suite, a file of tests in one process: what they share is made once.
# Arguments go to pytest, for example: -m "not slow".
set -euo pipefail
source "$(dirname "$0")/venv.sh"
"$PYTHON" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
