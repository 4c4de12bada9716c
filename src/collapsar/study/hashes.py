"""Hashes of what chains recorded: a number that is written down with one can be traced to its records.

Each is BLAKE2b in sixteen hexadecimal digits, over the sorted hashes of its parts, so the order of chains is free.
"""

import json
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from collapsar.study.chains import Chain

VARYING = ("seconds", "shared_seconds", "peak_memory_bytes", "peak_device_memory_bytes", "machine")  # of equal runs


def records_hash(chains: Sequence[Chain]) -> str:
    """The hash of the files of records, byte by byte: with their times, so every run has another."""
    files = (chain.folder / "records.jsonl" for chain in chains if chain.records)
    return _hash(path.read_bytes() for path in files if path.exists())


def results_hash(chains: Sequence[Chain]) -> str:
    """The hash of folder names and records without times, memory and machine: equal runs have the same."""
    return _hash(f"{chain.folder.resolve().name}\n{_results(chain)}".encode() for chain in chains if chain.records)


def _results(chain: Chain) -> str:
    """The lines of the records without VARYING, and without what is empty."""
    contents = (
        {key: value for key, value in vars(record).items() if key not in VARYING and value not in ({}, None)}
        for record in chain.records
    )
    return "\n".join(json.dumps(content, sort_keys=True, allow_nan=False) for content in contents)


def _hash(contents: Iterable[bytes]) -> str:
    own = sorted(blake2b(content).hexdigest() for content in contents)
    return blake2b("".join(own).encode(), digest_size=8).hexdigest()
