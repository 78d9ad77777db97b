import contextlib
import io
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from types import SimpleNamespace

import cv2
import nbformat
import numpy as np
import psutil
import pytest

from digit_utils.notebook.execute import find_notebook
from digit_utils.recognition.model_file import ModelFileError
from digit_utils.recognition.recognizer import BUNDLED_MODEL
from digit_utils.serving import app
from digit_utils.serving.app import PageError, is_loopback, page_address, page_notebook, serve
from tests.support.page_client import running_page

# ------------------------------------------------------------------------------------- what is served


def test_only_the_tagged_cells_of_notebook_04_are_served():
    source = nbformat.read(find_notebook("04_draw"), as_version=4)
    tagged = [cell.source for cell in source.cells if "page" in cell.metadata.get("tags", [])]
    served = page_notebook()
    assert [cell.source for cell in served.cells[1:]] == tagged
    assert served.cells[0].source.splitlines() == ["drawings = ''", "keep_all = False", "recall = False", "model = ''"]
    assert len(served.cells) < len(source.cells)
    assert all(not cell.get("outputs") for cell in served.cells)
    nbformat.validate(served)


def test_the_model_reaches_the_page_as_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = page_notebook(model="runs/it's mine").cells[0].source
    values = {}
    exec(given, values)
    assert values["model"] == str(tmp_path / "runs" / "it's mine")


def test_the_page_runs_without_tensorflow_and_matplotlib():
    source = "\n".join(cell.source for cell in page_notebook().cells if cell.cell_type == "code")
    check = "import sys; print([name for name in ('tensorflow', 'keras', 'matplotlib') if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", f"{source}\n{check}"], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_notebook_that_does_not_exist_is_named_with_the_places_looked_at():
    with pytest.raises(FileNotFoundError, match=r"99_nothing\.ipynb; looked in .*notebooks"):
        find_notebook("99_nothing")


def test_the_kernel_is_this_python_and_the_temporary_folder_goes_away():
    before = dict(os.environ)
    with app._page_folder(model=None) as folder:
        assert (folder / "draw.ipynb").is_file()
        kernel = json.loads((folder / "kernels/digits/kernel.json").read_text())
        assert kernel["argv"][0] == sys.executable
        assert os.environ == before
    assert not folder.exists()


