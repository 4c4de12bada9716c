"""What the server of fresh processes does before it forks them: import everything, and find Hydra's plug-ins."""

from hydra.core.plugins import Plugins

from benchmarks import quality, shares  # noqa: F401

Plugins.instance()  # looks into every package that is installed
