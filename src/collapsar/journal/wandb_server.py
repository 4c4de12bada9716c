"""The W&B server that a run goes to, its key, and whether it answers."""

import os
from typing import Literal, TypeAlias, cast, get_args

import requests
from requests.utils import get_netrc_auth

from collapsar.errors import UsageError

DEFAULT_SERVER = "https://api.wandb.ai"

YES, NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")
EARLIER_MODES = {"dryrun": "offline", "run": "online"}  # old names that W&B still takes

Mode: TypeAlias = Literal["online", "offline", "disabled", "shared"]


def chosen_mode() -> Mode:
    """The mode that WANDB_DISABLED or WANDB_MODE sets; else online with an API key, offline without one."""
    disabled, mode = (os.environ.get(variable, "").strip() for variable in ("WANDB_DISABLED", "WANDB_MODE"))
    if disabled.lower() not in (*YES, *NO):
        raise UsageError(f"WANDB_DISABLED must be true or false: got {disabled!r}")
    if disabled.lower() in YES:
        return "disabled"
    mode = EARLIER_MODES.get(mode, mode) or ("online" if api_key() else "offline")
    if mode not in get_args(Mode):
        raise UsageError(f"WANDB_MODE must be one of {', '.join(get_args(Mode))}: got {mode!r}")
    return cast("Mode", mode)


def server() -> str:
    """The address of W&B."""
    return os.environ.get("WANDB_BASE_URL", DEFAULT_SERVER).rstrip("/")


def api_key() -> str | None:
    """The key of WANDB_API_KEY or of `wandb login`; None if there is none."""
    from_login = get_netrc_auth(server())
    return os.environ.get("WANDB_API_KEY") or (from_login[1] if from_login else None)


def default_entity(*, timeout_seconds: float) -> str:
    """The account that the key belongs to, as the server says.

    Raises:
        requests.RequestException: it does not answer in time, or refuses the key.
        KeyError, TypeError: it answers something else.
    """
    answer = requests.post(
        f"{server()}/graphql",
        json={"query": "query Viewer { viewer { entity } }"},
        auth=("api", api_key() or ""),
        timeout=timeout_seconds,
    )
    answer.raise_for_status()
    return str(answer.json()["data"]["viewer"]["entity"])


def reason(error: Exception) -> str:
    """Why the server cannot be used, in a few words."""
    match error:
        case requests.Timeout():
            return f"{server()} does not answer"
        case requests.HTTPError(response=requests.Response() as answer):
            return f"{server()} answers {answer.status_code}"
        case requests.ConnectionError():
            return f"{server()} refuses connections"
        case _:
            return f"{server()} does not answer as W&B does"
