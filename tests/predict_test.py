"""How `tfvit predict` ends."""

from absl import flags
from absl.testing import flagsaver
import pytest

from tfvit import predict

BROKEN = {"error": "cut short"}
SOUND = {"error": ""}


@pytest.mark.parametrize("found, level, code", [
    ([SOUND, BROKEN], "WARNING", 0), ([BROKEN, BROKEN], "ERROR", 1),
    ([SOUND, SOUND], None, 0)])
def test_a_few_broken_images_are_no_error(found, level, code, monkeypatch,
                                          caplog):
    names = [f"{i}.png" for i in range(2)]
    monkeypatch.setattr(predict.image_files, "find", lambda _: names)
    monkeypatch.setattr(predict.image_files, "run",
                        lambda *_, **__: zip(names, found))
    monkeypatch.setattr(predict.finished, "signatures",
                        lambda *_, **__: {"serving_default": None})
    monkeypatch.setattr(predict, "_print_table", print)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
        predict.main(flags.FLAGS(["predict", "x", "--model=m"])[1:])
    assert end.value.code == code
    assert [record.levelname for record in caplog.records] == [level] * bool(
        level)
