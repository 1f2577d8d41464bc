"""What MkDocs does besides: no page of the site loads anything from another host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from mkdocs.exceptions import PluginError

_THEIRS: Final = '<script src="https://unpkg.com/iframe-worker/shim"></script>'
_OURS: Final = '<script src="offline.js"></script>'
_LOADED: Final = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src=[\"']?https?:[^>]*>"
    r"|<link[^>]+rel=[\"']?(?:stylesheet|preconnect|icon|preload)[^>]+href=[\"']?https?:[^>]*>"
    r"|@import[^;]*https?:[^;]*;|url\([\"']?https?:[^)]*\)"
)
_SOUGHT: Final = {"settings.md": 4, "reliability.md": 2}
"""Pages that tell most of what is searched for; in the others its name stands in headings, too."""


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have the search name a setting's own page before those that mention it."""
    if (boost := _SOUGHT.get(page.file.src_uri)) is not None:
        page.meta["search"] = {"boost": boost}
    return markdown


def on_post_page(output: str, **_: Any) -> str:
    """Have a page's search work from a folder, with a script of ours."""
    return output.replace(_THEIRS, _OURS)


def on_post_template(output_content: str, **_: Any) -> str:
    """Do the same for pages that are no document, as 404."""
    return output_content.replace(_THEIRS, _OURS)


def on_post_build(config: Any) -> None:
    """See that nothing is loaded from elsewhere.

    Raises:
        PluginError: Something is; the message names it.
    """
    folder = Path(config.site_dir)
    for path in (*folder.rglob("*.html"), *folder.rglob("*.css"), *folder.rglob("*.svg")):
        if found := _LOADED.search(path.read_text("utf-8")):
            msg = f"{path.name} loads {found[0]} from another host"
            raise PluginError(msg)
