"""Tables of images and labels, and what is said about wrong ones."""

import json
import os

import gin
import pytest
import tensorflow as tf

from tfvit import config
from tfvit import experiment
from tfvit.data.datasets import sources
from tfvit.data.images import ops

PNG = tf.io.encode_png(tf.zeros([3, 4, 3], tf.uint8)).numpy()
TABLE = "image,label\nx/a.png,cat\nb.png,dog\n"


@pytest.fixture
def write(tmp_path):
    """Writes a table beside the images a.png, b.png, x/a.png."""

    def write(text, name="table.csv"):
        for image in ("a.png", "b.png", "x/a.png"):
            (tmp_path / image).parent.mkdir(exist_ok=True)
            (tmp_path / image).write_bytes(PNG)
        data = text.encode() if isinstance(text, str) else text
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    return write


def read(path, split="train[:100%]", **arguments):
    """[(file relative to the table, class name)] in the source's order."""
    source = sources.manifest(path=path, split=split, **arguments)
    examples = list(source.examples())
    assert len(examples) == source.num_examples
    for example in examples:
        assert ops.decode(example["image"]).shape == [3, 4, 3]
    return [(os.path.relpath(e["name"].numpy().decode(), os.path.dirname(path)),
             source.class_names[int(e["label"])]) for e in examples]


def test_csv_and_jsonl_say_the_same(write):
    expected = [("x/a.png", "cat"), ("b.png", "dog")]
    assert read(write(TABLE)) == expected
    lines = "\n".join(json.dumps({"label": label, "image": image, "more": [1]})
                      for image, label in expected) + "\n\n"
    assert read(write(lines, "table.jsonl")) == expected


@pytest.mark.parametrize("text, arguments", [
    (b"\xef\xbb\xbf" + TABLE.encode(), {}),  # As Excel writes it.
    (TABLE.replace("\n", "\r\n"), {}),
    ('label, image,n\ncat, "x/a.png",1\n\ndog,b.png,2', {}),
    (TABLE.replace(",", ";"), {"delimiter": ";"}),
    (TABLE.replace("image,label", "file,y"),
     {"image_column": "file", "label_column": "y"}),
])
def test_csv_as_programs_write_it(write, text, arguments):
    assert read(write(text), **arguments) == [("x/a.png", "cat"),
                                              ("b.png", "dog")]


def test_names_of_files_start_at_the_table_at_root_or_are_absolute(
        write, tmp_path):
    path = write(f"image,label\n{tmp_path}/b.png,dog\na.png,cat\n")
    assert read(path) == [("b.png", "dog"), ("a.png", "cat")]
    assert read(path, root=str(tmp_path / "x")) == [("b.png", "dog"),
                                                    ("x/a.png", "cat")]


def test_numbers_as_labels_are_sorted_by_value(write):
    rows = "".join(f'{{"image": "a.png", "label": {i}}}\n' for i in (10, 9, 2))
    source = sources.manifest(path=write(rows, "t.jsonl"), split="a[:100%]")
    assert source.class_names == ("2", "9", "10")


def test_a_column_names_the_split_and_classes_are_those_of_all(write):
    path = write("image,label,split\na.png,cat,train\nb.png,dog,val\n"
                 "x/a.png,eel,train\n")
    assert read(path, "train") == [("a.png", "cat"), ("x/a.png", "eel")]
    assert read(path, "val") == [("b.png", "dog")]
    assert len(sources.manifest(path=path, split="val").class_names) == 3
    with pytest.raises(ValueError, match=r"'test'.*'split'.*'train', 'val'"):
        read(path, "test")


def test_a_split_of_the_table_may_be_called_like_a_slice(write):
    path = write("image,label,split\na.png,x,fold[1]\nb.png,y,fold[:50%]\n",
                 "table[1].csv")
    assert read(path, "fold[1]") == [("a.png", "x")]
    assert read(path, "fold[:50%]") == [("b.png", "y")]
    with pytest.raises(ValueError, match="neither a name nor a slice"):
        read(path, "fold[2]")


def test_slices_take_a_share_of_each_class_and_do_not_overlap(write, tmp_path):
    rows = [f"{i}.png,{'cat' if i % 2 else 'dog'}" for i in range(40)]
    path = write("\n".join(["image,label", *rows]))
    for i in range(40):
        (tmp_path / f"{i}.png").write_bytes(PNG)
    parts = [read(path, f"x[{part}]") for part in (":70%", "70%:90%", "90%:")]
    assert [len(part) for part in parts] == [28, 8, 4]
    assert len({file for part in parts for file, _ in part}) == 40
    for part in parts:
        assert sum(label == "cat" for _, label in part) * 2 == len(part)


@pytest.mark.parametrize("header", ["image,label,Split", "image,label,SPLIT",
                                    "Image,label,split", "image,Label,x"])
def test_a_column_by_another_case_is_no_missing_column(write, header):
    path = write(f"{header}\na.png,a,train\nb.png,b,test\n")
    with pytest.raises(ValueError, match="has the column '(Spl|SPL|Ima|Lab).*"
                       "set sources.manifest.\\w+_column = '"):
        read(path)


