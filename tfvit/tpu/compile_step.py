"""Compiles a train step for a TPU slice that is not there.

  python compile_step.py step.hlo.pb --topology=v5e:2x4 --replicas=8

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

import jax  # noqa: F401
from jax._src.interpreters import mlir
from jax._src.lib import _jax
from jax._src.lib import xla_client
from jax._src.lib.mlir import ir
from jax.experimental import topologies
import numpy as np

_COLLECTIVES = ("all-reduce|reduce-scatter|all-gather|collective-permute|"
                "all-to-all")
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
    """{kind: {"count", "bytes"}} of the results of a program's collectives.

    Where what follows a large all-reduce can be shared out among the chips, the
    compiler splits it in two, a reduce-scatter and an all-gather that both look
    like all-reduces. Both count; the bytes are those of the first.
    """
    found = collections.defaultdict(lambda: {"count": 0, "bytes": 0})
    for line in hlo.splitlines():
        match = re.search(rf"^\s*(?:ROOT )?%?\S+ = (.*?) ({_COLLECTIVES})"
                          r"(-start)?\(([^)]*)\)", line)
        if not match:
            continue
        results, kind, begun, operands = match.groups()
        sizes = [math.prod(map(int, filter(None, dims.split(",")))) *
                 _BYTES.get(dtype, 4) for dtype, dims in re.findall(
                     r"\b([a-z]+\d*)\[([\d,]*)\]", results)]
        # What begins one names its arguments beside the results.
        share = 2 if begun and kind != "all-reduce" else 1
        gathers = kind == "all-reduce" and all(
            name.strip().startswith("%dynamic-update-slice")
            for name in operands.split(","))
        found[kind]["count"] += 1
        found[kind]["bytes"] += 0 if gathers else sum(sizes) // share
    return dict(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("hlo")
    parser.add_argument("--topology", required=True)
    parser.add_argument("--replicas", type=int, required=True)
    parser.add_argument("--text", help="file for what was compiled")
    args = parser.parse_args()
    # libtpu writes to the standard output, too, by its number.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    result = compile_for(args.hlo, args.topology, args.replicas, args.text)
    print(json.dumps(result), file=out, flush=True)
    out.close()
    sys.stderr.flush()
    os._exit(0)  # libtpu's threads may not end.


if __name__ == "__main__":
    main()
