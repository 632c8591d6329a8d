"""What commands say: help, wrong input, and nothing that is not ours."""

import ast
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfvit import __main__ as tfvit_main
from tfvit import config
from tfvit import launch
from tfvit import terminal
from tfvit import trainer
from tfvit.bindings import binding_words
from tfvit.engine import run_config

ROOT = pathlib.Path(config.ROOT)
COMMANDS = tfvit_main._commands()
STANDS_ALONE = {"serve_client"}  # Imports nothing of tfvit, and needs no more.

# Runs commands, one after the other, in a process of its own. Flags belong to
# the process, and so each command's go before the next.
RUN = """
import json, os, re, runpy, sys, tempfile, traceback
from absl import app, flags, logging
from tfvit import terminal
first = set(flags.FLAGS)
plain = terminal._Formatter.format
terminal._Formatter.format = lambda self, record: re.sub(
    "^", MARK, plain(self, record), flags=re.M)
real = os.dup(2), os.dup(1)
for module, words in json.loads(sys.stdin.read()):
    for name in set(flags.FLAGS) - first:
        delattr(flags.FLAGS, name)
    for name in list(sys.modules):
        if name in ("tfvit.launch", "tfvit.flag_words", module):
            package, _, part = name.rpartition(".")
            vars(sys.modules[package]).pop(part, None)
            del sys.modules[name]
    sys.argv, code = ["tfvit " + module.split(".")[-1], *words], 0
    file = lambda: tempfile.TemporaryFile("w+")
    with file() as err, file() as out:
        os.dup2(err.fileno(), 2), os.dup2(out.fileno(), 1)
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = -1
        sys.stdout.flush(), sys.stderr.flush()
        os.dup2(real[0], 2), os.dup2(real[1], 1)
        err.seek(0), out.seek(0)
        print(json.dumps([code, out.read(), err.read(),
                          "tensorflow" in sys.modules]), flush=True)
"""


