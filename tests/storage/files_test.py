"""Names that look like patterns mean themselves, first."""

import errno
import glob
import os

import pytest
import tensorflow as tf

from tfvit.storage import files

# Each as a pattern means the file `seed1`, which lies beside it.
NAMES = ["seed[12]", "seed?", "s*", "seed[!2]", "[s]eed1"]


@pytest.fixture
def folders(tmp_path):
    """folders(name): folders of that name and of `seed1`, with an a.png each.
    """

    def make(name):
        for folder in (name, "seed1"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "a.png").write_text(folder)
        return tmp_path

    return make


@pytest.mark.parametrize("name", NAMES)
def test_what_exists_comes_before_the_pattern(folders, name):
    root = folders(name)
    # The fault needs names that are patterns of their neighbour.
    assert f"{root}/seed1" in glob.glob(f"{root}/{name}")
    assert files.matching(root / name) == [f"{root}/{name}"]
    assert files.matching(f"{root}/{name}/*.png") == [f"{root}/{name}/a.png"]
    (root / name / "a.png").unlink()
    assert files.matching(f"{root}/{name}/*.png") == []
    os.rmdir(root / name)
    assert files.matching(f"{root}/{name}/*.png") == [f"{root}/seed1/a.png"]


@pytest.mark.parametrize("name", [*NAMES, "back\\slash", "a]b", "plain"])
def test_tensorflow_reads_what_lies_in_a_folder_of_any_name(folders, name):
    root = folders(name)
    prefix = f"{root}/{name}/ckpt[1].x"
    module = tf.Module()
    module.v = tf.Variable(5.0)
    module.double = tf.function(lambda: 2.0 * module.v, input_signature=[])
    tf.train.Checkpoint(v=module.v).write(prefix)
    tf.saved_model.save(module, f"{root}/{name}/saved")
    module.v.assign(7.0)
    # One of the same name lies in the folder that the pattern means.
    tf.train.Checkpoint(v=module.v).write(f"{root}/seed1/ckpt[1].x")
    tf.saved_model.save(module, f"{root}/seed1/saved")
    with files.plain(prefix) as readable:
        assert tf.train.load_variable(
            readable, "v/.ATTRIBUTES/VARIABLE_VALUE") == 5.0
        tf.train.Checkpoint(v=module.v).read(
            readable).assert_existing_objects_matched()
    assert module.v.numpy() == 5.0
    with files.plain(f"{root}/{name}/saved") as readable:
        loaded = tf.saved_model.load(readable)
    assert loaded.double().numpy() == 10.0


def test_a_readable_path_of_nothing_is_of_nothing(folders):
    root = folders("seed[12]")
    with files.plain(f"{root}/seed[12]/ckpt-1") as readable:
        with pytest.raises(tf.errors.NotFoundError):
            tf.train.load_checkpoint(readable)
    with files.plain(f"{root}/seed[3]/ckpt-1") as readable:
        with pytest.raises(tf.errors.NotFoundError):
            tf.train.load_checkpoint(readable)


def test_names_are_matched_whole_and_sorted(folders):
    root = folders("seed[12]")
    assert files.named(root, r"seed\d") == ["seed1"]
    assert files.named(root, ".*") == ["seed1", "seed[12]"]
    assert files.named(root / "nothing", ".*") == []


def test_half_a_file_is_never_there(tmp_path, monkeypatch):
    path = tmp_path / "new" / "config.gin"
    with files.replacing(str(path)) as f:
        f.write(b"first")
    write = tf.io.gfile.GFile.write

    def torn(self, content):
        write(self, content[:3])
        self.flush()
        assert path.read_bytes() == b"first"
        raise tf.errors.ResourceExhaustedError(None, None, "No space left")

    monkeypatch.setattr(tf.io.gfile.GFile, "write", torn)
    with pytest.raises(OSError, match=f"Cannot write {path}: No space left."):
        with files.replacing(str(path)) as f:
            f.write(b"second")
    monkeypatch.undo()
    assert path.read_bytes() == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["config.gin"]
    link = tmp_path / "link"
    link.symlink_to(path)
    with files.replacing(str(link)) as f:
        f.write(b"third")
    assert link.is_symlink() and path.read_bytes() == b"third"
    with files.replacing("/dev/null") as f:
        f.write(b"nothing")


def test_what_fails_beside_a_file_leaves_it_as_it_was(tmp_path):
    path = tmp_path / "table.npz"
    path.write_bytes(b"first")
    with pytest.raises(OSError, match=f"Cannot write {path}: Is a directory. "
                       "Try") as error:
        with files.beside(str(path), "Try another.") as name:
            with open(name, "wb") as f:
                f.write(b"sec")
            open(tmp_path, "wb")
    assert error.value.errno == errno.EISDIR
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
    with files.beside(str(path)) as name, open(name, "wb") as f:
        f.write(b"second")
    assert path.read_bytes() == b"second"
