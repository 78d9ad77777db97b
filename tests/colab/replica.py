"""Colab's kernel, rebuilt: Python 3.13 with Colab's versions, a stand-in for google.colab, and a repository to fetch.

It is built once for a list of versions (about 3 GB in .venv-colab, which git ignores; minutes) and used again. What the
set-up cell installed there is taken away before the next session, so the cell always finds Colab as it comes.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from digit_utils.notebook.colab import REPOSITORY

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONSTRAINTS = HERE / "constraints.txt"
PLACE = ROOT / ".venv-colab"
VERSION = "3.13"
AS_IT_COMES = "as-it-comes.json"  # written last, so it also says that the environment is whole
PIN = re.compile(r"(?P<name>[\w.-]+)(==(?P<version>[^\s=]+)| @ \S*?(-(?P<in_wheel>\d[^-/]*)-\S*\.whl)?)")
RUN_CELL = """
import sys, nbclient, nbformat
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(sys.stdin.read())])
nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
print("".join(output.get("text", "") for output in notebook.cells[0].outputs))
"""
COMMAND = "make colab"


class ReplicaUnavailableError(RuntimeError):
    """Colab's kernel cannot be rebuilt here; the message says why."""


@dataclass(frozen=True)
class Replica:
    """The environment, and what its processes see."""

    folder: Path
    environment: dict[str, str]

    @property
    def python(self) -> str:
        """The path of its interpreter."""
        return str(self.folder / "bin" / "python")

    def run(self, *arguments: str, cwd: Path, typed: str = "", **variables: str) -> str:
        """Run its interpreter and return what it printed. Raises AssertionError with all that it said when it fails."""
        finished = subprocess.run(
            [self.python, *arguments],
            cwd=cwd,
            env={**self.environment, **variables},
            input=typed,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert finished.returncode == 0, f"{arguments}\n{finished.stdout}\n{finished.stderr}"
        return finished.stdout

    def run_cell(self, source: str, *, cwd: Path) -> str:
        """Run one cell in a kernel of its own, by Colab's nbclient, and return what it printed."""
        return self.run("-c", RUN_CELL, typed=source, cwd=cwd)

    def versions(self) -> dict[str, str]:
        """Return what is installed, by normalised name."""
        return _versions(self.python)


@dataclass(frozen=True)
class FirstCell:
    """What became of the set-up cell in the replica."""

    said: str  # what it printed
    before: dict[str, str]  # versions by normalised name
    after: dict[str, str]


def python_313() -> str | None:
    """Return a Python 3.13: this one, one on the PATH, or pyenv's newest; None when there is none."""
    if sys.version_info[:2] == (3, 13):
        return sys.executable
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    of_pyenv = sorted(root.glob(f"versions/{VERSION}.*/bin/python"), reverse=True)
    candidates = [shutil.which(f"python{VERSION}"), *of_pyenv]
    return next((str(each) for each in candidates if each and _is_313(str(each))), None)


def _is_313(python: str) -> bool:
    """Ask it, for pyenv puts commands on the PATH that only say which version would have to be chosen."""
    said = subprocess.run([python, "--version"], capture_output=True, text=True)
    return said.returncode == 0 and said.stdout.startswith(f"Python {VERSION}.")


def replica(scratch: Path) -> Replica:
    """Return Colab's kernel as it comes, building it where it is not there yet.

    Args:
        scratch: a folder for what belongs to this session: the repository to fetch, and IPython's settings.

    Raises ReplicaUnavailableError where there is no Python 3.13, or pip cannot build it.
    """
    python = python_313()
    if python is None:
        raise ReplicaUnavailableError(f"Colab runs Python {VERSION}, and none is here (on the PATH, in pyenv)")
    folder = PLACE / _key(python)
    if not (folder / AS_IT_COMES).exists():
        _build(python, folder)
    made = Replica(folder, _environment(folder, scratch))
    as_it_comes = json.loads((folder / AS_IT_COMES).read_text())
    if strangers := sorted(set(made.versions()) - set(as_it_comes)):
        _pip(made.python, "uninstall", "--yes", *strangers)
    if made.versions() != as_it_comes:
        shutil.rmtree(folder)
        raise ReplicaUnavailableError("something has changed the rebuilt kernel; it has been removed, so try again")
    return made


def pins(path: Path) -> dict[str, str]:
    """Return the versions in a list as `pip freeze` prints it, by normalised name.

    Lines are name==version, or name @ address of a wheel; comments and other lines are left out.
    """
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := PIN.fullmatch(line.partition("#")[0].strip()):
            found[canonicalize_name(match["name"])] = match["version"] or match["in_wheel"] or "unknown"
    return found


def _key(python: str) -> str:
    said = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout
    return hashlib.sha256(said.encode() + CONSTRAINTS.read_bytes()).hexdigest()[:12]


def _build(python: str, folder: Path) -> None:
    shutil.rmtree(PLACE, ignore_errors=True)  # of another list, or not whole
    try:
        subprocess.run([python, "-m", "venv", str(folder)], check=True, capture_output=True)
        inside = str(folder / "bin" / "python")
        wanted = [f"{name}=={version}" for name, version in pins(CONSTRAINTS).items()]
        _pip(inside, "install", *[each for each in wanted if each.startswith(("pip==", "setuptools=="))])
        _pip(inside, "install", *wanted)
    except subprocess.CalledProcessError as error:
        raise ReplicaUnavailableError(f"Colab's kernel cannot be rebuilt: {(error.stderr or b'')[-600:]!r}") from error
    (folder / AS_IT_COMES).write_text(json.dumps(_versions(inside), indent=1))


def _pip(python: str, *arguments: str) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    subprocess.run(command, check=True, capture_output=True)


def _versions(python: str) -> dict[str, str]:
    """Return what an interpreter has, asked the way digit_utils.notebook.colab asks; the package itself need not be
    there."""
    program = "import json, digit_utils.notebook.colab as colab; print(json.dumps(colab.installed_versions()))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run([python, "-c", program], env=environment, check=True, capture_output=True, text=True)
    return json.loads(said.stdout)


def _environment(folder: Path, scratch: Path) -> dict[str, str]:
    """Return the variables of a process there: Colab's module is imported in every kernel, GitHub is a local folder."""
    startup = scratch / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-colab.py").write_text("import google.colab\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DIGITS_", "PYTHON", "VIRTUAL_"))}
    return {
        **kept,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(HERE / "fake"),
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_CONFIG_DIR": str(scratch / "jupyter"),
        "JUPYTER_DATA_DIR": str(scratch / "jupyter-data"),
        "DIGITS_CACHE_DIR": str(scratch / "cache"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{_repository(scratch / 'repository').as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": REPOSITORY,
    }


def _repository(folder: Path) -> Path:
    """Make a repository of what the project's files are now, committed or not, with the branch main."""
    git = functools.partial(subprocess.run, check=True, capture_output=True)
    listed = git(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    git(["git", "init", "--quiet", "--initial-branch=main"], cwd=folder)
    git(["git", "add", "--all", "--force"], cwd=folder)
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    git(["git", *identity, "commit", "--quiet", "--message", "As it stands"], cwd=folder)
    return folder
