"""The last module that the fork server imports: a fork that collects garbage would copy every page of what is there."""

import atexit
import gc

gc.freeze()
atexit.register(gc.unfreeze)  # or libraries report at the end what is frozen as leaked
