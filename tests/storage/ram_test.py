"""What Linux says of free memory is understood."""

from tfvit.storage import ram

MIB = 2**20


def write(folder, **files):
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_what_linux_says_is_available(tmp_path):
    write(tmp_path, meminfo="MemTotal:  9 kB\nMemAvailable:   2048 kB\n")
    assert ram._of_machine(tmp_path / "meminfo") == 2 * MIB
    assert ram._of_machine(tmp_path / "nothing") is None


def test_a_container_has_less(tmp_path):
    write(tmp_path, memory__max=str(8 * MIB), memory__current=str(5 * MIB),
          memory__stat=f"anon 3\ninactive_file {MIB}\n")
    assert ram._of_group(tmp_path) == 4 * MIB
    write(tmp_path, memory__max="max")
    assert ram._of_group(tmp_path) is None
    assert ram._of_group(tmp_path / "nothing") is None


def test_an_older_container_too(tmp_path):
    (tmp_path / "memory").mkdir()
    write(tmp_path / "memory", memory__limit_in_bytes="700",
          memory__usage_in_bytes="500", memory__stat="total_inactive_file 50")
    assert ram._of_group(tmp_path) == 250


def test_the_smaller_limit_counts(monkeypatch):
    monkeypatch.setattr(ram, "_of_machine", lambda: 1_000)
    monkeypatch.setattr(ram, "_of_group", lambda: 900)
    assert ram.free() == 900
    monkeypatch.setattr(ram, "_of_group", lambda: None)
    assert ram.free() == 1_000
    monkeypatch.setattr(ram, "_of_machine", lambda: None)
    assert ram.free() is None
