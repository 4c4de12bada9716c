"""Files and settings that somebody else wrote run no code here, and their names are shown as text."""

import io
import json
import pickle
import re

import numpy as np
import pytest
import torch
from planted_code import Planted
from rich.console import Console

from collapsar.config import composition
from collapsar.foundations.errors import UsageError, printable
from collapsar.foundations.settings import read_config
from collapsar.journal.store import RunFolder
from collapsar.judging.spaces.base import load_or_compute
from collapsar.judging.spaces.pretrained import load_weights
from collapsar.judging.spaces.stick import read_stick
from collapsar.report.page import write_report
from collapsar.report.sections.films import stored_images
from collapsar.report.tables import report_tables
from collapsar.study.study import read_study
from collapsar.training.stored import DAMAGE, load, load_stored
from collapsar.training.train import begin_with
from tiny_chains import TINY, build_and_run, compose_settings

EVIL = "a\x1b[31mb\x07\u202ec"
TARGETS = (
    "os.system", "os.remove", "os.popen", "subprocess.run", "subprocess.Popen", "builtins.eval",
    "builtins.exec", "shutil.rmtree", "pickle.loads", "importlib.import_module", "runpy.run_path", "ctypes.CDLL",
)  # fmt: skip


@pytest.fixture
def planted(tmp_path):
    """The object, which makes this folder if it is unpickled."""
    return Planted(tmp_path / "planted")


@pytest.fixture
def unopened(tmp_path):
    """Afterwards no planted code has run."""
    yield
    assert not (tmp_path / "planted").exists()


def pickled_by_torch(path, planted):
    torch.save({"state_dict": planted, "tensors": planted, "key": "key"}, path)
    return path


def pickled(path, planted):
    path.write_bytes(pickle.dumps(planted, protocol=2))


def recipe():
    return composition.build(compose_settings(*TINY, "tracking=none", "model.width=4")).parts.recipe


def test_the_planted_code_runs_where_a_file_is_unpickled(planted, tmp_path):
    pickle.loads(pickle.dumps(planted))
    assert (tmp_path / "planted").is_dir()


@pytest.mark.usefixtures("unopened")
@pytest.mark.parametrize(
    "write", [pickled_by_torch, lambda path, planted: path.write_bytes(pickle.dumps(planted, protocol=2))]
)
def test_a_checkpoint_with_code_is_refused_unopened(tmp_path, planted, write):
    write(path := tmp_path / "model.ckpt", planted)
    own = recipe()
    with pytest.raises(UsageError, match=r"model\.ckpt is missing or damaged"):
        load_stored(own, path)
    with pytest.raises(UsageError, match=r"model\.ckpt cannot be begun with"):
        begin_with(own.model(), path)


@pytest.mark.usefixtures("unopened")
def test_a_shared_generation_0_with_code_is_not_opened(tmp_path, planted):
    with pytest.raises(DAMAGE):
        load(recipe(), pickled_by_torch(tmp_path / "model.ckpt", planted).read_bytes())


@pytest.mark.usefixtures("unopened")
def test_samples_with_code_are_refused_unopened(tmp_path, planted):
    folder = tmp_path / "run" / "generation_000"
    folder.mkdir(parents=True)
    array = np.array([planted], dtype=object)
    np.savez(folder / "samples.npz", samples=array, strip=array)
    with pytest.raises(UsageError, match="samples of generation 0 are missing or damaged"):
        RunFolder(tmp_path / "run").synthetic(0)
    assert stored_images(tmp_path / "run", 0, "strip") is None


@pytest.mark.usefixtures("unopened")
def test_a_measuring_stick_with_code_is_refused_unopened(tmp_path, planted):
    path = tmp_path / "digits.safetensors"
    path.write_bytes(pickle.dumps(planted))
    with pytest.raises(UsageError, match="is damaged: install collapsar anew"):
        read_stick(path)


