"""An object that makes a folder when it is unpickled: what reads a file without running code never makes it."""

import os
from pathlib import Path


class Planted:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))