def run_all(commands, mark="", cwd=ROOT, path=""):
    """[(exit code, stdout, stderr, whether TensorFlow is imported)]."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("TF_")}  # Those of the tests.
    done = subprocess.run(
        [sys.executable, "-c", f"MARK = {mark!r}\n{RUN}"], cwd=cwd,
        env={**environment, "PYTHONPATH": f"{ROOT}:{path}"},
        input=json.dumps(commands), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


DIGITS = ["--gin_file=gin/digits.gin"]
FOLDER = ["--gin_file=gin/folder.gin"]


def bind(*bindings, files=DIGITS):
    return ["train", *files, *(f"--gin_bindings={line}" for line in bindings)]


WRONG = [  # (words of the command, what its last line must say)
    (["finetune"], "Say what to train on"),
    (["finetune", "/data/x", "--batch=8"], "Did you mean --batch_size?"),
    (["finetune", "/data/x", "--epoch=3"], "no flag --epoch. Did you mean "
     "--epochs?"),
    (["train", *DIGITS, "--batch_size=32"],
     '--gin_bindings="experiment.Experiment.batch_size = 32"'),
    (["train", *DIGITS, "--total_step=9"],
     '--gin_bindings="experiment.Experiment.total_steps = 9"'),
    (["train", *DIGITS, "--lr=0.1"], '--gin_bindings="optim.adamw.lr = 0.1"'),
    (["train", *DIGITS, "--dryrun"], "Did you mean --dry_run?"),
    (["predict", "a.png", "--modle=x"], "Did you mean --model?"),
    (["predict", "a.png", "--model=x", "--batch_size=many"], "batch_size"),
    (["predict", "a.png"], "--model is required: Directory of a run"),
    (["finetune", "photos", "--workdir=x"], "Did you mean --out?"),
    (["finetune", "photos", "--sampler=equal"],
     "--sampler=equal: value should be one of <balanced|sqrt>"),
    (["evaluate", "--modle=x"], "Did you mean --model?"),
    (["evaluate", "--model=x", "--workdir=y"],
     "--workdir and --model: give one of them."),
    (["reproduce", "--only=vit-b61"],
     "--only=vit-b61 is no row. Did you mean 'vit-b16'?"),
    (["reproduce", "--only=train-digits"],
     "such rows are asked for by --train=train-digits."),
    (["reproduce", "--images=0"], "images"),
    (["reproduce", "vit-b16"], "Rows are named by --only and --train."),
    (["reproduce", "--ledger=/nowhere.json"],
     "The ledger /nowhere.json cannot be read: No such file"),
    (["reproduce", "--ledger=setup.cfg"], "setup.cfg is no JSON"),
    (["export", "--out=x", "--format=tflit"], "tflite_float16"),
    (["export", "--out=x", "--format=safetensors", "--layout=tim"],
     "--layout=tim: value should be one of <timm|hf>"),
    (["export", "--out=x", "--format=safetensor"], "savedmodel"),
    (["prepare", "--out=x"], "Say what to prepare"),
    (["prepare", "photos"], "--out is required: Folder to write"),
    (["prepare", "photos", "--out=x", "--format=arrayrecord"],
     "array_record"),
    (["prepare", "photos", "--out=x", "--quality=101"], "quality"),
    (["prepare", "photos", "--out=x", "--short_sid=5"],
     "Did you mean --short_side?"),
    (["beside_keras"], "Say which folder"),
    (["demo"], "Say which model, --model=..., or which folder"),
    (["demo", "/nowhere"], "/nowhere holds no models.json"),
    (["demo", "tools", "--precisions=int4"], "must be some of float32, "),
    (["export", "--out=x", "--precisions="], "must be some of float32, "),
    (["train"], "--gin_file is required"),
    (["evaluate"], "--workdir (or --model) is required"),
    (["train", "--gin_file=gin/digit.gin"], "Did you mean gin/digits.gin?"),
    (["train", "--gin_file=cifar10"], "Did you mean gin/data/cifar10.gin?"),
    (["train", "--gin_file=gin\\digits.gin"],
     "Write --gin_file=gin/digits.gin."),
    (["train", "--gin_file=gin"], "--gin_file=gin is a folder. Name a file in "
     "it, such as gin/augreg.gin."),
    (["train", "--gin_file=/dev/full"], "is a device or a pipe"),
    (["train", "--gin_file=/nowhere/x.gin"],
     "--gin_file=/nowhere/x.gin does not exist."),
    (bind("total_steps=50"), "write experiment.Experiment.total_steps = 50."),
    (bind("Experiment.total_steps = 50"),
     "write the whole name, experiment.Experiment.total_steps."),
    (bind("experiment.total_steps = 5"),
     "Did you mean experiment.Experiment.total_steps?"),
    (bind("experiment.Experiment.total_step = 5"),
     "experiment.Experiment has no parameter total_step. "
     "Did you mean total_steps?"),
    (bind("optim.sdg.lr = 1"), "optim has no sdg. Did you mean optim.sgd?"),
    (bind("optm.sgd.lr = 1"), "there is no module optm. Did you mean 'optim'?"),
    (bind("experiment.Experiment.optimizer = @optim.adam"),
     "Did you mean optim.adamw?"),
    (bind("NUM_CLASES = 5"), "Did you mean NUM_CLASSES?"),
    (bind("experiment.Experiment.total_steps"), "is no binding: write NAME = "),
    (bind("experiment.Experiment.total_steps = "), "has no value."),
    (bind("optim.adamw.lr = [1,"), "the bracket [ has no other half."),
    (bind("optim.adamw.lr = {"), "the bracket { has no other half."),
    (bind("optim.adamw.lr = (1"), "the bracket ( has no other half."),
    (bind("optim.adamw.lr = [1)"), "the bracket ) has no other half."),
    (bind("IMAGE_SIZE = %IMAGE_SIZE"), "IMAGE_SIZE = %IMAGE_SIZE: IMAGE_SIZE "
     "stands for itself"),
    (bind("IMAGE_SIZE = %NUM_CLASSES", "NUM_CLASSES = %IMAGE_SIZE"),
     "NUM_CLASSES = %IMAGE_SIZE, IMAGE_SIZE = %NUM_CLASSES: NUM_CLASSES stand"),
    (bind("optim.adamw.lr = float('nan')"), "write the value itself"),
    (bind("experiment.Experiment.total_steps = 10*1000"),
     "gin does not calculate"),
    (bind("experiment.Experiment.tf32 = false"),
     "write experiment.Experiment.tf32 = False"),
    (bind("experiment.Experiment.best_metric = test/accuracy"),
     "a text needs quotes: experiment.Experiment.best_metric = "
     "'test/accuracy'."),
    (bind("experiment.Experiment.best_metric = 'test/accuracy"),
     "the quotes of 'test/accuracy do not match."),
    (bind("FOLDER = /data/flowers", files=FOLDER), "FOLDER = '/data/flowers'."),
    (bind("FOLDER = C:\\new", files=FOLDER), "FOLDER = 'C:/new'."),
    (bind("FOLDER = 'C:\\new'", files=FOLDER),
     "a backslash means something else in gin's texts: write FOLDER = "
     "'C:/new'."),
    (["train", *FOLDER],
     "FOLDER has no value yet. Add, with your own: "
     "--gin_bindings=\"FOLDER = '/data/flowers'\""),
    (["train", "--gin_file=gin/base.gin"],
     "only a part of a run: nothing sets experiment.Experiment.model"),
    (["evaluate", "--workdir=tool"], "holds no config.gin: it is not the "
     "directory of a run of tfvit.train. Did you mean tools?"),
    (bind("optim.sgd.lr = 0.1"),
     "this run does not use optim.sgd, but optim.adamw: optim.adamw.lr."),
    (bind("mixup.mixup.alpha = 0.1"), "this run does not use mixup.mixup"),
    (["tpu_check"], "--gin_file is required"),
    (["tpu_check", *DIGITS, "--topology=h100:8"],
     "'h100:8' is no slice, which is one of v3, v4, v5e, v5p, v6e"),
    (["tpu_check", *DIGITS, "--topology=v4:2x2"],
     "chips of v4 lie in 3 dimensions, such as v4:2x2x2."),
    (["tpu_check", *DIGITS, "--tpu=v5e-8"], "There is no flag --tpu."),
    (["tpu_check", *DIGITS, "--out=gs://b/c"], "a folder of this machine"),
    (["tpu_check", *DIGITS, "--out=setup.cfg"], "is a file: name a folder"),
    (["tpu_check", *DIGITS, "--out=gin"], "--out=gin is not empty"),
    (["doctor", "--work_dir=runs"], "Did you mean --workdir?"),
    (["end_to_end"], "--recordings is required: Folder of the original"),
    (["end_to_end", "--recordings=x", "--seeds=1"], "seeds=1: 1 is not integer "
     ">= 2"),
    (["train", *DIGITS, "--gin_bindings", "FOLDER", "=", "3"],
     "write NAME = VALUE, in quotes"),
]


@pytest.fixture(scope="module")
def answers():
    names = [name for name in COMMANDS if name not in STANDS_ALONE]
    calls = [[COMMANDS[name][0], ["--help"]] for name in names]
    calls += [[COMMANDS[first][0], words] for (first, *words), _ in WRONG]
    found = run_all(calls)
    return dict(zip(names, found)), found[len(names):]


@pytest.mark.parametrize("name", [n for n in COMMANDS if n not in STANDS_ALONE])
def test_help_is_whole_and_needs_no_tensorflow(answers, name):
    code, said, error, imported = answers[0][name]
    assert (code, error, imported) == (0, "", False)
    module, path = COMMANDS[name]
    source = pathlib.Path(path).read_text()
    for flag in re.findall(r"flags\.DEFINE_\w+\(\s*\"(\w+)\"", source):
        assert re.search(rf"^  --(\[no\])?{flag}\b", said, re.MULTILINE), flag
    about = ast.get_docstring(ast.parse(source)).splitlines()[0]
    assert said.startswith(about)
    assert re.search(rf"(python -m {module}|tfvit {name}) ", said)  # Example.
    assert "--[no]verbose" in said
    assert max(len(line) for line in said.splitlines()
               if not line.startswith("  --")) < 85


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_input_is_answered_at_once_and_in_a_line(answers, number):
    code, _, said, imported = answers[1][number]
    assert code == 1 and not imported
    (line,) = said.strip().splitlines()
    assert line.startswith("Error: ") and WRONG[number][1] in line


def test_a_command_that_is_none_is_answered(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tfvit", "trian"])
    with pytest.raises(SystemExit, match="'trian'. Did you mean 'train'?"):
        tfvit_main.main()


# What only the parsed config, or the built run, can tell.


def test_a_mistake_in_ones_own_file_is_explained(tmp_path):
    path = tmp_path / "own.gin"
    path.write_text("include 'gin/digits.gin'\n"
                    "from tfvit.optimize import optim\noptim.sdg.lr = 1\n")
    with pytest.raises(ValueError, match="Did you mean optim.sgd?") as error:
        config.parse([str(path)])
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("bindings, gone, there", [
    (["experiment.Experiment.init = None"], "load.from_npz.path", "optim.sgd"),
    (["experiment.Experiment.optimizer = @optim.adamw",
      "optim.adamw.lr = 1e-3", "optim.adamw.weight_decay = 0.1",
      "optim.adamw.schedule = @schedules.stair"],
     "optim.sgd.lr", "optim.adamw.lr"),
    (["experiment.Experiment.model = @mixer.mixer"], "vit.vit.depth",
     "mixer.mixer"),
])
def test_what_a_file_sets_of_a_replaced_function_is_dropped(
        bindings, gone, there):
    text = config.parse(FOLDER[0].split("=")[1:],
                        ["FOLDER = '/x'", "NUM_CLASSES = 3", *bindings])
    assert gone not in text and there in text


def test_what_the_command_line_sets_of_a_replaced_function_stays():
    text = config.parse(
        ["gin/folder.gin"], ["FOLDER = '/x'", "NUM_CLASSES = 3",
                             "experiment.Experiment.init = None",
                             "load.from_npz.path = 'a.npz'"])
    assert "load.from_npz.path = 'a.npz'" in text  # For training to refuse.


def folder(path, classes):
    for name in classes:
        (path / name).mkdir(parents=True)
        for i in range(4):
            image = np.full([9, 9, 3], 20 * i, np.uint8)
            (path / name / f"{i}.png").write_bytes(
                tf.io.encode_png(image).numpy())


def test_classes_are_counted(tmp_path):
    folder(tmp_path / "data", "abc")
    bindings = [f"FOLDER = '{tmp_path}/data'"]
    text = config.parse(["gin/folder.gin"], bindings)
    assert "\nNUM_CLASSES = 3\n" in text
    # The run's config has the number, and so has who reads it again.
    run_config.save(text, str(tmp_path / "run"), started=False)
    run_config.save(config.parse(["gin/folder.gin"], bindings),
                    str(tmp_path / "run"), started=True)
    assert config.parse([config.of(str(tmp_path / "run"))]) == text


def test_classes_that_cannot_be_counted_are_asked_for(tmp_path):
    (tmp_path / "own.gin").write_text(
        "from __gin__ import dynamic_registration\n"
        "include 'gin/models/s16.gin'\nIMAGE_SIZE = 32\n")
    with pytest.raises(ValueError, match="^NUM_CLASSES has no value yet. "
                       "Add, with your own: --gin_bindings=\"NUM_CLASSES = "):
        config.parse([str(tmp_path / "own.gin")])


def test_a_warm_up_that_is_too_long_is_refused_before_anything_is_built(
        tmp_path):
    config.parse(["gin/digits.gin"], ["experiment.Experiment.total_steps = 50"])
    exp = config.make("tfvit.experiment.Experiment")
    with pytest.raises(ValueError, match=re.escape(
            "schedules.cosine.warmup_steps=100 must be less than "
            "Experiment.total_steps=50, for example "
            "schedules.cosine.warmup_steps = 5.")):
        trainer.train(exp, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("binding, said", [
    ("experiment.Experiment.total_steps = 99999999999999999999999",
     "Experiment.total_steps=99999999999999999999999 must be at most "),
    ("experiment.Experiment.model = 'vit'", "Experiment.model='vit' must be a "
     "function, @ and its name, such as @vit.vit."),
    ("experiment.Experiment.writers = 3", "Experiment.writers=3 must be a list"),
    ("experiment.Experiment.clip_norm = 'a'",
     "Experiment.clip_norm='a' must be a number above 0."),
    ("experiment.Experiment.evaluators = {'test': 3}",
     "Experiment.evaluators['test']=3 must be a function"),
    *((f"optim.adamw.lr = {lr}", f"optim.adamw.lr={said} must be a number "
       "of at least 0") for lr, said in (
           ("'abc'", "'abc'"), ("1e999", "inf"), ("-1", "-1"),
           ("True", "True"))),
    ("vit.vit.depth = 'four'", "vit.depth='four' must be a whole number of at"),
    ("vit.vit.width = 'a'", "vit.width='a' must be a whole number of at"),
    ("vit.vit.patch_size = 0", "vit.patch_size=0 must be a whole number of at "
     "least 1, or a pair of them."),
])
def test_values_that_cannot_be_meant_are_refused(binding, said):
    config.parse(["gin/digits.gin"], [binding])
    with pytest.raises(ValueError, match=re.escape(said)):
        exp = config.make("tfvit.experiment.Experiment")
        exp.optimizer(500), exp.model()


def test_a_parameter_without_a_value_is_named():
    error = TypeError("from_npz() missing 1 required keyword-only argument: "
                      "'path'\n  In call to configurable 'from_npz'")
    assert binding_words.unbound(error) == (
        "load.from_npz.path has no value. Set it: "
        '--gin_bindings="load.from_npz.path = ..."')
    assert binding_words.unbound(TypeError("an error of one's own")) is None


# How commands end.


KERAS = """Exception encountered when calling layer "block_0" (type Block).

