"""A real browser at the Amsterdam edge: its page and WebSocket reach the creator's machine in Dallas."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.command import flysim_up

DFW = "286533db064e58"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MUST_RUN = "browser" in os.environ.get("FLYSIM_MUST_RUN", "")


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM and not MUST_RUN, reason="Chromium is not installed")
def test_a_click_on_a_tab_moves_page_and_websocket_to_that_machine(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-sync",
    ]
    with (
        flysim_up(tmp_path) as up,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=arguments) as browser,
    ):
        page = browser.new_page()
        page.goto(up.edge("ams"))
        page.wait_for_selector("[data-socket-machine]:has-text('d8dd626f379508')")
        tabs = page.locator("nav a[data-machine]")
        tabs.nth(2).wait_for()
        assert tabs.nth(1).get_attribute("data-machine") == DFW
        tabs.nth(1).click()
        page.wait_for_selector(f"[data-page-machine]:has-text('{DFW}')")
        page.wait_for_selector(f"[data-socket-machine]:has-text('{DFW}')")
        assert page.context.cookies()[0]["value"] == DFW
