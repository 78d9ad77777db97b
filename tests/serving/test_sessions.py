"""How many may come in, and when a visitor's kernel is ended; with kernels that are none, and a clock of our own."""

import asyncio
from types import SimpleNamespace

import pytest

from digit_utils.serving import sessions
from digit_utils.serving.sessions import (
    DISCONNECTED_SECONDS,
    ENDED,
    MAX_CONNECTIONS,
    UNUSED_SECONDS,
    UNUSED_SECONDS_WHEN_FULL,
    Visitors,
)


class Kernels(dict):
    """Stands for Jupyter's kernel manager."""

    def start(self, name):
        self[name] = SimpleNamespace(alive=True)

    async def is_alive(self, name):
        return name in self and self[name].alive

    async def end_kernel(self, name):
        self.pop(name, None)


class Page:
    """Stands for a page's websocket."""

    closed = None
    is_cut_off = False

    def close(self, code, reason):
        self.closed = code

    def cut_off(self):
        self.is_cut_off = True


@pytest.fixture
def kernels():
    return Kernels()


@pytest.fixture
def clock():
    return SimpleNamespace(now=1000.0)


@pytest.fixture
def visitors(kernels, clock):
    return Visitors(kernels, limit=3, clock=lambda: clock.now)


def sweep(visitors):
    asyncio.run(visitors.sweep())


def let_in(visitors, kernels, *names):
    for name in names:
        kernels.start(name)
        with visitors.arriving() as got_kernel:
            got_kernel(name)


def test_kernels_that_wait_for_a_visitor_take_no_place_and_are_never_ended(visitors, kernels, clock):
    for name in ("next", "and the next", "and one more"):
        kernels.start(name)
    assert visitors.count == 0
    clock.now += 10 * UNUSED_SECONDS
    sweep(visitors)
    assert len(kernels) == 3


def test_a_place_is_taken_from_the_moment_of_asking_and_only_once(visitors, kernels):
    let_in(visitors, kernels, "a", "b")
    assert not visitors.is_full()
    with visitors.arriving() as got_kernel:
        assert visitors.is_full()
        got_kernel("c")
        assert visitors.count == 3
    assert visitors.count == 3
    asyncio.run(visitors.end("c"))
    with pytest.raises(RuntimeError, match="no kernel"), visitors.arriving():
        raise RuntimeError("no kernel could be started")
    assert visitors.count == 2


def test_of_too_many_connections_of_a_visitor_the_oldest_is_cut_off(visitors, kernels):
    let_in(visitors, kernels, "a")
    pages = [Page() for _ in range(MAX_CONNECTIONS + 2)]
    for page in pages:
        visitors.connected("a", page)
    assert [page.is_cut_off for page in pages] == [True] * 2 + [False] * MAX_CONNECTIONS
    visitors.disconnected("a", pages[0])  # as its websocket tells later
    asyncio.run(visitors.end("a"))
    assert [page.closed for page in pages] == [None] * 2 + [ENDED] * MAX_CONNECTIONS


def test_without_memory_nobody_else_comes_in(visitors, monkeypatch):
    assert not visitors.is_full()
    monkeypatch.setattr(sessions.psutil, "virtual_memory", lambda: SimpleNamespace(available=500e6))
    assert visitors.is_full()


def test_a_kernel_whose_page_never_came_is_ended_after_a_minute(visitors, kernels, clock):
    let_in(visitors, kernels, "a")
    sweep(visitors)
    clock.now += DISCONNECTED_SECONDS - 1
    sweep(visitors)
    assert "a" in kernels
    clock.now += 2
    sweep(visitors)
    assert "a" not in kernels


def test_who_leaves_while_another_is_looked_at_does_not_stop_the_sweep(visitors, kernels, clock, monkeypatch):
    let_in(visitors, kernels, "a", "b", "c")
    clock.now += DISCONNECTED_SECONDS + 1
    end, ended = visitors.end, []

    async def end_two(kernel_id):
        ended.append(kernel_id)
        await end(kernel_id)
        if kernel_id == "a":
            await end("b")  # as if it had left meanwhile

    monkeypatch.setattr(visitors, "end", end_two)
    sweep(visitors)
    assert ended == ["a", "c"]
    assert not kernels


