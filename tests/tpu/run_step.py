"""Runs a lowered step on JAX's CPU: python run_step.py COMPILE_STEP.PY DIR.

DIR has step.hlo.pb and step.npz: "in_R_NNNN", the arguments of replica R. Writes
results.npz: "R_NNNN", all results of each replica, and aliases.json, which pairs
arguments with the results that replace them.
"""

import importlib.util
import json
import os
import re
import sys

import jax
from jax._src.interpreters import mlir
from jax._src.lib import _jax
from jax._src.lib.mlir import ir
import numpy as np


def main(script, folder):
    spec = importlib.util.spec_from_file_location("compile_step", script)
    compile_step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compile_step)
    jax.config.update("jax_enable_x64", True)  # The step is an int64.
    arrays = np.load(os.path.join(folder, "step.npz"))
    names = sorted(arrays)
    replicas = 1 + max(int(name.split("_")[1]) for name in names)
    devices = jax.devices()[:replicas]
    with mlir.make_ir_context():
        module = ir.Module.parse(compile_step.read(
            os.path.join(folder, "step.hlo.pb")))
        aliases = re.findall(
            r"parameter_number = (\d+) : i64}, output_index = array<i64: (\d+)>",
            str(module.operation.attributes["mhlo.input_output_alias"]))
        executable = devices[0].client.compile_and_load(
            module, _jax.DeviceList(tuple(devices)),
            compile_options=compile_step.options_for(devices))
    args = []
    for i in range(len(names) // replicas):
        own = [jax.device_put(arrays[f"in_{r}_{i:04}"], device)
               for r, device in enumerate(devices)]
        mesh = jax.sharding.Mesh(np.array(devices), "r")
        rows = own[0].shape
        args.append(own[0] if replicas == 1 else
                    jax.make_array_from_single_device_arrays(
                        (replicas * rows[0], *rows[1:]) if rows else (),
                        jax.sharding.NamedSharding(
                            mesh, jax.sharding.PartitionSpec(
                                *(["r"] if rows else []))), own))
    results = executable.execute_sharded(
        args).disassemble_into_single_device_arrays()
    np.savez(os.path.join(folder, "results.npz"), **{
        f"{r}_{i:04}": np.asarray(value[r])
        for i, value in enumerate(results) for r in range(replicas)})
    with open(os.path.join(folder, "aliases.json"), "w") as f:
        json.dump([[int(p), int(o)] for p, o in aliases], f)


if __name__ == "__main__":
    main(*sys.argv[1:])
