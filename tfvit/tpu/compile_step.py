"""Compiles a train step for a TPU slice that is not there, or runs it on a CPU.

  python compile_step.py step.hlo.pb --topology=v5e:2x4 --replicas=8
  python compile_step.py step.hlo.pb --values=step.npz

Needs jax and libtpu, and nothing of tfvit: it runs in an environment of its own.
What engine.lowering lowers goes in, one JSON object comes out.
"""

import argparse
import collections
import json
import math
import os
import re
import sys
import time

# libtpu takes these from a TPU's machine, and without them looks for it.
for name, value in {
        "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4", "TPU_WORKER_ID": "0",
        "TPU_WORKER_HOSTNAMES": "localhost",
        # Nobody holds a TPU here, and so several may compile at once.
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_STDERR_LOG_LEVEL": "3",
        "TPU_MIN_LOG_LEVEL": "3", "TF_CPP_MIN_LOG_LEVEL": "3"}.items():
    os.environ.setdefault(name, value)

import jax
from jax._src.interpreters import mlir
from jax._src.lib import _jax
from jax._src.lib import xla_client
from jax._src.lib.mlir import ir
from jax.experimental import topologies
import ml_dtypes
import numpy as np

_COLLECTIVES = ("all-reduce", "reduce-scatter", "all-gather",
                "collective-permute", "all-to-all")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2,
          "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}


def read(path):
    """An HloModuleProto of TensorFlow's as StableHLO text."""
    with open(path, "rb") as f:
        text = xla_client._xla.mlir.xla_computation_to_mlir_module(
            xla_client.XlaComputation(f.read()))
    # TensorFlow copies its results, for which StableHLO has no word.
    return re.sub(r"mhlo\.copy (%[\w#]+) : (tensor<[^>]*>)",
                  r"stablehlo.reshape \1 : (\2) -> \2", text)


def devices_of(name):
    """The devices of a slice, such as v5e:2x4, as TPUStrategy sees them."""
    chip, shape = name.split(":")
    more = {}
    if chip == "v4":  # Both cores of a chip are one device.
        more["chip_config_name"] = "megacore"
    if set(shape) <= set("1x"):  # Less than a host has.
        more["chips_per_host_bounds"] = [1, 1, 1]
    return topologies.get_topology_desc(name, platform="tpu", **more).devices


def options_for(devices):
    options = xla_client.CompileOptions()
    options.num_replicas = len(devices)
    options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(
        np.array([[device.id] for device in devices]))
    return options


def compile_for(path, topology, replicas, text_path):
    """{what: number or text} of a step on a slice; bytes are of one device."""
    devices = devices_of(topology)
    result = {"device": devices[0].device_kind, "devices": len(devices)}
    if len(devices) != replicas:
        return {**result, "error": f"{topology} has {len(devices)} devices, "
                f"and the step is one of {replicas} replicas."}
    text = read(path)
    start = time.monotonic()
    try:
        with mlir.make_ir_context():
            executable = devices[0].client.compile(
                ir.Module.parse(text), _jax.DeviceList(tuple(devices)),
                compile_options=options_for(devices))
    except Exception as error:  # What the compiler says is the result.
        return {**result, "compile_s": round(time.monotonic() - start, 1),
                "error": str(error)[:20_000]}
    result["compile_s"] = round(time.monotonic() - start, 1)
    memory = executable.get_compiled_memory_stats()
    for kind in ("argument", "output", "alias", "temp", "generated_code"):
        result[f"{kind}_bytes"] = getattr(memory, f"{kind}_size_in_bytes")
    result["peak_bytes"] = memory.peak_memory_in_bytes
    cost = executable.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    result["flops"] = cost["flops"]
    result["accessed_bytes"] = cost["bytes accessed"]
    hlo = executable.hlo_modules()[0].to_string()
    result["collectives"] = collectives(hlo)
    if text_path:
        with open(text_path, "w", encoding="utf-8") as f:
            f.write(hlo)
    return result


def collectives(hlo):
    """{kind: {"count", "bytes"}} of the results of a program's collectives."""
    found = collections.defaultdict(lambda: {"count": 0, "bytes": 0})
    for line in hlo.splitlines():
        for kind in _COLLECTIVES:
            head, call, _ = line.partition(f" {kind}(")
            begun = not call
            if begun:
                head, call, _ = line.partition(f" {kind}-start(")
            if call:
                sizes = [math.prod(map(int, filter(None, dims.split(",")))) *
                         _BYTES.get(dtype, 4) for dtype, dims in re.findall(
                             r"\b([a-z]+\d*)\[([\d,]*)\]", head.split("=", 1)[1])]
                # What begins one names its arguments beside the results.
                share = 2 if begun and kind != "all-reduce" else 1
                found[kind]["count"] += 1
                found[kind]["bytes"] += sum(sizes) // share
    return dict(found)


def run(path, values):
    """Runs the step of one replica on JAX's CPU, beside TensorFlow's results.

    Args:
      path: of the HLO.
      values: .npz with "in0000", ... of the arguments, "after0000", ... of
        what they are after TensorFlow's step, "metric0", ...

    Returns:
      {"metrics": largest relative difference, "variables": the largest
      difference in terms of the largest change of that variable, "changed":
      how many variables the step changed, "equal": how many results are equal}
    """
    arrays = np.load(values)

    def value(when, i):
        a = arrays[f"{when}{i:04}"]
        # numpy has no bfloat16: it came as its bits.
        return a.view(ml_dtypes.bfloat16) if a.dtype == np.uint16 else a

    jax.config.update("jax_enable_x64", True)  # The step is an int64.
    device = jax.devices()[0]
    with mlir.make_ir_context():
        module = ir.Module.parse(read(path))
        aliases = str(module.operation.attributes["mhlo.input_output_alias"])
        executable = device.client.compile_and_load(
            module, _jax.DeviceList((device,)),
            compile_options=options_for([device]))
    aliases = re.findall(r"parameter_number = (\d+) : i64}, "
                         r"output_index = array<i64: (\d+)>", aliases)
    count = sum(name.startswith("in") for name in arrays)
    results = executable.execute_sharded(
        [jax.device_put(value("in", i), device) for i in range(count)]
    ).disassemble_into_single_device_arrays()
    results = [np.asarray(r[0], np.float64) for r in results]
    metrics = [arrays[f"metric{i}"] for i in range(
        sum(name.startswith("metric") for name in arrays))]
    worst = max(float(np.max(np.abs(ours / theirs - 1)))
                for ours, theirs in zip(results, metrics))
    moved = changed = equal = 0
    for parameter, result in ((int(p), int(r)) for p, r in aliases):
        before, after = (np.asarray(value(when, parameter), np.float64)
                         for when in ("in", "after"))
        error = float(np.max(np.abs(results[result] - after)))
        change = float(np.max(np.abs(after - before)))
        changed += change > 0
        equal += error == 0
        moved = max(moved, error / (change or 1))
    return {"metrics": worst, "variables": moved, "changed": changed,
            "equal": equal, "results": len(aliases)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("hlo")
    parser.add_argument("--topology")
    parser.add_argument("--replicas", type=int)
    parser.add_argument("--text", help="file for what was compiled")
    parser.add_argument("--values")
    args = parser.parse_args()
    # libtpu writes to the standard output, too, by its number.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    result = (run(args.hlo, args.values) if args.values else compile_for(
        args.hlo, args.topology, args.replicas, args.text))
    print(json.dumps(result), file=out, flush=True)
    out.close()
    sys.stderr.flush()
    os._exit(0)  # libtpu's threads may not end.


if __name__ == "__main__":
    main()
