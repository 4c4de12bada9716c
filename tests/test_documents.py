"""The README files: links lead somewhere, commands that are shown compose, and the first one is short.

A block of code that begins with `# PATH` is a file of the reader's own: it is written before commands are composed.
"""

import re
import shlex
from argparse import ArgumentParser
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from PIL import Image

from collapsar.config import composition
from collapsar.config.command_line import parse, readable_by_hydra
from collapsar.jobs.multirun import arm_jobs

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("conf", "scripts", "src", "tests", ".github")
DOCUMENTS = [ROOT / "README.md", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("README.md")))]
MAX_LINES, MAX_BYTES, MAX_WORDS = 250, 16_000, 30

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"""(?:\]\(|(?:href|src|srcset)=")([^)\s"]+)""")
OWN_FILE = re.compile(r"(?:# @package .+\n)?# ([\w/.]+\.(?:py|yaml))\n")
BEFORE = re.compile(r"(?:[A-Z_]+=\S+ |nohup |srun )*")  # what may stand before a command
ARMS = "hydra.sweeper.arms="
HYDRA = ("collapsar", "run")
PARSERS = {
    "collapsar-findings": "collapsar.findings.__main__",
    "collapsar-report": "collapsar.report.__main__",
    "collapsar-score": "collapsar.scoring.__main__",
    "collapsar-verify": "collapsar.verification.__main__",
}
EXAMPLES = {"experiment=NAME": "experiment=quickstart", "[...]": "['']"}


class Command(NamedTuple):
    """A command that a document shows."""

    document: str
    program: str
    arguments: tuple[str, ...]

    def __str__(self):
        return f"{self.document}: {self.program} {' '.join(self.arguments)}"


def text_of(path):
    return path.read_text(encoding="utf-8")


def fenced(path, *languages):
    """The blocks of code of a document."""
    return [found[2] for found in FENCE.finditer(text_of(path)) if found[1] in languages]


def prose(path):
    """A document without its blocks of code."""
    return FENCE.sub("", text_of(path))


def shown_in(path):
    """What stands in blocks of shell, a line at a time, and between backticks."""
    blocks = [block.replace("\\\n", " ") for block in fenced(path, "sh")]
    lines = [re.sub(r"(^|\s)#.*", "", line) for block in blocks for line in block.splitlines()]
    spans = [" ".join(span.split()) for span in CODE.findall(prose(path))]
    return [*(part for line in lines for part in re.split(r"&&|>>|(?<=\s)&(?=\s|$)|;", line)), *spans]


@cache
def commands():
    """Every command of ours that a document shows; words in capitals and dots have an example in their place."""
    found = []
    for path in DOCUMENTS:
        for shown in shown_in(path):
            program, *rest = BEFORE.sub("", shown.strip(), count=1).split(" ", 1)
            name = Path(program).name
            if name in (*HYDRA, *PARSERS) and (rest or program.startswith("scripts/")):
                typed = rest[0] if rest else ""
                for placeholder, example in EXAMPLES.items():
                    typed = typed.replace(placeholder, example)
                words = tuple(word for word in shlex.split(typed) if word != "...")
                found.append(Command(str(path.relative_to(ROOT)), name, words))
    return list(dict.fromkeys(found))


def commands_of(*programs):
    return [pytest.param(command, id=str(command)) for command in commands() if command.program in programs]


@pytest.fixture(scope="module")
def readers_folder(tmp_path_factory):
    """A folder with the files that the documents tell a reader to write, and those that commands name."""
    folder = tmp_path_factory.mktemp("reader")
    for path in DOCUMENTS:
        for block in fenced(path, "python", "yaml"):
            if named := OWN_FILE.match(block):
                file = folder / named[1]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block)
    source = (
        "from collapsar.data.sources.real import Digits\n\n\nclass MySource(Digits):\n"
        "    def __init__(self, *, sample_shape):\n"
        "        super().__init__(sample_shape=sample_shape, num_train=None)\n"
    )
    (folder / "my_module.py").write_text(source)
    photos = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    np.savez(folder / "photos.npz", images=photos, labels=np.arange(8) % 2)
    for index, photo in enumerate(photos):
        file = folder / "photos" / "ab"[index % 2] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(file)
    return folder


def values(override):
    """Overrides for the values that an override sweeps over; itself if there is one value."""
    parsed = parse(override)
    if parsed.is_discrete_sweep():
        return [f"{parsed.key_or_group}={value}" for value in parsed.sweep_string_iterator()]
    return [f"{parsed.key_or_group}={parsed.value().start}"] if parsed.is_sweep_override() else [override]


