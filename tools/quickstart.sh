#!/usr/bin/env bash
# From nothing to a trained model: installs tfvit into .venv, trains a small
# ViT on scikit-learn's handwritten digits, evaluates it, exports it for
# TensorFlow Serving and lets the export read five digits. Needs no network
# beyond pip. Running it again continues, or evaluates what is there.
set -euo pipefail
source "$(dirname "$0")/venv.sh"
workdir="${1:-runs/digits}"
"$PYTHON" -m tfvit.train --gin_file=gin/digits.gin --workdir="$workdir"
result=$("$PYTHON" -m tfvit.evaluate --workdir="$workdir" 2>/dev/null)
"$PYTHON" - "$result" <<PY
import json, sys
r = json.loads(sys.argv[1])
print(f"Test accuracy: {100 * r['test/accuracy']:.2f} % of "
      f"{r['test/examples']} digits, after {r['step']} steps.")
PY
echo "Results: $workdir/ (config.gin, metrics.jsonl, labels.txt, checkpoints/;"
echo "see the curves with: .venv/bin/tensorboard --logdir $workdir)"

images="$workdir/examples"
"$PYTHON" - "$images" 2>/dev/null <<PY
import os, sys
import tensorflow as tf
from tfvit.data.datasets import sources
os.makedirs(sys.argv[1], exist_ok=True)
examples = sources.digits(split="test").examples(seed=0)
for i, example in enumerate(examples.take(5)):
    name = f"{sys.argv[1]}/{i}_is_a_{example['label']}.png"
    tf.io.write_file(name, tf.io.encode_png(example["image"]))
PY
if [ ! -e "$workdir/export" ]; then
  "$PYTHON" -m tfvit.export --workdir="$workdir" --out="$workdir/export" \
    --checkpoint=best --name=digits --top_k=1 2>/dev/null
fi
echo
"$PYTHON" -m tfvit.predict "$images" --model="$workdir/export" 2>/dev/null
