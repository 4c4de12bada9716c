"""A view that is redrawn on a terminal while something runs; log lines appear above it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text


@contextmanager
def live_view(console: Console, view: Callable[[], RenderableType]) -> Iterator[None]:
    """Redraw what `view` gives until this context ends; draw nothing if the console is no terminal."""
    if not console.is_terminal:
        yield
        return
    root = logging.getLogger()
    plain = [handler for handler in root.handlers if type(handler) is logging.StreamHandler]
    root.handlers = [*(handler for handler in root.handlers if handler not in plain), above := AboveTheView(console)]
    for allowed in (allowed for handler in plain for allowed in handler.filters):
        above.addFilter(allowed)
    try:
        with Live(console=console, get_renderable=view, transient=True):
            yield
    finally:
        root.handlers = [*(handler for handler in root.handlers if handler is not above), *plain]


class AboveTheView(logging.Handler):
    """Writes log lines above a live view; lines that are printed past it would tear the view apart."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(Text(record.getMessage()))