def test_a_page_whose_network_comes_back_within_a_minute_finds_its_kernel(visitors, kernels, clock):
    let_in(visitors, kernels, "a")
    first, second = Page(), Page()
    visitors.connected("a", first)
    clock.now += 500
    visitors.disconnected("a", first)
    clock.now += DISCONNECTED_SECONDS - 1
    sweep(visitors)
    visitors.connected("a", second)
    clock.now += 500
    sweep(visitors)
    assert "a" in kernels
    visitors.disconnected("a", second)
    clock.now += DISCONNECTED_SECONDS + 1
    sweep(visitors)
    assert "a" not in kernels


def test_an_open_page_that_nobody_uses_is_ended_sooner_when_others_wait(visitors, kernels, clock):
    pages = {}
    for name in ("a", "b"):
        let_in(visitors, kernels, name)
        pages[name] = Page()
        visitors.connected(name, pages[name])
    clock.now += UNUSED_SECONDS_WHEN_FULL + 1
    visitors.used("b")
    sweep(visitors)
    assert set(kernels) == {"a", "b"}
    let_in(visitors, kernels, "c")
    visitors.connected("c", Page())
    sweep(visitors)
    assert set(kernels) == {"b", "c"}
    assert pages["a"].closed == ENDED
    assert pages["b"].closed is None
    clock.now += UNUSED_SECONDS + 1
    sweep(visitors)
    assert kernels == {}


def test_a_kernel_that_died_is_cleared_away_at_once_and_its_page_is_told(visitors, kernels):
    let_in(visitors, kernels, "a")
    page = Page()
    visitors.connected("a", page)
    sweep(visitors)
    assert page.closed is None
    kernels["a"].alive = False
    sweep(visitors)
    assert "a" not in kernels
    assert page.closed == ENDED


@pytest.fixture
def unending(kernels, monkeypatch):
    """The names of kernels that someone tried to end, while none can be ended."""
    tried = []

    async def fail(name):
        if name in kernels:
            tried.append(name)
            raise RuntimeError("no")

    monkeypatch.setattr(kernels, "end_kernel", fail)
    return tried


def test_a_kernel_that_could_not_be_ended_takes_its_place_until_a_later_sweep_ends_it(
    visitors, kernels, unending, monkeypatch, caplog
):
    let_in(visitors, kernels, "a", "b", "c")
    page, late = Page(), Page()
    visitors.connected("a", page)
    asyncio.run(visitors.end("a"))
    assert page.closed == ENDED
    assert (visitors.count, visitors.is_full()) == (3, True)
    visitors.connected("a", late)  # which makes no visitor of it again
    for _ in range(2):
        sweep(visitors)
    assert unending == ["a"] * 3, "once at a sweep"
    assert caplog.text.count("could not be ended") == 1
    assert late.closed == ENDED
    monkeypatch.undo()
    sweep(visitors)
    assert set(kernels) == {"b", "c"}
    assert visitors.count == 2


def test_a_kernel_that_died_is_forgotten_even_when_it_cannot_be_cleared_away(visitors, kernels, unending, caplog):
    let_in(visitors, kernels, "a", "b", "c")
    kernels["a"].alive = False
    asyncio.run(visitors.end("b"))
    sweep(visitors)
    assert "could not be ended" in caplog.text
    assert visitors.count == 2
    kernels["b"].alive = False
    sweep(visitors)
    assert visitors.count == 1
    del kernels["c"]
    asyncio.run(visitors.end("c"))
    sweep(visitors)
    assert (visitors.count, unending) == (0, ["b", "a", "b", "b"])


def test_what_is_known_of_visitors_who_left_is_forgotten(visitors, kernels):
    for index in range(50):
        let_in(visitors, kernels, str(index))
        visitors.connected(str(index), Page())
        asyncio.run(visitors.end(str(index)))
    sweep(visitors)
    assert not visitors._pages
    assert not visitors._last_used


def test_the_default_limit_is_what_the_memory_holds(monkeypatch):
    for available, expected in ((100e6, 1), (600e6 + 30 * 120e6, 30), (900e9, sessions.MAX_VISITORS)):
        monkeypatch.setattr(sessions.psutil, "virtual_memory", lambda free=available: SimpleNamespace(available=free))
        assert sessions.default_limit() == expected
