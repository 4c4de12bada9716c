"""`size=tiny`: two short generations of any data and model, whose numbers are cut to those of `conf/tiny.yaml`."""

from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from collapsar.records.settings import config_folder, flatten

TINY = "tiny"
OWN_FILES = "path"  # data with this key are the user's, of an unknown number of samples


def is_tiny(config: DictConfig) -> bool:
    """Whether a composed config has size=tiny."""
    return "size" in config and not OmegaConf.is_missing(config, "size") and config["size"] == TINY


def cut(config: DictConfig) -> None:
    """Lower the numbers of a composed config that `conf/tiny.yaml` names; a number that is null counts as larger."""
    limits = yaml.safe_load((config_folder() / f"{TINY}.yaml").read_text())
    if OWN_FILES in (config["data"] or {}):
        del limits["data.num_train"], limits["evaluation.num_samples"]
    plain: Any = OmegaConf.to_container(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
    for key, value in flatten(plain).items():
        for end, limit in limits.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if f".{key}".endswith(f".{end}") and (value is None or (is_number and value > limit)):
                OmegaConf.update(config, key, limit)
