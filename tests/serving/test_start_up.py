import importlib
import subprocess
import sys

import pytest

from digit_utils.serving.start_up import DEBUGGER, pretend_not_installed


def test_a_module_that_nothing_needs_is_not_imported_and_one_that_is_there_stays(monkeypatch):
    name = "wave"  # of the standard library, and used by nothing here
    monkeypatch.delitem(sys.modules, name, raising=False)
    pretend_not_installed(name)
    with pytest.raises(ImportError):
        importlib.import_module(name)
    del sys.modules[name]
    module = importlib.import_module(name)
    pretend_not_installed(name)
    assert importlib.import_module(name) is module


def test_a_kernel_of_the_page_has_no_debugger():
    code = f"import sys, digit_utils.serving.kernel, ipykernel.kernelapp; print(sys.modules[{DEBUGGER!r}])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "None"