@pytest.mark.usefixtures("unopened")
def test_weights_of_a_published_network_with_code_are_refused_unopened(tmp_path, planted):
    with pytest.raises(UsageError, match="not a readable file of weights"):
        load_weights(pickled_by_torch(tmp_path / "weights.pth", planted))


@pytest.mark.usefixtures("unopened")
def test_a_cached_space_with_code_is_computed_anew(tmp_path, planted):
    path = pickled_by_torch(tmp_path / "space.pt", planted)
    found = load_or_compute(path, key="key", compute=lambda: {"weight": torch.ones(1)})
    assert found["weight"].tolist() == [1.0]


@pytest.mark.usefixtures("unopened")
def test_settings_with_code_are_refused_unopened(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"name: !!python/object/apply:os.mkdir ['{tmp_path / 'planted'}']\n")
    with pytest.raises(UsageError, match="is damaged"):
        read_config(path)


@pytest.mark.usefixtures("unopened")
@pytest.mark.parametrize("target", TARGETS)
def test_a_target_that_acts_on_the_machine_is_refused_in_one_line(collapsar, tiny, tmp_path, target):
    call = f"{{_target_:{target},_args_:['mkdir {tmp_path / 'planted'}']}}"
    code, stderr = collapsar(*tiny, "tracking=none", f"trainer.callbacks=[{call}]")
    assert code == 2
    assert len(stderr.splitlines()) == 1
    assert target.rpartition(".")[2] in stderr


def test_a_message_shows_control_codes_as_text(collapsar, tiny):
    code, stderr = collapsar(*tiny, "tracking=none", f"dry_run='{EVIL}'")
    assert code == 2
    assert stderr.rstrip("\n").isprintable()


def test_printable_text_keeps_letters_of_all_scripts():
    assert printable("é ☃ 漢字\n  b") == "é ☃ 漢字 b"
    assert printable(EVIL) == r"a\x1b[31mb\x07\u202ec"


@pytest.mark.parametrize("name", ["..", "a/b", "a\\b", EVIL, "a\nb", ""])
def test_a_study_that_would_lead_elsewhere_or_hold_control_codes_is_refused(collapsar, tiny, name):
    code, stderr = collapsar(*tiny, "tracking=none", f'name="{name}"')
    assert code == 2
    assert "name must be the name of one folder" in stderr


@pytest.fixture(scope="module")
def foreign_run(tmp_path_factory):
    """A run folder whose names somebody chose with care."""
    folder = tmp_path_factory.mktemp("foreign")
    build_and_run(folder / "run", *TINY, "tracking=none", "num_generations=1", "name='<b>bold'")
    path = folder / "run" / "records.jsonl"
    record = json.loads(path.read_text()) | {"model": "<i>vae</i>", "regime": f"[bold]{EVIL}[/bold]"}
    del record["checksum"]
    path.write_text(json.dumps(record) + "\n")
    (folder / "run" / "status.json").write_text(json.dumps({"state": "failed", "message": EVIL}))
    return folder


def test_a_page_shows_markup_in_names_as_text(foreign_run):
    page = write_report([foreign_run], foreign_run / "report.html").read_text()
    assert "<b>bold" not in page
    assert "<i>vae" not in page
    assert "&lt;b&gt;bold" in page
    assert "&lt;i&gt;vae&lt;/i&gt;" in page


def test_a_table_on_the_terminal_shows_control_codes_and_markup_as_text(foreign_run):
    shown = io.StringIO()
    Console(file=shown, width=200).print(report_tables(read_study([foreign_run])))
    assert set(shown.getvalue()) - {"\n"} == {char for char in shown.getvalue() if char.isprintable()}
    assert "[bold]a" in shown.getvalue()


def test_a_page_runs_no_script_but_its_own(foreign_run):
    page = write_report([foreign_run], foreign_run / "report.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    (allowed,) = (rule for rule in policy.split("; ") if rule.startswith("script-src"))
    assert re.fullmatch(r"script-src( 'sha256-[A-Za-z0-9+/]{43}='){3}", allowed)
