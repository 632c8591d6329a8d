"""What the installation says of pip's words, recorded from pip 23."""

import subprocess
import sys

from tools import installing

PIP = """\
Obtaining file:///tfvit
  Installing build dependencies: started
  Installing build dependencies: finished with status 'done'
Collecting tensorflow<2.21,>=2.20 (from tfvit==0.1.0)
  Obtaining dependency information for tensorflow<2.21,>=2.20 from https://x
  Downloading tensorflow-2.20.0-cp311-cp311-manylinux1.whl.metadata (4.5 kB)
  Downloading tensorflow-2.20.0-cp311-cp311-manylinux1.whl (620.4 MB)
Downloading tf_models_official-2.20.0-py2.py3-none-any.whl (2.9 MB)
Downloading https://x/ab/opencv_python_headless-4.12.0-cp37-abi3.whl (54.0 MB)
Installing collected packages: namex, tf-models-official, opencv, tensorflow
Successfully installed namex-0.1.0 tensorflow-2.20.0
"""


def test_large_downloads_are_named_and_all_are_added_up():
    progress = installing.Progress()
    said = [progress.take(line) for line in PIP.splitlines()]
    assert [line for line in said if line] == [
        "  tensorflow, 620 MB", "  opencv-python-headless, 54 MB",
        "  4 packages, 677 MB downloaded; unpacking them"]
    assert progress.packages == 4 and progress.doing == "installing"


def test_silence_is_broken_and_the_exit_code_kept(monkeypatch):
    monkeypatch.setattr(installing, "_QUIET", 0.2)
    # As pip is silent: five times as long as may go by without a line.
    code = (f"import sys, time; print({PIP!r}, flush=True); time.sleep(1); "
            "print('ERROR: no room', file=sys.stderr); sys.exit(3)")
    lines = []
    status, said = installing.run([sys.executable, "-c", code], lambda: 2,
                                  lines.append)
    assert status == 3 and said[-1] == "ERROR: no room\n"
    assert lines[-1].strip().endswith("s: installing 2 of 4")
    assert len([line for line in lines if "2 of 4" in line]) >= 2


def test_the_script_is_bash_and_hides_nothing():
    for script in ("quickstart.sh", "venv.sh", "run_tests.sh"):
        subprocess.run(["bash", "-n", f"tools/{script}"], check=True)
        with open(f"tools/{script}", encoding="utf-8") as f:
            assert "/dev/null" not in f.read()