# ------------------------------------------------------------------------------------ where it is served


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.1.5", False),
        ("::", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_what_counts_as_loopback(host, expected):
    assert is_loopback(host) is expected


def test_the_link_holds_the_token_and_an_address_that_others_can_reach():
    assert page_address("127.0.0.1", 8866) == "http://127.0.0.1:8866/"
    assert page_address("::1", 8866) == "http://[::1]:8866/"
    link = page_address("0.0.0.0", 80, token="secret")
    assert "0.0.0.0" not in link
    assert link.endswith(":80/?token=secret")


def test_the_link_for_all_ipv6_addresses_holds_one_of_them_or_the_machine_s_name(monkeypatch):
    class Probe(contextlib.nullcontext):
        def __init__(self, family, kind):
            self.family = family

        def __enter__(self):
            return self

        def connect(self, place):
            if self.family != socket.AF_INET6:
                raise OSError("the server does not listen there")

        def getsockname(self):
            return "2001:db8::7", 1234, 0, 0

    monkeypatch.setattr(app.socket, "socket", Probe)
    assert page_address("::", 80) == "http://[2001:db8::7]:80/"
    assert page_address("0.0.0.0", 80) == f"http://{socket.gethostname()}:80/"


def test_the_qr_code_is_the_link_and_a_terminal_without_its_characters_gets_none(capsys, monkeypatch):
    link = "http://192.168.1.20:8866/?token=abcdefghijklmnopqrstuv"
    app.print_qr_code(link)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    rows = []
    for line in lines:  # each character is two squares, one above the other
        upper = [character in " \N{LOWER HALF BLOCK}" for character in line]
        lower = [character in " \N{UPPER HALF BLOCK}" for character in line]
        rows += [upper, lower]
    dark = np.array(rows, np.uint8)[: len(lines[0])]
    picture = np.kron(255 * (1 - dark), np.ones((8, 8), np.uint8)).astype(np.uint8)
    picture = cv2.copyMakeBorder(picture, 48, 48, 48, 48, cv2.BORDER_CONSTANT, value=255)
    assert cv2.QRCodeDetectorAruco().detectAndDecode(picture)[0] == link

    old = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", old)
    app.print_qr_code(link)
    assert old.buffer.getvalue() == b""


@pytest.mark.parametrize(("host", "shared"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_whoever_starts_the_page_gets_a_link_a_browser_and_a_qr_code_for_others(host, shared, monkeypatch, capsys):
    opened = queue.Queue()
    monkeypatch.setattr(app.webbrowser, "open", opened.put)
    server = SimpleNamespace(ip=host, port=8866, base_url="/", visitors_limit=5)
    app._announce(server, token="secret" if shared else None, open_browser=True)
    told = capsys.readouterr().out
    link = told.split()[2]
    assert opened.get(timeout=20) == link
    assert link.endswith(":8866/?token=secret" if shared else "127.0.0.1:8866/")
    assert ("5 at once" in told) == shared
    assert ("\N{LOWER HALF BLOCK}" in told) == shared


@pytest.fixture
def configurations(monkeypatch):
    """What `serve` would start, without starting it."""
    made = []

    monkeypatch.setattr(app, "_make_server", lambda folder, **options: made.append(options))
    monkeypatch.setattr(app, "_run", lambda server, announce: None)
    return made


def test_loopback_needs_no_token_and_any_other_host_gets_one(configurations):
    serve(open_browser=False)
    serve(host="0.0.0.0", open_browser=False)
    serve(host="0.0.0.0", open_browser=False)
    tokens = [options["token"] for options in configurations]
    assert tokens[0] is None
    assert len(tokens[1]) >= 20
    assert tokens[1] != tokens[2]


def test_a_model_that_cannot_be_loaded_is_reported_before_the_server_starts(configurations, tmp_path):
    with pytest.raises(ModelFileError, match="nowhere"):
        serve(model=tmp_path / "nowhere.tflite", open_browser=False)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"nonsense")
    with pytest.raises(ModelFileError, match=r"broken\.tflite"):
        serve(model=broken, open_browser=False)
    assert configurations == []


def test_a_taken_port_a_foreign_address_and_an_unknown_theme_are_refused(configurations):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PageError, match=f"port {port} on 127.0.0.1"):
            serve(port=port, open_browser=False)
    with pytest.raises(PageError, match=r"203\.0\.113\.7"):
        serve(host="203.0.113.7", open_browser=False)
    with pytest.raises(PageError, match="sepia"):
        serve(theme="sepia", open_browser=False)
    assert configurations == []


# ------------------------------------------------------------------------------------ the running server


def status(address, **headers):
    """Return the status of a request, redirects not followed."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    try:
        with urllib.request.build_opener(Stay).open(
            urllib.request.Request(address, headers=headers), timeout=20
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_page_has_its_title_and_shows_no_source(server):
    with urllib.request.urlopen(server, timeout=30) as answer:
        html = answer.read().decode()
    assert "<title>Draw a digit or a number</title>" in html
    assert 'name="viewport"' in html
    assert 'data-theme="dark"' in html
    assert "Recognizer.load" not in html
    assert "cdn" not in html.split("jupyter-config-data")[0].lower()


def test_a_name_that_another_site_points_here_is_turned_away(server):
    assert status(server, Host="evil.example") == 403


@pytest.mark.slow
def test_a_pad_that_cannot_be_made_is_reported_in_one_sentence(tmp_path):
    model = tmp_path / "gone.tflite"
    shutil.copyfile(BUNDLED_MODEL, model)
    with running_page("--model", str(model), TMPDIR=str(tmp_path)) as (_, address):
        model.unlink()
        for _ in range(3):  # the kernels that waited may have read it in time
            with urllib.request.urlopen(address, timeout=60) as answer:
                text = answer.read().decode()
        assert "The drawing pad failed to load." in text
        assert "Traceback" not in text
        assert "gone.tflite" not in text


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_ctrl_c_ends_the_server_its_kernels_and_the_temporary_folder(tmp_path):
    with running_page(TMPDIR=str(tmp_path)) as (process, address):
        assert status(address) == 200
        assert list(tmp_path.glob("digits-page-*"))
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2  # kernels are started ahead, and what they are forked from
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)
    assert list(tmp_path.iterdir()) == []
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
