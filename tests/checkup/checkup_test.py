"""Each problem that doctor knows, made and found; and what is none."""

import collections
import configparser
import json
import os
import pathlib
import re
import shutil
import sys

import pytest

from tfvit import config
from tfvit.checkup import accelerators
from tfvit.checkup import finding
from tfvit.checkup import machine
from tfvit.checkup import packages
from tfvit.checkup import surroundings
from tfvit.checkup import words

GOOD = {"tensorflow": "2.20.0", "tf_keras": "2.20.1",
        "tensorflow-text": "2.20.0", "tf-models-official": "2.20.0",
        "tensorflow-datasets": "4.9.9", "gin-config": "0.5.0",
        "numpy": "2.1.0", "absl-py": "2.0", "scipy": "1.15"}
BUILD = {"cuda_version": "12.5.1", "cudnn_version": "9",
         "is_cuda_build": "True"}
CPU = {"type": "CPU", "name": "CPU:0", "capability": None}
GPU = {"type": "GPU", "name": "NVIDIA A100", "capability": [8, 0]}
DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Wed Dec  1\n"
Usage = collections.namedtuple("Usage", "total used free")


def put(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def probe(devices=(CPU,), problems=(), **build):
    return {"version": "2.20.0", "build": {**BUILD, **build},
            "devices": list(devices), "problems": list(problems)}


def problems(findings):
    """{about: way out} of what is a problem."""
    return {f.about: f.way_out for f in findings if f.is_problem}


@pytest.mark.parametrize("version, is_problem", [
    ((3, 9, 1), True), ((3, 10, 0), False), ((3, 12, 9), False),
    ((3, 13, 0), True)])
def test_pythons(version, is_problem):
    assert machine.python(version).is_problem == is_problem


def test_a_processor_without_avx_cannot_run_tensorflow(tmp_path):
    put(tmp_path, "proc/cpuinfo", "processor : 0\nflags\t: fpu sse4_2\n")
    found = machine.processor(tmp_path, "x86_64")
    assert "without avx" in found.found and "another machine" in found.way_out
    put(tmp_path, "proc/cpuinfo", "flags : fpu avx avx2 fma\n")
    found = machine.processor(tmp_path, "x86_64")
    assert not found.is_problem and "no AVX-512" in found.note
    assert not machine.processor(tmp_path, "aarch64").is_problem
    assert not machine.processor(tmp_path / "none", "x86_64").is_problem


def test_a_containers_limit_is_its_memory(tmp_path):
    put(tmp_path, "proc/meminfo", "MemTotal: 64000000 kB\n"
        "MemAvailable:   60000000 kB\n")
    assert not machine.memory(tmp_path).is_problem
    put(tmp_path, "sys/fs/cgroup/memory.max", "max\n")
    assert not machine.memory(tmp_path).is_problem
    put(tmp_path, "sys/fs/cgroup/memory.max", "8000000000\n")
    put(tmp_path, "sys/fs/cgroup/memory.current", "6000000000\n")
    found = machine.memory(tmp_path)
    assert found.found == "2.0 of this container's 8.0 GB free"
    assert "larger" in found.way_out
    put(tmp_path, "proc/meminfo", "MemTotal: 2000000 kB\nMemAvailable: 9 kB\n")
    assert machine.memory(tmp_path).is_problem


def test_folders(tmp_path, monkeypatch):
    other = "choose another --workdir"
    fine = machine.folder("workdir", str(tmp_path / "a/b"), other)
    assert not fine.is_problem and not (tmp_path / "a").exists()
    put(tmp_path, "file", "")
    found = machine.folder("workdir", str(tmp_path / "file/run"), other)
    assert f"{tmp_path}/file is no folder" in found.found
    assert other in found.way_out
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(9, 8, 10**9))
    found = machine.folder("workdir", str(tmp_path), other)
    assert "1.0 GB free" in found.found and "make room" in found.way_out
    assert not machine.folder("workdir", "gs://b/run", other).is_problem


def test_the_cache_of_what_xla_compiles(tmp_path, monkeypatch):
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TFVIT_XLA_CACHE", raising=False)
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    assert machine.compile_cache().found.endswith("compiled, 0 programs, 0 MB")
    assert not (tmp_path / "cache").exists()
    put(tmp_path, "cache/compiled/tensorflow-2.20.0-1/a.pb", "x" * 3_000_000)
    assert machine.compile_cache().found.endswith("compiled, 1 programs, 3 MB")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Usage(9, 8, 2**20))
        found = machine.compile_cache()
        assert "only 1 MiB left" in found.found
        assert "TFVIT_CACHE to another folder" in found.way_out
    monkeypatch.setenv("TFVIT_XLA_CACHE", "0")
    found = machine.compile_cache()
    assert (found.found, found.is_problem) == ("none", False)
    monkeypatch.setenv("TF_XLA_FLAGS",
                       "--tf_xla_persistent_cache_directory=/mine")
    assert machine.compile_cache().found == "/mine"


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = machine.folder("cache", str(tmp_path), "set TFVIT_CACHE")
    assert "cannot be written" in found.found
    assert found.way_out == f"Make {tmp_path} yours, or set TFVIT_CACHE."


