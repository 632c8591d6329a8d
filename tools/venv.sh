# Sourced by the scripts beside it: makes .venv with tfvit and its extras, $EXTRAS
# or all that the tests need, once, and again whenever setup.cfg changes. Sets
# $PYTHON.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON="$PWD/.venv/bin/python"
EXTRAS="${EXTRAS:-test}"
if ! cmp -s setup.cfg .venv/setup.cfg.test &&
    ! cmp -s setup.cfg ".venv/setup.cfg.$EXTRAS"; then
  echo "Installing tfvit and TensorFlow into .venv: a few minutes, 3.3 GB."
  "${PYTHON3:-python3}" -c "from tools import installing; installing.main()" \
    .venv "$EXTRAS"
  cp setup.cfg ".venv/setup.cfg.$EXTRAS"
fi
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
