"""What an export prints: how to serve it and how to ask it."""

import json
import os
import shlex

import tensorflow as tf

# That of the TensorFlow which setup.cfg names; tools/serving has it, too.
IMAGE = "tensorflow/serving:2.20.0"
_FIRST = ("serving_default", "features", "embed_images")  # To ask for.
_LARGEST_REQUEST = 128  # Rows; larger than a batch, and split then.


def batching(sizes):
    """TensorFlow Serving's batching parameters, as text.

    Args:
      sizes: of batches, which the export was warmed up for; the largest is the
        largest batch.
    """
    allowed = "\n".join(f"allowed_batch_sizes: {size}"
                        for size in sorted(set(sizes)))
    return f"""\
max_batch_size {{ value: {max(_LARGEST_REQUEST, *sizes)} }}
enable_large_batch_splitting {{ value: true }}
max_execution_batch_size {{ value: {max(sizes)} }}
batch_timeout_micros {{ value: 2000 }}
num_batch_threads {{ value: 4 }}
max_enqueued_batches {{ value: 100 }}
{allowed}
"""


def text(version, model_name, sizes):
    """How to serve an export, with batching where it can be, and to ask it.

    Args:
      version: the folder of a version, which saved.write has written.
      model_name: under which the server is to have it.
      sizes: of batches that it was warmed up for; () for none.
    """
    record, remote = _record(version), "://" in version
    signatures, sizes = record["signatures"], list(sizes) or [8]
    folder = os.path.dirname(version if remote else os.path.abspath(version))
    name, quoted = shlex.quote(model_name), shlex.quote(folder)
    batched = all(len(spec["inputs"]) == 1 for spec in signatures.values())
    batching_flags = ("--enable_batching", "--batching_parameters_file=")
    docker = ["docker run --rm -p 8500:8500 -p 8501:8501"]
    serve = [f"tfvit serve {quoted} --name={name}"]
    if not remote:
        docker.append(f"-v {shlex.quote(f'{folder}:/models/{model_name}')}")
    if batched:
        docker.append('-v "$PWD/batching.txt:/batching.txt"')
        serve.append(f"{' '.join(batching_flags)}batching.txt")
    docker.append(f"-e MODEL_NAME={name} {IMAGE}")
    if batched:
        docker.append(f"{' '.join(batching_flags)}/batching.txt")
    if remote:
        docker.append(f"--model_base_path={quoted}")
    if record.get("jit"):
        docker.append("--xla_cpu_compilation_enabled=true")
    steps = [
        _about_batching(signatures, sizes) if batched else _UNBATCHED,
        f"""\
Serve{" (without batching: leave out all that names it)" if batched else ""}:

{_lines(docker)}

or, where there is no Docker, after `pip install tfvit[server]`:

{_lines(serve)}""",
        f"Ask:\n\n{_ask(name, signatures)}",
    ]
    if record.get("jit"):
        steps[1] += "\n\n" + _XLA
    return "\n\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1))


def _record(version):
    """What the export noted of itself."""
    path = os.path.join(version, "assets", "export.json")
    with tf.io.gfile.GFile(path) as f:
        return json.load(f)


def _lines(parts):
    """A command of several lines."""
    return " \\\n  ".join(parts)


def _about_batching(signatures, sizes):
    shapes = ("\nAll clients of uint8_images must send one size then: a batch "
              "of two is refused.\n" if "uint8_images" in signatures else "")
    return f"""\
Optional: one big batch is faster than many small ones. As batching.txt:

{batching(sizes)}{shapes}""".rstrip("\n")


_UNBATCHED = """\
Not with --enable_batching: a batch would mix the texts of two clients. Send
several images in a request instead, or export --signatures=embed_images and
embed_texts alone, which can be batched."""

_XLA = """\
--jit: TensorFlow Serving compiles for CPUs only with the flag above, and its
GPU image has no XLA compiler for GPUs: export without --jit for that one."""


def _ask(name, signatures):
    client = f"tfvit serve_client --model={name}"
    texts = '--texts="a cat" --texts="a dog"'
    for inputs, words in (({"image_bytes"}, "IMAGE..."),
                          ({"image_bytes", "texts"}, f"{texts} IMAGE..."),
                          ({"texts"}, texts)):
        found = [signature for signature, spec in signatures.items()
                 if set(spec["inputs"]) == inputs]
        # Zero-shot classification says more than embeddings.
        if found and not (inputs == {"image_bytes"} and
                          "zeroshot" in signatures):
            best = next((s for s in _FIRST if s in found), found[0])
            flag = "" if best == _FIRST[0] else f" --signature={best}"
            return f"{client}{flag} {words}"
    return ("by arrays, which assets/README.md of the export describes; "
            "serve_client sends files.")
