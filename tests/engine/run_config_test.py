"""config.gin of a run that goes on with another config."""

from tfvit.engine import run_config

FIRST = "N = 10\nFOLDER = '/a'\nexperiment.Experiment.total_steps = %N\n" \
    "sources.folder.path = %FOLDER\n"


def test_the_config_before_a_change_stays(tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    run_config.save(FIRST, tmp_path, started=False)
    moved = FIRST.replace("/a", "/b")
    run_config.save(moved, tmp_path, started=[5])
    assert run_config.saved(tmp_path) == FIRST  # Until it is sure to go on.
    run_config.renew(moved, tmp_path, 5)
    longer = moved.replace("10", "20")
    run_config.renew(longer, tmp_path, 5)
    run_config.renew(longer, tmp_path, 7)  # Nothing new.
    run_config.renew("a = 1\n", tmp_path, 8)  # Of a program of one's own.
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "config.gin.5": FIRST, "config.gin.5-1": moved, "config.gin": longer}
    assert caplog.messages == ["Changed: FOLDER = '/b' (was '/a').",
                               "Changed: N = 20 (was 10)."]


def test_a_folder_without_one_has_none(tmp_path):
    assert run_config.saved(tmp_path) is None
    run_config.renew(FIRST, tmp_path, 1)
    assert not list(tmp_path.iterdir())
