"""How much the drawing page fetches at a first and a second visit, and how soon there is a pad to draw on.

python -m benchmarks.serving.first_load
python -m benchmarks.serving.first_load --rate 50 --round-trip 140   # a slow phone network: kB a second, milliseconds
"""

import argparse
import os
import shutil
import time

from playwright.sync_api import BrowserContext, sync_playwright

from tests.support.page_client import running_page
from tests.support.traffic import Traffic

AFTERWARDS = 1500  # milliseconds in which what the pad does not wait for may come


def visit(context: BrowserContext, address: str, options) -> str:
    """Open the page and return what that took, in words."""
    page = context.new_page()
    session = context.new_cdp_session(page)
    traffic = Traffic(session)
    if options.rate or options.round_trip:
        rates = dict.fromkeys(("downloadThroughput", "uploadThroughput"), 1000 * options.rate or -1)
        session.send("Network.emulateNetworkConditions", {"offline": False, "latency": options.round_trip, **rates})
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.locator(".digit-pad-paper div > canvas").wait_for(timeout=120_000)
    seconds = time.perf_counter() - start
    page.wait_for_timeout(AFTERWARDS)
    page.close()
    return f"{traffic.fetched} requests over the network, {traffic.bytes / 1000:.0f} kB, {seconds:.1f} s to the pad"


def main() -> None:
    """Visit the page twice with one browser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=0, help="kB a second (default: unlimited)")
    parser.add_argument("--round-trip", type=float, default=0, help="milliseconds")
    options = parser.parse_args()
    path = os.environ.get("DIGITS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with running_page() as (_, address), sync_playwright() as playwright:
        context = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]).new_context()
        for name in ("first visit: ", "second visit:"):
            print(name, visit(context, address, options))


if __name__ == "__main__":
    main()
