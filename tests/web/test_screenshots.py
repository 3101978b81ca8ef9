"""Pictures of every tab with real recordings, to be looked at; they stay out of the repository."""

from __future__ import annotations

import pytest


def test_every_tab_takes_real_recordings(app, browser, shared_dir, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs pillow of [web]")
    from web_screenshots import take

    made = take(browser, app.address, shared_dir / "recordings" / "examples", tmp_path)
    assert [path.name for path in made] == ["web-ask.png", "web-batch.png", "web-long-recording.png"]
    for path in made:
        with image.open(path) as picture:
            assert picture.width == 1180
            assert picture.height > 1000
