#!/usr/bin/env bash
# From nothing to a trained model: installs tfvit into .venv, then trains a small
# ViT on scikit-learn's handwritten digits, exports it for TensorFlow Serving and
# lets the export read five digits (tools/quickstart.py). Needs no network beyond
# pip. Running it again continues, or shows what is there.
set -euo pipefail
echo "1/4 Install"
EXTRAS=digits
source "$(dirname "$0")/venv.sh"
echo "  tfvit is in .venv: source .venv/bin/activate"
echo
exec "$PYTHON" -m tools.quickstart --workdir="${1:-runs/digits}"