def jobs(overrides):
    """The overrides of jobs in which each value that is swept over, and each arm, stands once."""
    arms = [override for override in overrides if override.startswith(ARMS)]
    swept = [values(override) for override in overrides if override not in arms]
    first = [found[0] for found in swept]
    others = [[*first[:i], value, *first[i + 1 :]] for i, found in enumerate(swept) for value in found[1:]]
    return [*arm_jobs(parse(arms[0]).value() if arms else [""], params=[], typed=first), *others]


@pytest.mark.parametrize("command", commands_of(*HYDRA))
def test_a_command_that_is_shown_composes(command, readers_folder, monkeypatch):
    monkeypatch.chdir(readers_folder)
    monkeypatch.syspath_prepend(readers_folder)
    options = get_args_parser().parse_args(readable_by_hydra(command.arguments))
    if options.shell_completion:
        return
    searched = [f"hydra.searchpath=[file://{Path(options.config_dir).resolve()}]"] if options.config_dir else []
    folder = composition.register()
    for job in jobs(options.overrides):
        with initialize_config_dir(str(folder), version_base="1.3"):
            composition.check(compose("config", overrides=[*searched, *job]))


@pytest.mark.parametrize("command", commands_of(*PARSERS))
def test_options_that_are_shown_exist(command):
    parser: ArgumentParser = import_module(PARSERS[command.program])._parser()
    parser.exit_on_error = False
    assert parser.parse_known_args(command.arguments)[1] == []


def test_commands_are_shown():
    assert len(commands_of(*HYDRA)) > 40
    assert {command.program for command in commands()} >= {"collapsar", "run", "collapsar-report"}


def anchors(path):
    """The anchors of a document's headings, as GitHub makes them."""
    found = {}
    for heading in re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    return {f"{anchor}-{i}" if i else anchor for anchor, count in found.items() for i in range(count + 1)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for link in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside the repository"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_that_are_named_exist(path):
    modules = {f"/{known.relative_to(ROOT)}" for known in ROOT.rglob("*.py") if ".venv" not in known.parts}
    for name in {name for code in CODE.findall(prose(path)) for name in re.findall(r"[\w/]+\.py\b", code)}:
        assert any(known.endswith(f"/{name}") for known in modules) or name in OWN_FILES, f"{name}: no such module"


def test_every_document_is_reached_from_the_first():
    reached, waiting = set(), [DOCUMENTS[0]]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            links = [link.partition("#")[0] for link in LINK.findall(prose(path))]
            waiting += [(path.parent / link).resolve() for link in links if link.endswith("README.md")]
    assert reached == set(DOCUMENTS)


OWN_FILES = {"blobs.py", "mine.py"}  # that a reader writes
GROUPS = ["data", "model", "size", "regime", "cause", "lever", "bias", "correction", "selection", "evaluation"]


@pytest.mark.parametrize("group", [*GROUPS, "tracking", "alarm"])
def test_every_choice_of_a_group_is_listed(group):
    names = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
    assert names <= set(CODE.findall(prose(ROOT / "conf" / "README.md")))


def test_every_experiment_is_listed():
    names = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    listed = text_of(ROOT / "conf" / "experiment" / "README.md") + text_of(ROOT / "README.md")
    assert not {name for name in names if name not in listed}


def test_the_first_document_is_short():
    content = text_of(DOCUMENTS[0])
    assert len(content.splitlines()) <= MAX_LINES
    assert len(content.encode()) <= MAX_BYTES


def sentences(path):
    """The sentences of a document's prose; a line of a list or a paragraph ends one, code is one word."""
    lines = [line for line in prose(path).splitlines() if not line.startswith(("|", "#", "<", "!"))]
    for block in re.split(r"\n\s*\n|\n(?=\s*[-*] )", "\n".join(lines)):
        plain = re.sub(r"\[(.*?)\]\([^)]*\)", r"\1", CODE.sub("code", block))
        yield from re.split(r"(?<=[.!?])\s+", " ".join(plain.split()))


def test_no_sentence_of_the_first_document_is_long():
    long = [
        text
        for text in sentences(DOCUMENTS[0])
        if sum(any(map(str.isalnum, word)) for word in text.split()) > MAX_WORDS
    ]
    assert long == []
