"""TensorFlow's errors, in a sentence for the user."""

import errno
import os
import sys

import pytest
import tensorflow as tf

from tests import toy
from tfvit import launch
from tfvit import trainer
from tfvit.engine import run_config
from tfvit.storage import errors


def caught(call):
    with pytest.raises((tf.errors.OpError, OSError)) as error:
        call()
    return error.value


def write(path):
    with tf.io.gfile.GFile(path, "w") as f:
        f.write("x" * 100_000)


def out_of_memory():
    raise tf.errors.ResourceExhaustedError(
        None, None, "OOM when allocating tensor with shape[9]\nand more")


def full_disk():
    return caught(lambda: write("/dev/full"))  # Its writes fail with ENOSPC.


@pytest.mark.parametrize("text, memory", [
    ("OOM when allocating tensor with shape[512,197,768]", True),
    ("Out of memory while trying to allocate 34359738368 bytes.", True),
    ("Failed to allocate request for 2.00GiB (2147483648B) on device", True),
    ("Ran out of memory in memory space hbm.", True),
    ("/data/memory/x; No space left on device", False),
    ("/memory/allocated/x; Disk quota exceeded", False),
    ("/oom/x; Too many open files", False),
    ("Error executing an HTTP request: HTTP response code 429", False),
])
def test_a_full_device_is_no_full_disk(text, memory):
    error = tf.errors.ResourceExhaustedError(None, None, text)
    assert errors.is_memory(error) == memory
    assert ("out of memory" in errors.sentence(error)) == memory


@pytest.mark.parametrize("where", [
    "defined at (most recent call last):\n"
    '  File "/usr/lib/threading.py", line 1002, in _bootstrap\n\n'
    '  File "/x.py", line 41, in <lambda>\n\n',
    "defined at (most recent call last):\n<stack traces unavailable>\n"])
def test_of_a_graph_only_the_complaint_is_told(where):
    # As TensorFlow 2.20 says it of a tf.function that a thread calls.
    error = tf.errors.InvalidArgumentError(
        None, None, "Graph execution error:\n\nDetected at node "
        f"cond_1/decode_image/DecodeImage {where}"
        "{{function_node __inference_a_1}} {{function_node __inference_b_2}} "
        "Input is empty.\n\t [[cond_1/else/_9/cond_1/StatefulPartitionedCall]] "
        "[Op:__inference_convert_3971]")
    assert errors.reason(error) == "Input is empty."


def test_what_tensorflow_says_of_a_full_disk_is_kept():
    error = full_disk()
    assert isinstance(error, tf.errors.ResourceExhaustedError)
    assert not errors.is_memory(error)
    assert errors.sentence(error) == (
        f"/dev/full; {os.strerror(errno.ENOSPC)}. (TensorFlow: resource "
        "exhausted)")


def test_what_tensorflow_says_of_tensors_is_one_line_with_the_op():
    error = caught(lambda: tf.reshape(tf.zeros([6]), [4]))
    said = errors.sentence(error)
    assert "6 values" in said and said.endswith(
        "(TensorFlow: invalid argument, in Reshape)")
    assert "{{" not in said and "\n" not in said

    def python():
        with open("/dev/full", "w", encoding="ascii") as f:
            f.write("x" * 100_000)

    for cause in (lambda: write("/dev/full"), python):
        with pytest.raises(OSError) as error:
            with errors.writing("/dev/full", "Make room."):
                cause()
        assert str(error.value) == (
            f"Cannot write /dev/full: {os.strerror(errno.ENOSPC)}. Make room.")


@pytest.mark.parametrize("call, said", [
    (lambda: write("/nowhere/x"), "/nowhere/x; No such file"),
    (lambda: write("what://ever"), "'what' not implemented"),
    (lambda: tf.io.gfile.makedirs("/proc/version/x"), "/proc/version"),
    (lambda: tf.io.gfile.listdir("/nowhere"), "/nowhere. (TensorFlow: not f"),
    (lambda: tf.linalg.inv(tf.zeros([2, 2])), "not invertible"),
    (out_of_memory, "A device is out of memory: OOM when allocating"),
    (lambda: write("/dev/full"), "No space left on device"),
])
def test_no_error_of_tensorflow_reaches_the_user_as_a_trace(
        call, said, monkeypatch, caplog):
    monkeypatch.setattr(sys, "argv", ["test"])
    with pytest.raises(SystemExit) as end:
        launch.run_words(lambda words: call())
    assert end.value.code == 1
    (record,) = [record for record in caplog.records
                 if record.levelname == "ERROR"]
    assert said in record.getMessage()
    assert not record.exc_info and "\n" not in record.getMessage()


def test_a_full_disk_stops_a_run_with_a_sentence(tmp_path):
    # The writer makes metrics.jsonl by renaming this.
    os.symlink("/dev/full", tmp_path / "metrics.jsonl.part")
    with pytest.raises(OSError) as error:
        trainer.train(toy.EXPERIMENT, tmp_path)
    assert str(error.value) == (
        f"Cannot write {tmp_path}/metrics.jsonl: No space left on device. "
        "With that mended, the same command continues the run from "
        "its last checkpoint.")


def test_a_full_disk_below_training_is_no_full_device(tmp_path, monkeypatch):
    error = full_disk()

    def run(*_):
        raise error

    monkeypatch.setattr(trainer.loop, "run", run)
    with pytest.raises(OSError, match="No space left.*continues .*step 0"):
        trainer.train(toy.EXPERIMENT, tmp_path)


def test_a_workdir_below_a_file_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write .*file.*--workdir"):
        trainer.train(toy.EXPERIMENT, tmp_path / "file" / "run")
    with pytest.raises(OSError, match="Cannot write .*config.gin.*--workdir"):
        run_config.save("", tmp_path / "file" / "run", started=False)


def test_an_operation_that_a_slices_hosts_lack_is_named():
    # As google-research/text-to-text-transfer-transformer's issue 965 has it.
    said = errors.sentence(tf.errors.NotFoundError(
        None, None, "Op type not registered 'SentencepieceOp' in binary running "
        "on t1v-n-e076a4c2-w-0. Make sure the Op and Kernel are registered in "
        "the binary running in this process."))
    assert said.startswith("The machine t1v-n-e076a4c2-w-0 has another "
                           "TensorFlow, without the operation SentencepieceOp.")
    assert "train on a single TPU VM" in said


@pytest.mark.parametrize("text", [  # As TensorFlow 2.20 said of such entries.
    "Serialized cache key does not match.",
    "Failed to parse serialized CpuExecutableAotCompilationResult.",
    "/root/.cache/x/xla_compile_cache__1__2__XLA_CPU_JIT.pb; Disk quota exceeded"
])
def test_what_xla_keeps_is_named_where_it_is_damaged(text, monkeypatch):
    monkeypatch.setenv("TFVIT_CACHE", "/somewhere")
    said = errors.sentence(tf.errors.InternalError(None, None, text))
    assert "/somewhere/compiled" in said and "TFVIT_XLA_CACHE=0" in said
