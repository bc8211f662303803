"""Generator of docs/fidelity.md: `python -m tests.fidelity`."""

from __future__ import annotations

from tests.fidelity.page import PAGE, make_page

PAGE.write_text(make_page(), encoding="utf-8")
