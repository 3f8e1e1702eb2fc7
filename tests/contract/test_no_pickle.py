"""Nothing in the library unpickles or evaluates what it reads."""

import pytest
import source_checks as checks


@pytest.mark.parametrize("path", checks.python_files("ppl", "backends"), ids=lambda path: str(path.relative_to(checks.ROOT)))
def test_no_unsafe_loading(path):
    faults = checks.check_safe_loading(path.read_text(), checks.module_name(path))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\n",
        "from pickle import loads\n",
        "def f(path):\n    import dill\n",
        "torch.load(path)\n",
        "np.load(path, allow_pickle=True)\n",
        "numpy.load(path, allow_pickle=flag)\n",
        "eval(text)\n",
        "exec(text)\n",
    ],
)
def test_negative_control_planted_call_is_found(source):
    assert checks.check_safe_loading(source, "planted")


def test_ordinary_code_passes():
    assert checks.check_safe_loading("model.eval()\nnumpy.load(path)\nevaluate(x)\n", "planted") == []
