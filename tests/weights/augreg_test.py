"""Tests for augreg, on a small index with the published columns."""

import pytest

from tfvit.weights import augreg

COLUMNS = ("name,ds,epochs,lr,aug,wd,do,sd,best_val,final_val,final_test,"
           "adapt_ds,adapt_lr,adapt_steps,adapt_resolution,adapt_final_val,"
           "adapt_final_test,params,infer_samples_per_sec,filename,"
           "adapt_filename")
B16 = "B_16-i21k-300ep-lr_0.001-aug_{}-wd_0.1-do_0.0-sd_0.0"
TUNED = B16.format("none") + "--imagenet2012-steps_20k-lr_0.03-res_384"


def row(name, ds, epochs, aug, final_val, filename, adapt=""):
    adapted = "imagenet2012,0.03,20000.0,384,0.9,0.85" if adapt else ",,,,,"
    return (f"{name},{ds},{epochs},0.001,{aug},0.1,0.0,0.0,0.5,{final_val},0.4,"
            f"{adapted},86567656.0,659.4,{filename},{adapt}")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "index.csv"
    path.write_text("\n".join([
        COLUMNS,
        row("B/16", "i21k", 300, "none", 0.45, B16.format("none"), TUNED),
        row("B/16", "i21k", 300, "medium1", 0.48, B16.format("medium1")),
        row("B/16", "i21k", 300, "strong1", "", B16.format("strong1")),
        row("B/16", "i1k", 300, "none", 0.79,
            B16.format("none").replace("i21k", "i1k")),
        row("B/16", "i21k_30", 30, "none", 0.49,
            B16.format("none").replace("300", "30")),
        row("R26+S/32", "i21k", 300, "none", 0.47,
            B16.format("none").replace("B_16", "R26_S_32")),
    ]) + "\n")
    return str(path)


@pytest.mark.parametrize("name, model", [("B_16", "B_16"), ("B/16", "B_16"),
                                         ("R26+S/32", "R26_S_32")])
def test_recommended_is_the_best_on_imagenet21k_before_fine_tuning(
        path, name, model):
    expected = B16.format("medium1" if model == "B_16" else "none")
    assert augreg.recommended(
        name, augreg.read_index(path)) == ("augreg/" +
                                           expected.replace("B_16", model))


def test_an_unknown_architecture_lists_the_known_ones(path):
    with pytest.raises(ValueError, match="Ti_16 .* has: B_16, R26_S_32"):
        augreg.recommended("Ti_16", augreg.read_index(path))


def test_the_index_has_numbers_and_none_for_empty_fields(path):
    first, second = augreg.read_index(path)[:2]
    assert list(sorted(first)) == sorted(COLUMNS.split(","))
    assert first["adapt_steps"] == 20_000 and first["epochs"] == 300
    assert first["final_val"] == 0.45 and first["aug"] == "none"
    assert second["adapt_steps"] is None and second["adapt_ds"] is None


def test_a_missing_column_is_named(tmp_path):
    path = tmp_path / "index.csv"
    path.write_text(COLUMNS.replace("epochs,", "") + "\n")
    with pytest.raises(ValueError, match="lacks the columns.*epochs"):
        augreg.read_index(str(path))


def test_a_bad_number_is_located(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace("0.48", "many"))
    with pytest.raises(ValueError, match="index.csv:3: .*'many'"):
        augreg.read_index(path)


def test_names_say_how_a_file_was_made():
    name = augreg.parse(f"augreg/{TUNED}.npz")
    assert name == augreg.Name(model="B_16",
                               ds="i21k",
                               epochs=300,
                               lr=0.001,
                               aug="none",
                               wd=0.1,
                               do=0.0,
                               sd=0.0,
                               adapt_ds="imagenet2012",
                               adapt_steps_k=20,
                               adapt_lr=0.03,
                               adapt_resolution=384)


@pytest.mark.parametrize("stem", [
    TUNED,
    B16.format("light1"),
    "R_Ti_16-i1k-300ep-lr_0.001-aug_strong2-wd_0.03-do_0.1-sd_0.1",
    "S_32-i21k-30ep-lr_0.001-aug_light0-wd_0.03-do_0.0-sd_0.0"
    "--oxford_iiit_pet-steps_0k-lr_0.003-res_224",
])
def test_a_name_is_written_as_it_was_read(stem):
    assert str(augreg.parse(stem)) == stem


@pytest.mark.parametrize(
    "name",
    ["ViT-B_16.npz",
     TUNED.replace("--", "-"),
     B16.format("none") + "--kitti"])
def test_other_names_are_an_error(name):
    with pytest.raises(ValueError, match="not named like an AugReg file"):
        augreg.parse(name)
