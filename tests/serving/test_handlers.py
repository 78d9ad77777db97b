"""Which kernel a visitor gets out of Voila's own pool, with kernels that are none; and a page whose kernels fail."""

import asyncio
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
import tornado.web
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets.config import Configurable
from voila.voila_kernel_manager import voila_kernel_manager_factory

from digit_utils.serving.handlers import BROKEN, TRIES, _Kernels
from digit_utils.serving.sessions import VisitorsKernels
from tests.support.page_client import KERNEL_ID, running_page

NOTEBOOK = "draw.ipynb"


class Server(Configurable):
    """Stands for the server that a pool belongs to."""

    base_url = server_url = "/"
    port = 0


class Pool(voila_kernel_manager_factory(VisitorsKernels, preheat_kernel=True, default_pool_size=2)):
    """Voila's pool of kernels. The n-th start goes as the n-th of `starts` says, and well when there is no further."""

    def __init__(self, *starts):
        self.parent, self.notebook_data, self._pools, self._kernels = Server(), {}, {}, {}
        self.starts, self.started, self.ended = list(starts), 0, []
        self.fill_delay = 0

    async def _initialize(self, notebook_name, kernel_id, **_):
        start = self.starts.pop(0) if self.starts else "well"
        self.started += 1
        if start == "fails":
            raise RuntimeError("no kernel could be started")
        kernel_id = f"{start} {self.started}"
        if start != "is forgotten":
            self._kernels[kernel_id] = SimpleNamespace(is_alive=lambda: start != "is dead")
        render = asyncio.create_task(_render(start))
        render.add_done_callback(lambda done: done.cancelled() or done.exception())  # of which asyncio then is silent
        return {"task": render, "renderer": SimpleNamespace(rendered_cache=["cell"]), "kernel_id": kernel_id}


async def _render(start):
    if start == "fails later":
        raise RuntimeError("the page could not be made")
    if start == "takes long":
        await asyncio.sleep(60)


@pytest.fixture
def visit(monkeypatch):
    """Return a function that lets a visitor come to a pool; it returns what the visitor is handed, and who is told."""

    async def shut_down(self, name, *, now):
        self.ended.append(name)
        del self._kernels[name]

    async def come(pool, handed):
        pool.fill_if_needed(delay=0, notebook_name=NOTEBOOK)
        await asyncio.sleep(0.01)  # the kernels are started, or have failed
        kernels = _Kernels(pool, told=handed.told.append)
        try:
            _, handed.cells, handed.kernel = await kernels.get_rendered_notebook(
                notebook_name=NOTEBOOK, extra_kernel_env_variables={"VOILA_REQUEST_URL": "/"}
            )
        finally:
            await asyncio.sleep(0.01)  # likewise

    def visit(pool):
        handed = SimpleNamespace(told=[], kernel=None)
        try:
            asyncio.run(asyncio.wait_for(come(pool, handed), 5))
        finally:
            visit.told = handed.told
        return handed

    monkeypatch.setattr(AsyncMappingKernelManager, "shutdown_kernel", shut_down)
    return visit


def test_after_a_failed_start_the_next_kernel_is_handed_out_and_as_many_wait_as_before(visit, caplog):
    pool = Pool("fails")
    handed = visit(pool)
    assert handed.kernel == "well 2"
    assert handed.told == ["well 2"]
    assert handed.cells == ["cell"]
    assert pool.get_pool_size(NOTEBOOK) == 2
    assert "no kernel could be started" in caplog.text


def test_when_all_that_waited_could_not_be_started_a_new_one_is_started_for_the_visitor(visit):
    pool = Pool("fails", "fails")
    assert visit(pool).kernel.startswith("well")
    assert pool.get_pool_size(NOTEBOOK) == 2


def test_a_dead_kernel_is_cleared_away_although_the_one_behind_it_could_not_be_started(visit):
    pool = Pool("is dead", "fails")
    assert visit(pool).kernel.startswith("well")
    assert pool.ended == ["is dead 1"]
    assert pool.get_pool_size(NOTEBOOK) == 2


def test_a_living_kernel_whose_page_failed_is_not_handed_out(visit, caplog):
    pool = Pool("fails later")
    assert visit(pool).told == ["well 2"]
    assert pool.ended == ["fails later 1"]
    assert "the page could not be made" in caplog.text


def test_a_kernel_that_the_manager_has_forgotten_is_not_handed_out(visit):
    pool = Pool("is forgotten")
    assert visit(pool).told == ["well 2"]
    assert pool.ended == []


def test_a_page_in_the_making_is_not_waited_for(visit):
    started = time.monotonic()
    handed = visit(Pool("takes long"))
    assert handed.kernel == "takes long 1"
    assert time.monotonic() - started < 2


def test_a_kernel_that_cannot_be_ended_keeps_nobody_from_the_next_one(visit, monkeypatch, caplog):
    async def fail(self, name):
        raise RuntimeError("it lives on")

    monkeypatch.setattr(VisitorsKernels, "end_kernel", fail)
    assert visit(Pool("is dead")).told == ["well 2"]
    assert "it lives on" in caplog.text


@pytest.mark.parametrize("start", ["fails", "is dead"])
def test_when_no_kernel_is_of_use_the_visitor_is_told_and_the_next_one_finds_as_many_waiting(visit, start):
    pool = Pool(*[start] * 10)
    with pytest.raises(tornado.web.HTTPError) as refused:
        visit(pool)
    assert refused.value.status_code == 503
    assert visit.told == []
    assert 10 - len(pool.starts) <= 2 + TRIES
    assert pool.get_pool_size(NOTEBOOK) == 2


def test_a_visitor_for_whom_none_has_waited_gets_one_of_their_own():
    class Kernels:
        async def start_kernel(self, **options):
            return options["path"]

    told = []
    assert asyncio.run(_Kernels(Kernels(), told=told.append).start_kernel(path="cold")) == "cold"
    assert told == ["cold"]


def ask(address):
    """Return the status and the text of a page."""
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_on_a_page_whose_kernels_fail_for_a_while_nobody_sees_more_than_one_sentence_of_it(tmp_path):
    handed = set()

    def visit():
        status, page = ask(address)
        assert status == 200
        handed.add(KERNEL_ID.search(page)[1])

    def let_the_next_fail():
        """Hand out the kernel that waits, while no other can be started."""
        end = time.monotonic() + 30
        while not {file.stem.removeprefix("kernel-") for file in tmp_path.rglob("kernel-*.json")} - handed:
            assert time.monotonic() < end, "no kernel waits"
            time.sleep(0.1)
        kernel.rename(hidden)
        visit()
        time.sleep(2)  # Voila starts the next one after a second

    with running_page(TMPDIR=str(tmp_path)) as (_, address):
        (kernel,) = tmp_path.glob("digits-page-*/share/kernels/digits/kernel.json")
        hidden = kernel.with_suffix(".hidden")
        visit()
        let_the_next_fail()
        hidden.rename(kernel)
        visit()
        let_the_next_fail()
        status, page = ask(address)
        assert status == 503
        assert all(words in page for words in BROKEN)
        assert "Traceback" not in page
        hidden.rename(kernel)
        visit()