@pytest.mark.parametrize("delimiter", ["", ";;"])
def test_a_delimiter_is_one_sign(write, delimiter):
    with pytest.raises(ValueError, match="delimiter = .* must be one sign"):
        read(write("image,label\na.png,a\nb.png,b\n"), delimiter=delimiter)


def test_class_names_come_from_a_file(write, tmp_path):
    (tmp_path / "names.txt").write_text("eel\ncat\ndog\n\n")
    names = {"class_names_file": str(tmp_path / "names.txt")}
    path = write(TABLE)
    assert read(path, None, **names) == [("x/a.png", "cat"), ("b.png", "dog")]
    source = sources.manifest(path=path, **names)
    assert source.class_names == ("eel", "cat", "dog")
    path = write(TABLE + "a.png,cta\n")
    with pytest.raises(ValueError, match="line 4: the label 'cta' .* 3 classes.*"
                       "mean 'cat'"):
        sources.manifest(path=path, **names)


@pytest.mark.parametrize("text, name, split, message", [
    (TABLE, "t.txt", None, "none of .csv, .jsonl"),
    (TABLE, "t.csv", None, "Set sources.manifest.class_names_file"),
    (TABLE, "t.csv", "train", "no column 'split'.*slice"),
    (TABLE, "t.csv", "train[:50]", "split = 'train.*neither a name nor"),
    (TABLE, "t.csv", "train[:1%]", "has no images"),
    (TABLE.replace("dog", "cat"), "t.csv", "t[:9%]", "two or more classes"),
    (TABLE.replace("x/a", "x/y"), "t.csv", "t[:100%]",
     "x/y.png, which is not there.*manifest.root"),
    ("image,label\n", "t.csv", "t[:9%]", "lists no images"),
    ("", "t.csv", "t[:9%]", "lists no images"),
    ("a.png,cat\nb.png,dog\n", "t.csv", None,
     r"line 2: no 'image'; there are \['a.png', 'cat'\].*image_column"),
    ("image;label\na.png;cat\n", "t.csv", None, r"\['image;label'\]"),
    ("image,label\na.png,cat\nb.png,\n", "t.csv", None, "line 3: no 'label'"),
    ("image,label\na,b.png,cat\n", "t.csv", None, "line 2: not as many"),
    ("image,label\na.png\n", "t.csv", None, "line 2: not as many"),
    ('image,label\n"a.png,cat\n', "t.csv", None, "near line .: unexpected end"),
    (b"image,label\n\xe9.png,cat\n", "t.csv", None, "not UTF-8"),
    ('{"image": "a.png"}', "t.jsonl", None, "line 1: no 'label'"),
    ('\n{"image": "a.png",', "t.jsonl", None, "line 2: .*Expecting"),
    ('["a.png", "cat"]', "t.jsonl", None, "line 1: .*no JSON object"),
    ('{"image": "a.png", "label": 1.5}', "t.jsonl", None,
     "line 1: .*label 1.5 a text or a whole number"),
])
def test_what_is_wrong_is_said_with_its_line(write, text, name, split, message):
    with pytest.raises(ValueError, match=message):
        sources.manifest(path=write(text, name), split=split)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="no.csv' does not exist"):
        sources.manifest(path=str(tmp_path / "no.csv"))


def test_gin_reads_a_manifest_with_the_recipe_of_the_readme(write):
    rows = "".join(f"a.png,{i % 2}\n" for i in range(40))
    config.parse(["gin/recipes/augreg.gin", "gin/data/manifest.gin"], [
        "AUGREG = 'S_16'", "NUM_CLASSES = 2",
        f"MANIFEST = {write('image,label' + chr(10) + rows)!r}"])
    exp = gin.get_configurable(experiment.Experiment)()
    assert exp.train_source().class_names == ("0", "1")


def numbered(write, tmp_path, rows, name="table.csv"):
    """Writes a table of rows (number of an image, label), and its images."""
    path = write("\n".join(["image,label", *(f"{i}.png,{label}"
                                             for i, label in rows)]), name)
    for i, _ in rows:
        (tmp_path / f"{i}.png").write_bytes(PNG)
    return path


ONCE = [(i, "cat" if i % 2 else "dog") for i in range(40)]
SLICES = ("x[:50%]", "x[50%:90%]", "x[90%:]")


@pytest.mark.parametrize("rows", [
    ONCE * 3,  # To see all more often.
    ONCE + [row for row in ONCE if row[0] < 7] * 5,  # A few of them.
    ONCE[::-1] + ONCE[10:20],
])
def test_an_image_that_repeats_lies_in_the_slice_that_it_would_have_anyway(
        write, tmp_path, rows):
    expected = {split: set(read(numbered(write, tmp_path, ONCE), split))
                for split in SLICES}
    found = {split: read(numbered(write, tmp_path, rows), split)
             for split in SLICES}
    assert [len(part) for part in expected.values()] == [20, 16, 4]
    for split in SLICES:
        assert set(found[split]) == expected[split]
    assert sum(map(len, found.values())) == len(rows)  # Repeated as it was.


