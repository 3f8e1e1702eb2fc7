"""No file above 600 lines."""

import source_checks as checks

SKIPPED = {".git", ".venv", "build", "dist", "__pycache__", ".hypothesis"}


def test_no_file_above_the_limit():
    files = [path for path in checks.ROOT.rglob("*.py") if not SKIPPED & set(path.relative_to(checks.ROOT).parts)]
    faults = [fault for path in files for fault in checks.check_size(path.read_text(), str(path.relative_to(checks.ROOT)))]
    assert not faults, "\n".join(faults)
    assert len(files) > 50


def test_negative_control_a_long_file_is_found():
    assert checks.check_size("x\n" * 601, "planted") == ["planted: 601 lines, expected at most 600"]
    assert checks.check_size("x\n" * 600, "planted") == []
    assert checks.check_size("x\n" * 600 + "x", "planted")