{}

Call arguments received by layer "block_0" (type Block):
  \u2022 x=tf.Tensor(shape=(None, 17, 64), dtype=float32)"""


@pytest.mark.parametrize("error, code, said", [
    (ValueError(KERAS.format(KERAS.format("64 must be a multiple of 7."))), 1,
     "64 must be a multiple of 7."),
    (TypeError("'<' not supported.\n  In call to configurable 'adamw' (<.>)"),
     1, "TypeError: '<' not supported (in adamw). --verbose shows where."),
    (TypeError('in user code:\n\n    File "/x/tfvit/optimize/optim.py", line 93, '
               "in update  *\n        adam += 'a' * value\n\n    TypeError: "
               "Expected float32."),
     1, "TypeError: Expected float32 (in optim.update). --verbose shows where."),
    (ValueError('in user code:\n\n    File "/x/tfvit/a.py", line 9, in f\n\n'
                "    ValueError: " + KERAS.format("64 is no multiple of 7.")),
     1, "64 is no multiple of 7."),
    (KeyError("x"), 1, "KeyError: 'x'. --verbose shows where."),
    (AssertionError(), 1, "AssertionError. --verbose shows where."),
    (RecursionError("deep"), 1,
     "RecursionError: deep. --verbose shows where."),
    (KeyboardInterrupt(), terminal.INTERRUPTED, "Interrupted."),
    (KeyboardInterrupt("At once."), terminal.INTERRUPTED, "At once."),
    (OSError("No disk."), 1, "No disk."),
    (FloatingPointError("loss is nan"), launch.DIVERGED, "loss is nan"),
])
def test_no_error_ends_with_a_trace(error, code, said, monkeypatch, caplog):
    def fail(words):
        raise error

    monkeypatch.setattr(sys, "argv", ["test"])
    with pytest.raises(SystemExit) as end:
        launch.run_words(fail)
    assert end.value.code == code
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert record.getMessage() == said and not record.exc_info


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130),
                                          (signal.SIGTERM, 143)])
def test_a_signal_before_the_first_step_ends_with_a_line(number, code,
                                                         tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "tfvit.train", *DIGITS,
         f"--workdir={tmp_path}/run"], cwd=ROOT, stderr=subprocess.PIPE,
        text=True)
    for line in process.stderr:
        if "replica" in line:
            break
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == code
    assert said.splitlines()[-1] == (
        "Interrupted before the first step: nothing new was saved.")
    assert "Traceback" not in said
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_a_pipe_that_closes_ends_a_command_silently(monkeypatch, caplog):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "argv", ["test"])
    monkeypatch.setattr(sys, "stdout", os.fdopen(writing, "w"))
    with pytest.raises(SystemExit) as end:
        launch.run_words(lambda words: print("a line"))
    assert end.value.code == 141 and not caplog.records


@pytest.mark.slow
def test_no_command_says_anything_that_is_not_ours(tmp_path):
    run, image = f"{tmp_path}/run", f"{tmp_path}/a.png"
    pathlib.Path(image).write_bytes(tf.io.encode_png(
        tf.zeros([20, 20, 3], tf.uint8)).numpy())
    short = bind("experiment.Experiment.total_steps = 20",
                 "schedules.cosine.warmup_steps = 5",
                 "vit.vit.width = 16", "vit.vit.depth = 1")[1:]
    calls = [
        ("train", [*short, "--dry_run"]),
        ("train", [*short, f"--workdir={run}"]),
        ("train", [*short, f"--workdir={run}"]),
        ("evaluate", [f"--workdir={run}"]),
        ("predict", [image, f"--model={run}"]),
        ("export", [f"--workdir={run}", f"--out={tmp_path}/export"]),
        ("export", [f"--workdir={run}", f"--out={tmp_path}/lite",
                    "--format=tflite"]),
        ("predict", [image, f"--model={tmp_path}/export"]),
        ("export_npz", [f"--workdir={run}", f"--output={tmp_path}/a.npz"]),
        ("inspect_npz", [f"{tmp_path}/a.npz"]),
        ("attention", [image, f"--model={run}", f"--out={tmp_path}/look"]),
        ("results", [run]),
        ("check_data", DIGITS),
        ("benchmark", [*short, "--steps=1", "--matmul=64"]),
        ("bench_load", short),
    ]
    found = run_all([[COMMANDS[name][0], words] for name, words in calls],
                    mark="OURS ")
    for (name, words), (code, _, said, _) in zip(calls, found):
        assert code == 0, (name, words, said)
        strange = [line for line in said.splitlines()
                   if not line.startswith("OURS ")]
        assert strange == [], (name, words)