def test_an_image_with_two_labels_lies_in_one_slice(write, tmp_path):
    rows = ONCE + [(i, "eel") for i in range(0, 40, 3)] + [(1, "dog")]
    for order in (rows, rows[::-1]):
        path = numbered(write, tmp_path, order)
        parts = [{file for file, _ in read(path, split)} for split in SLICES]
        assert len(set.union(*parts)) == sum(map(len, parts)) == 40
        assert sum(len(read(path, split)) for split in SLICES) == len(rows)


def test_an_image_in_two_spellings_lies_in_one_slice(write, tmp_path):
    rows = [f"{i}.png" for i in range(40)]
    rows += [f"./{i}.png" for i in range(0, 40, 2)]
    rows += [f"{tmp_path}/{i}.png" for i in range(0, 40, 3)]
    rows += [f"x/../{i}.png" for i in range(0, 40, 5)]
    path = write("image,label\n" + "".join(
        f"{row},{'cat' if 'x' in row else 'dog'}\n" for row in rows))
    for i in range(40):
        (tmp_path / f"{i}.png").write_bytes(PNG)
    parts = [{os.path.normpath(file) for file, _ in read(path, split)}
             for split in SLICES]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 40
    (note,) = sources.manifest(path=path, split="x[:50%]").notes
    assert "lists 42 images in two spellings" in note  # 20 + 14 + 8.


@pytest.mark.parametrize("name, text", [
    ("t.tsv", TABLE.replace(",", "\t")),
    ("T.TSV", TABLE.replace(",", "\t")),
    ("t.csv", TABLE + ",\n,\n  ,\n"),  # As spreadsheets leave empty rows.
    ("t.csv", "image,label,,\nx/a.png,cat,,\n,,,\nb.png,dog,,\n,,\n"),
    ("t.csv", TABLE.replace("image,label", "image , label ")),
])
def test_tables_as_spreadsheets_write_them(write, name, text):
    path = write(text, name)
    assert read(path) == [("x/a.png", "cat"), ("b.png", "dog")]
    empty = text.count("\n") - 3
    notes = sources.manifest(path=path, split="a[:100%]").notes
    assert [f"Ignored {empty} empty rows" in note for note in notes] == (
        [True] * (empty > 0))


@pytest.mark.parametrize("text, message", [
    (TABLE.replace(",", ";"), r"no 'image'.*divided by ';': set "
     r"sources.manifest.delimiter = ';'"),
    (TABLE.replace(",", "\t"), r"delimiter = '\\t'"),
    ("image;label\na.png;cat, big\n", "not as many values.*delimiter = ';'"),
    ("image,label,label\na.png,cat,dog\n", "names label twice"),
    (TABLE + "a.png,Cat\n", r"'cat' \(line 2\), 'Cat' \(line 4\).*class_names"),
    (TABLE + "a.png,cat \n", r"'cat' \(line 2\), 'cat ' \(line 4\)"),
    (TABLE + "a.png,do  g\nb.png,do g\n", r"'do  g' \(line 4\), 'do g'"),
    ("image,label\na.png,1\nb.png,01\n", r"'1' \(line 2\), '01' \(line 3\)"),
])
def test_traps_of_tables_are_named(write, text, message):
    with pytest.raises(ValueError, match=message):
        sources.manifest(path=write(text), split="a[:100%]")


def test_letters_of_both_cases_are_classes_where_a_file_names_them(
        write, tmp_path):
    (tmp_path / "names.txt").write_text("cat\nCat\ndog\n")
    path = write(TABLE + "a.png,Cat\n")
    assert read(path, None, class_names_file=str(tmp_path / "names.txt"))[-1] \
        == ("a.png", "Cat")


def test_splits_of_almost_one_name_or_none_are_named(write):
    rows = "image,label,split\na.png,cat,train\nb.png,dog,{}\n"
    with pytest.raises(ValueError, match="'split' of .*'Train', 'train'"):
        sources.manifest(path=write(rows.format("Train")), split="train")
    with pytest.raises(ValueError, match="'train', 'train '"):
        sources.manifest(path=write(rows.format("train ")), split="train")
    notes = sources.manifest(path=write(rows.format("")), split="train").notes
    assert "1 rows of" in notes[0] and "no split" in notes[0]
    both = write("image,label,split\na.png,cat,train\n./a.png,cat,val\n"
                 "b.png,dog,val\n")
    notes = sources.manifest(path=both, split="val").notes
    assert any("1 images in two splits" in note for note in notes)


def test_home_is_found_by_its_sign(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(TABLE)
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    for arguments in ({"split": "a[:100%]"}, {
            "root": "~", "split": None, "class_names_file": "~/names.txt"}):
        found = sources.manifest(path="~/table.csv", **arguments)
        assert next(iter(found.examples()))["image"] == PNG
