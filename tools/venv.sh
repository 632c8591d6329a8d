# Sourced by the scripts beside it: makes .venv with tfvit and its extras, once,
# and again whenever setup.cfg changes. Sets $PYTHON.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON="$PWD/.venv/bin/python"
if ! cmp -s setup.cfg .venv/setup.cfg.installed; then
  echo "Installing tfvit and its dependencies into .venv (a few minutes) ..."
  [ -x "$PYTHON" ] || "${PYTHON3:-python3}" -m venv .venv
  "$PYTHON" -m pip install --quiet --disable-pip-version-check -e '.[test]'
  cp setup.cfg .venv/setup.cfg.installed
fi
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
