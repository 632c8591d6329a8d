"""--model and --from: which gin file, which weights, or which mistake."""

import csv
import pathlib
import re

import pytest

from tests import toy
from tfvit import config
from tfvit.finetuning import dataset
from tfvit.finetuning import start
from tfvit.models import vit
from tfvit.weights import augreg
from tfvit.weights import fetch
from tfvit.weights import load

ROOT = pathlib.Path(__file__).parents[2]
S16 = "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no network."""

    def no_network(*unused_args, **unused_kwargs):
        raise OSError("no network")

    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "_fetch", no_network)
    folder = tmp_path / "cache" / "vit_models" / "augreg"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def s16(tmp_path_factory):
    """An .npz file of ViT-S/16's shapes but for its depth; at 48 pixels."""
    path = tmp_path_factory.mktemp("weights") / "file.npz"
    load.to_npz(vit.vit(num_classes=5, image_size=48, patch_size=16, width=384,
                        depth=1, num_heads=6, mlp_dim=8), str(path))
    return path


def write_index(folder):
    """An index of two S_16, of which vision_transformer recommends the first.
    """
    rows = [{c: "" for c in (*augreg.STRINGS, *augreg.INTEGERS, *augreg.FLOATS)}
            | {"filename": name, "ds": "i21k", "final_val": value}
            for name, value in ((S16, 0.5), (S16.replace("light1", "none"),
                                             0.4))]
    with open(folder / "index.csv", "w", encoding="utf-8", newline="") as f:
        writer = csv.DictWriter(f, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("name, stem", [
    ("S_16", "s16"), ("S/16", "s16"), ("s16", "s16"), ("ViT-B_32", "b32"),
    ("R26+S/32", "r26_s32"), ("R_Ti_16", "r_ti16"), ("Mixer-B_16", "mixer_b16"),
    ("mixer_s8", "mixer_s8"), ("b16_gap", "b16_gap"), ("tiny", "tiny"),
    ("R50_L_32", "r50_l32")])
def test_names_of_papers_and_of_files_mean_models(name, stem):
    assert start.stem_of(name) == stem
    assert (ROOT / f"gin/models/{stem}.gin").exists()


@pytest.mark.parametrize("name, meant", [
    ("S_61", "S_16"), ("tinny", "tiny"), ("r26s32", "r26_s32"),
    ("imagenet21/ViT-B_16", "imagenet21k/ViT-B_16"), ("vit_b16", "b16")])
def test_a_misspelt_model_is_not_guessed(name, meant):
    with pytest.raises(ValueError, match=f"--model={re.escape(name)} is no "
                       "model. Did you mean .*" + re.escape(meant)):
        start.choose(name)


def test_two_towers_are_not_fine_tuned():
    with pytest.raises(ValueError, match="--model=lit_b16b is no model"):
        start.choose("lit_b16b")


def test_from_scratch_needs_nothing():
    chosen = start.choose("tiny", "none")
    assert chosen.scratch and chosen.image_size == 64
    assert chosen.includes == ("gin/models/tiny.gin", "gin/recipes/scratch.gin")
    assert start.choose(None, "none").includes[0] == "gin/models/s16.gin"


@pytest.mark.parametrize("model", [None, "S_16", "s16", "augreg/S_16"])
def test_the_recommended_weights_are_the_index_s(cache, s16, model):
    write_index(cache)
    (cache / f"{S16}.npz").write_bytes(s16.read_bytes())
    chosen = start.choose(model)
    assert f"AUGREG = {S16!r}" in chosen.lines
    assert chosen.includes == ("gin/models/s16.gin", "gin/recipes/augreg.gin")
    assert chosen.image_size == 48 and "recommends" in chosen.what


def test_without_the_index_the_weights_alone_will_do(cache, s16):
    (cache / f"{S16}.npz").write_bytes(s16.read_bytes())
    (cache / f"{S16}--cifar100-steps_2k-lr_0.01-res_224.npz").write_text("")
    assert f"AUGREG = {S16!r}" in start.choose("S_16").lines


@pytest.mark.parametrize("model, where", [
    (None, "vit_models/augreg/index.csv"),
    ("mixer_b16", "mixer_models/imagenet21k/Mixer-B_16.npz"),
    ("h14", "vit_models/imagenet21k/ViT-H_14.npz"),
    ("sam/ViT-B_32", "vit_models/sam/ViT-B_32.npz"),
    (S16, f"vit_models/augreg/{S16}.npz")])
def test_without_network_one_sentence_says_where_to_put_what(
        model, where, tmp_path):
    with pytest.raises(OSError) as error:
        start.choose(model)
    assert f"put the file at {tmp_path}/cache/{where}" in str(error.value)
    assert "--model=tiny --from=none" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model, file, size", [
    ("S_16", "s16", 224), ("mixer_b16", "mixer_b16", 224),
    ("imagenet21k+imagenet2012/ViT-B_16", "b16", 384),
    ("imagenet21k+imagenet2012/ViT-B_16-224", "b16", 224),
    ("augreg/R_Ti_16", "r_ti16", 224), (S16, "s16", 224)])
