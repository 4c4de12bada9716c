"""A view that is redrawn on a terminal while something runs; log lines appear above it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.file_proxy import FileProxy
from rich.live import Live


@contextmanager
def live_view(console: Console, view: Callable[[], RenderableType]) -> Iterator[None]:
    """Redraw what `view` gives until this context ends; draw nothing if the console is no terminal."""
    if not console.is_terminal:
        yield
        return
    plain = [handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler]
    streams = [handler.setStream(FileProxy(console, handler.stream)) for handler in plain]
    try:
        with Live(console=console, get_renderable=view, transient=True):
            yield
    finally:
        for handler, stream in zip(plain, streams, strict=True):
            handler.setStream(stream)
