"""Text that knows when it is damaged: a checksum at its end, over every character before it.

    a JSON line       {"generation": 3, ..., "checksum": "2f6c9e0b41d8a753"}
    a YAML file       ...
                      # checksum 2f6c9e0b41d8a753

A text of before there were checksums has none: it is neither whole nor damaged, but unverified.
"""

import re
from hashlib import blake2b

IN_LINE = re.compile(r'(?P<body>.*), "checksum": "(?P<checksum>[0-9a-f]{16})"\}')
IN_FILE = re.compile(r"(?P<body>.*)# checksum (?P<checksum>[0-9a-f]{16})\n", re.DOTALL)


def checksum(text: str) -> str:
    """Sixteen characters that another text has with a probability of 2^-64."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


def line_with_checksum(line: str) -> str:
    """A JSON object on one line, with its checksum as the last entry."""
    body = line.removesuffix("}")
    return f'{body}, "checksum": "{checksum(body)}"}}'


def file_with_checksum(text: str) -> str:
    """The text of a file with its checksum in a comment on the last line."""
    return f"{text}# checksum {checksum(text)}\n"


def line_is_whole(line: str) -> bool | None:
    """Whether a line is as it was written; None where it has no checksum."""
    return _is_whole(IN_LINE, line, mark=', "checksum": "')


def file_is_whole(text: str) -> bool | None:
    """Whether a file's text is as it was written; None where it has no checksum."""
    return _is_whole(IN_FILE, text, mark="# checksum ")


def _is_whole(pattern: re.Pattern[str], text: str, *, mark: str) -> bool | None:
    found = pattern.fullmatch(text)
    if found is None:
        return False if mark in text else None
    return checksum(found["body"]) == found["checksum"]
