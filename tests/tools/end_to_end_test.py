"""Whole fine-tunings against those of the JAX original.

Its final weights, with what they make of some files, are in goldens; the data
to train on (6 MB) lies in the folder of recordings, for those who have it.
"""

import functools
import json
import os
import pathlib

import numpy as np
import pytest

from tfvit import config
from tfvit.data import pipeline
from tfvit.data.datasets import sources
from tfvit.data.images import ops
from tfvit.models import vit
from tfvit.weights import load
from tfvit.weights import npz
from tools import end_to_end
from tools import recordings as recordings_lib

FOLDER = pathlib.Path(os.environ.get("TFVIT_RECORDINGS") or os.path.join(
    config.ROOT, "..", "shared", "end_to_end"))
needs_recordings = pytest.mark.skipif(
    not (FOLDER / "runs.json").exists(),
    reason="TFVIT_RECORDINGS names no folder with runs of the original")


def test_its_final_weights_give_its_logits_of_files(golden, tmp_path):
    recorded = golden("end_to_end")
    for i, name in enumerate(recorded["files"]):
        path = tmp_path / str(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(recorded[f"jpeg/{i}"].tobytes())
    npz.save(tmp_path / "final.npz", {
        name.removeprefix("weights/"): array
        for name, array in recorded.items() if name.startswith("weights/")})
    model = vit.vit(num_classes=6, image_size=48, patch_size=8, width=48,
                    depth=3, num_heads=3, mlp_dim=96)
    load.from_npz(model, path=str(tmp_path / "final.npz"), reset_head=False)
    batch, = pipeline.evaluate(  # As gin/recipes/finetune.gin evaluates.
        source=sources.folder(path=str(tmp_path), split="test"),
        ops=[ops.decode, functools.partial(ops.resize, size=48),
             ops.value_range], batch_size=len(recorded["files"]))[0]
    np.testing.assert_array_equal(batch["labels"], recorded["labels"])
    first = recorded["images"]
    np.testing.assert_allclose(batch["images"][:len(first)], first, atol=5e-7)
    np.testing.assert_allclose(model(batch["images"]), recorded["logits"],
                               rtol=0, atol=2e-6 * np.abs(
                                   recorded["logits"]).max())


def run(loss, accuracy):
    """One whose losses, and accuracy, stay the same."""
    return {"train_loss": [loss] * 60, "final_test_loss": loss + 1,
            "accuracy_test": {"100": accuracy}}


def test_rows_are_means_of_windows_and_what_the_end_gave():
    ours = [run(1.0, 0.5), run(1.5, 0.6)]
    rows = end_to_end.compare(ours, [run(1.0, 0.4), run(1.2, 0.6)])
    assert [row[0] for row in rows] == [
        "loss, steps 1-30", "loss, steps 31-60", "test accuracy after 100",
        "test loss after 60"]
    np.testing.assert_allclose(rows[0][1:3], [[1.0, 1.5], [1.0, 1.2]])
    np.testing.assert_allclose(rows[3][1:3], [[2.0, 2.5], [2.0, 2.2]])
    np.testing.assert_allclose(rows[2][3], 0.05)


def test_p_is_that_of_welchs_test():
    ours = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1,
            19.6, 19.0, 21.7, 21.4]
    theirs = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9,
              22.1, 22.9, 20.5, 24.4]
    p = end_to_end.welch(ours, theirs)[1]
    assert p == pytest.approx(0.021378001, abs=1e-8)  # As R's t.test has it.
    # One value, where 95 % of new ones lie: 2.776 = t(0.975, 4).
    spread = np.std([1, 2, 3, 4, 5], ddof=1) * (1 + 1 / 5)**0.5
    for factor, expected in ((2.776, 0.05), (0.0, 1.0)):
        p = end_to_end.welch([1, 2, 3, 4, 5], [3 + factor * spread])[1]
        assert p == pytest.approx(expected, abs=1e-4)


def test_what_a_file_keeps_is_not_mixed_with_other_settings(tmp_path):
    path = tmp_path / "ours.json"
    runs = [{"kind": "vit", "seed": 3, **run(1.0, 0.5)}]
    path.write_text(json.dumps({"settings": [False], "runs": runs}))
    assert end_to_end.kept(str(path), [False]) == {
        ("vit", 3): runs[0]}
    with pytest.raises(ValueError, match="runs of other settings"):
        end_to_end.kept(str(path), [True])
    path.write_text("[]")
    with pytest.raises(ValueError, match="holds no runs of this tool"):
        end_to_end.kept(str(path), [])


def test_a_folder_without_recordings_is_said_to_be_one(tmp_path):
    with pytest.raises(ValueError, match="there is no runs.json in it"):
        recordings_lib.Recordings(str(tmp_path))
    for text in ("{", "[]", '{"configs": {}}', '{"configs": {}, "runs": [1]}'):
        (tmp_path / "runs.json").write_text(text)
        with pytest.raises(ValueError, match="the configs and runs of record"):
            recordings_lib.Recordings(str(tmp_path))


@pytest.fixture(scope="module")
def recordings():
    with recordings_lib.Recordings(str(FOLDER)).unpacked() as found:
        yield found


@needs_recordings
@pytest.mark.slow
def test_runs_go_as_the_originals_did(recordings):
    path, kind, wanted = recordings.final()
    ours, theirs = recordings_lib.Ours(recordings, kind), recordings.runs[kind]
    runs = [ours.train(seed) for seed in range(3)]
    assert len({run["train_loss"][5] for run in runs}) == 3
    for found in runs:  # The head starts at 0, the learning rate, too.
        np.testing.assert_allclose(found["train_loss"][:2], np.log(6), 1e-6)
    rows = end_to_end.compare(runs, theirs)
    # Of so few runs, and so many rows, some p is small.
    assert all(p > 2e-3 for *_, p in rows), end_to_end.verdict(rows)
    lr = ours.run.optimizer.lr
    for step, value in theirs[0]["lr_logged"].items():
        assert float(lr(int(step))) == pytest.approx(value, abs=1e-7)
    found = ours.judge(path, wanted)
    assert found["logits"] <= 2e-6 * np.abs(wanted["logits"]).max()
    assert found["images"] <= 5e-7
    assert found["accuracy"] == pytest.approx(
        theirs[0]["final_accuracy_sorted"], abs=1e-6)
    assert found["loss"] == pytest.approx(theirs[0]["final_test_loss"],
                                          abs=1e-6)