@pytest.mark.parametrize("change, about, way_out", [
    ({"tensorflow": None}, "TensorFlow", "pip install tensorflow==2.20"),
    ({"tensorflow": "2.19.0"}, "TensorFlow", "pip install tensorflow==2.20"),
    ({"tensorflow-tpu": "2.20.0"}, "TensorFlow",
     "uninstall -y tensorflow && pip install --force-reinstall --no-deps "
     "tensorflow-tpu"),
    ({"tensorflow-cpu": "2.20.0"}, "TensorFlow",
     "uninstall -y tensorflow-cpu && pip install --force-reinstall"),
    ({"tf_keras": "2.19.0"}, "packages", "tf_keras==2.20.*"),
    ({"tensorflow-text": "2.18.1"}, "packages", "tensorflow-text==2.20.*"),
    ({"gin-config": None}, "packages", "brings what is missing"),
])
def test_packages_that_do_not_go_together(change, about, way_out):
    versions = {k: v for k, v in {**GOOD, **change}.items() if v}
    assert not problems(packages.all_of_them(GOOD))
    found = problems(packages.all_of_them(versions))
    assert way_out in found[about]


def test_tpus_alone_is_fine_and_the_series_is_that_of_setup_cfg():
    versions = {**GOOD, "tensorflow-tpu": GOOD["tensorflow"]}
    versions.pop("tensorflow")
    assert not problems(packages.all_of_them(versions))
    setup = configparser.ConfigParser()
    setup.read(pathlib.Path(config.ROOT) / "setup.cfg")
    wanted = re.search(r"^tensorflow>=([\d.]+),",
                       setup["options"]["install_requires"], re.M)[1]
    assert packages._SERIES == wanted


@pytest.mark.parametrize("driver, found, way_out", [
    ("470.57.02", probe(), "driver 525.60.13 or later"),
    ("550.54.15", probe(), 'pip install "tfvit[gpu]"'),
    ("550.54.15", probe(is_cuda_build="False"), "made for CPUs alone"),
    ("550.54.15", probe([CPU, GPU], [
        ["/device:GPU:0", "DNN library initialization failed"]]),
     "LD_LIBRARY_PATH"),
    ("550.54.15", probe([CPU, GPU], [["/device:GPU:0", "no kernel image"]]),
     "made for CUDA 12.5.1"),
])
def test_gpus_that_would_not_work(tmp_path, monkeypatch, driver, found, way_out):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    put(tmp_path, "proc/driver/nvidia/version", DRIVER.format(driver))
    assert way_out in problems(accelerators.all_of_them(
        found, tmp_path, {}))["GPU"]


def test_gpus_that_work_or_are_hidden(tmp_path, monkeypatch):
    put(tmp_path, "proc/driver/nvidia/version", DRIVER.format("550.54.15"))
    findings = accelerators.all_of_them(probe([CPU, GPU, GPU]), tmp_path, {})
    assert not problems(findings)
    said = {f.about: f.found for f in findings}
    assert "2 x NVIDIA A100, driver 550.54.15" in said["GPU"]
    assert said["determinism"] == "off on the GPU"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    findings = accelerators.all_of_them(probe(), tmp_path, {})
    assert not problems(findings)
    said = {f.about: f.found for f in findings}
    assert said["GPU"] == "hidden by CUDA_VISIBLE_DEVICES"
    assert said["determinism"] == "on"


def test_nccl_xla_and_broken_packages():
    found = problems(accelerators.all_of_them(probe([CPU, GPU, GPU], [
        ["NCCL", "unhandled system error"], ["XLA", "no ptxas"],
        ["import tensorflow_text", "undefined symbol"]]), "/nowhere", {}))
    assert "--shm-size" in found["NCCL"] and "jit = False" in found["XLA"]
    assert "built for another" in found["TensorFlow starts"]


@pytest.mark.parametrize("versions, way_out", [
    ({}, "tfvit[tpu]"),
    ({"tensorflow-tpu": "2.20.0"}, "--force-reinstall tensorflow-tpu"),
    ({"tensorflow-tpu": "2.20.0", "libtpu": "0.0.21"}, None)])
def test_tpus(tmp_path, versions, way_out):
    for i, device in enumerate(["0x0063", "0x0063", "0x0042"]):
        put(tmp_path, f"sys/bus/pci/devices/{i}/vendor", "0x1ae0\n")
        put(tmp_path, f"sys/bus/pci/devices/{i}/device", device + "\n")
    findings = accelerators.all_of_them(probe(), tmp_path, versions)
    found = problems(findings).get("TPU")
    assert way_out in found if way_out else found is None
    assert any("2 chips of v5e" in f.found for f in findings)