def test_a_dry_run_downloads_nothing(model, file, size):
    chosen = start.choose(model, fetches=False)
    assert chosen.includes[0] == f"gin/models/{file}.gin"
    assert chosen.image_size == size and "to be downloaded" in chosen.what


def test_what_nobody_published_has_to_be_said():
    with pytest.raises(ValueError, match="--model=tiny has no published "
                       "weights: add --from=none"):
        start.choose("tiny")


def test_a_file_says_its_model(s16):
    chosen = start.choose(None, str(s16))
    assert chosen.includes == ("gin/models/s16.gin", "gin/recipes/finetune.gin")
    assert chosen.lines == (f"load.from_npz.path = {str(s16)!r}",)
    with pytest.raises(ValueError, match="of the model s16, not of --model=b16"):
        start.choose("b16", str(s16))


def test_a_file_of_no_known_size_needs_its_model(tmp_path):
    path = tmp_path / "tiny.npz"
    load.to_npz(toy.recorded_vit(), str(path))
    with pytest.raises(ValueError, match="no model in gin/models"):
        start.choose(None, str(path))
    chosen = start.choose("tiny", str(path))
    assert chosen.image_size == 32  # As the file notes.


def test_grey_weights_want_grey_images(tmp_path):
    path = tmp_path / "grey.npz"
    load.to_npz(vit.vit(num_classes=5, image_size=32, patch_size=16, width=192,
                        depth=1, num_heads=3, mlp_dim=8, channels=1,
                        classifier="gap"), str(path))
    lines = start.choose(None, str(path)).lines
    assert {"vit.vit.channels = 1", "ops.decode.channels = 1",
            "ops.decode_and_inception_crop.channels = 1",
            "vit.vit.classifier = 'gap'"} <= set(lines)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(OSError, match="no file nowhere.npz"):
        start.choose(None, "nowhere.npz")


def write_run(folder, files, bindings):
    """What start reads of a run: its config, and that there are checkpoints."""
    text = config.parse(files, bindings)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.gin").write_text(text)
    (folder / "checkpoints" / "ckpt-9.index").write_text("")
    (folder / "labels.txt").write_text("cat\ndog\n")
    return folder


def test_another_run_gives_its_model(tmp_path):
    run = write_run(tmp_path / "run", ["gin/digits.gin"], ["vit.vit.width = 96"])
    chosen = start.choose(None, str(run))
    assert chosen.image_size == 16 and chosen.class_names == ("cat", "dog")
    # The same model, but for its head and its images.
    before = config.parse(["gin/digits.gin"], ["vit.vit.width = 96"])
    after = dataset.parse(dataset.text((), [*chosen.lines, "NUM_CLASSES = 3",
                                            "IMAGE_SIZE = 24"]))
    for text in (before, after):
        assert "vit.vit.width = 96\n" in text
    assert [line for line in before.splitlines() if line.startswith("vit.")] == [
        line for line in after.splitlines() if line.startswith("vit.")]
    assert f"checkpoint.from_run.path = '{run}'" in chosen.lines


def test_a_run_without_a_head_for_classes_is_refused(tmp_path):
    run = write_run(tmp_path / "run", ["gin/lit_shapes.gin"], [])
    with pytest.raises(ValueError, match="trains @lit.lit, which has no one"):
        start.choose(None, str(run))


def test_a_run_that_has_saved_nothing_is_refused(tmp_path):
    (tmp_path / "config.gin").write_text("")
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        start.choose(None, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="holds no config.gin"):
        start.choose(None, str(tmp_path / ".."))