@pytest.mark.parametrize("environment, devices, versions, said", [
    ({}, [CPU], {}, "the CPU"), ({}, [CPU, GPU], {}, "the GPU"),
    ({"TF_CONFIG": "{}"}, [CPU, GPU, GPU], {},
     "2 GPUs, and those of the other workers"),
    ({}, [CPU, {**CPU, "type": "TPU"}], {"tensorflow-tpu": "2.20.0"},
     "the TPU of this VM"),
    ({"TPU_NAME": "vit"}, [CPU], {"tensorflow-tpu": "2.20.0"}, "the TPU vit"),
    ({"TPU_NAME": "vit"}, [CPU], {}, "not made")])
def test_what_a_run_takes(monkeypatch, environment, devices, versions, said):
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = accelerators.all_of_them(probe(devices), "/nowhere", versions)[-1]
    assert said in found.found and found.about == "a run takes"
    assert found.is_problem == (said == "not made")


@pytest.mark.parametrize("code, said, way_out", [
    ("import os; os.kill(os.getpid(), 4)", "signal 4", "another machine"),
    ("raise ImportError('libcudart.so.12 is not there')", "libcudart.so.12",
     "Install anew"),
    ("raise SystemExit('2026 F xla/env.cc:234] Unknown flag in XLA_FLAGS: -x')",
     "no: it fails: Unknown flag in XLA_FLAGS: -x", "Mend XLA_FLAGS"),
    ("print('no JSON')", "it fails: without a word", "Install anew"),
    ("import time; time.sleep(60)", "not within 1 s", "end that process")])
def test_a_tensorflow_that_does_not_start(code, said, way_out):
    found, (problem,) = accelerators.probed(
        (sys.executable, "-S", "-c", code), patience=1)
    assert found is None and said in problem.found
    assert way_out in problem.way_out


def test_tensorflow_starts_here():
    found, failures = accelerators.probed()
    assert not failures and found["problems"] == []
    assert CPU["type"] in [d["type"] for d in found["devices"]]
    assert not problems(accelerators.all_of_them(found, "/nowhere", {}))


@pytest.mark.parametrize("text, way_out", [
    ("{", "needs the environment variable TF_CONFIG"),
    (json.dumps({"cluster": {"worker": ["a:1"]},
                 "task": {"type": "worker", "index": 4}}), "index 4"),
    (json.dumps({"cluster": {"worker": ["localhost:1", "b:1"]},
                 "task": {"type": "worker", "index": 0}}),
     "another machine on each"),
    (json.dumps({"cluster": {"worker": ["a:1", "b:1"]},
                 "task": {"type": "worker", "index": 0}}), "")])
def test_tf_config(monkeypatch, text, way_out):
    monkeypatch.setenv("TF_CONFIG", text)
    found = surroundings.workers().way_out
    assert way_out in found if way_out else not found


def test_tpu_name(monkeypatch):
    for name in ("TF_CONFIG", "TPU_LOAD_LIBRARY", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert not surroundings.tpu_name().is_problem
    monkeypatch.setenv("TPU_NAME", "vit")
    assert "TPU_LOAD_LIBRARY=0" in surroundings.tpu_name().way_out
    monkeypatch.setenv("TPU_LOAD_LIBRARY", "0")
    assert not surroundings.tpu_name().is_problem
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert "unset one" in surroundings.tpu_name().way_out


def test_credentials(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    find = lambda *folders: surroundings.credentials(folders, tmp_path)
    assert not find("runs").is_problem
    assert "gs://b/runs needs some" in find("gs://b/runs").way_out
    put(tmp_path, "sys/class/dmi/id/product_name", "Google Compute Engine\n")
    assert not find("gs://b/runs").is_problem
    key = ".config/gcloud/application_default_credentials.json"
    put(tmp_path, key, '{"type": "authorized_user"}')
    assert not find("gs://b/runs").is_problem
    put(tmp_path, key, "")
    assert "no JSON" in find("gs://b/runs").found
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    assert "No such file" in find("runs").found and find("runs").is_problem


def test_the_table_has_a_way_out_below_each_problem():
    text = words.table([finding.Finding("memory", "9 GB free"), finding.Finding(
        "GPU", "none", "Buy one " + "soon " * 30, "why")])
    assert text.splitlines()[0] == "ok       memory  9 GB free"
    assert "PROBLEM  GPU     none (why)\n                 -> Buy one" in text
    assert text.endswith("1 problem.")
    assert max(map(len, text.splitlines())) <= 80
    assert "Nothing that would stop" in words.table(
        [finding.Finding("memory", "9 GB free")])
