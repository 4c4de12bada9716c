"""Published networks: read from files, fed what they expect, and never replaced by random weights."""

import sys
import urllib.error

import pytest
import torch

from collapsar.data.real_data import RealData
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.judging.spaces.pretrained import INCEPTION_FILE, DinoV2Space, InceptionSpace

CPU = torch.device("cpu")
HUBCONF = """
import torch

class Patchless(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, images):
        assert images.shape[1:] == (3, 224, 224)
        return self.scale * images.mean(dim=(2, 3))

def dinov2_vits14(pretrained=True):
    if pretrained:
        raise OSError("no route to host")
    return Patchless()
"""


@pytest.fixture
def real():
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return RealData(train=Samples(images), test=Samples(images), num_classes=0)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """The architecture's own random weights: enough to test the reading and what goes in."""
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    path = tmp_path_factory.mktemp("weights") / INCEPTION_FILE
    torch.save(network.state_dict(), path)
    return path


def test_inception_features_are_those_of_torch_fidelity(real, inception_weights, tmp_path):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    space = InceptionSpace(weights_path=str(inception_weights), chunk_size=2).fit(real, device=CPU, cache_dir=tmp_path)
    reference = FeatureExtractorInceptionV3(
        "reference", ["2048"], feature_extractor_weights_path=str(inception_weights)
    )
    (expected,) = reference(real.test.values.expand(-1, 3, -1, -1))
    torch.testing.assert_close(space.extract(real.test.values), expected, rtol=1e-4, atol=1e-5)


def test_inception_without_network_names_the_file(real, no_network, tmp_path):
    with pytest.raises(UsageError, match=rf"no route to host.*put {INCEPTION_FILE} .*hub/checkpoints, or set weights"):
        InceptionSpace(weights_path=None, chunk_size=2).fit(real, device=CPU, cache_dir=tmp_path)


def test_inception_without_torch_fidelity_says_what_to_install(real, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(UsageError, match=r"pip install collapsar\[inception\]"):
        InceptionSpace(weights_path=None, chunk_size=2).fit(real, device=CPU, cache_dir=tmp_path)


def test_missing_truncated_and_wrong_weights_are_refused(real, inception_weights, tmp_path):
    def fit(path):
        InceptionSpace(weights_path=str(path), chunk_size=2).fit(real, device=CPU, cache_dir=tmp_path)

    with pytest.raises(UsageError, match="weights file not found"):
        fit(tmp_path / "absent.pth")
    truncated = tmp_path / "truncated.pth"
    truncated.write_bytes(inception_weights.read_bytes()[:10_000])
    with pytest.raises(UsageError, match="not a readable file of weights"):
        fit(truncated)
    foreign = tmp_path / "foreign.pth"
    torch.save({"weight": torch.zeros(1)}, foreign)
    with pytest.raises(UsageError, match="the inception network cannot be loaded"):
        fit(foreign)


def test_weights_that_hold_code_are_refused(real, tmp_path):
    torch.save({"weight": pytest.approx}, tmp_path / "code.pth")
    with pytest.raises(UsageError, match="not a readable file of weights"):
        InceptionSpace(weights_path=str(tmp_path / "code.pth"), chunk_size=2).fit(real, device=CPU, cache_dir=tmp_path)


def dinov2(repository, weights_path=None):
    return DinoV2Space(
        model="dinov2_vits14",
        repository=str(repository) if repository else None,
        weights_path=str(weights_path) if weights_path else None,
        chunk_size=2,
    )


def test_dinov2_sees_normalised_colour_of_its_size(real, tmp_path):
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    torch.save({"scale": torch.full((1,), 2.0)}, tmp_path / "weights.pth")
    space = dinov2(tmp_path, tmp_path / "weights.pth").fit(real, device=CPU, cache_dir=tmp_path)
    grey = torch.full((1, 1, 8, 8), 51, dtype=torch.uint8)
    expected = 2 * (0.2 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert space.feature_dim == 3
    torch.testing.assert_close(space.extract(grey)[0], expected, rtol=1e-4, atol=1e-4)


def test_dinov2_that_cannot_be_had_says_what_to_set(real, no_network, tmp_path):
    with pytest.raises(UsageError, match=r"dinov2 network cannot be loaded .*set repository .*dinov2_vits14_pretrain"):
        dinov2(None).fit(real, device=CPU, cache_dir=tmp_path)
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    with pytest.raises(UsageError, match=r"no route to host.*weights_path"):
        dinov2(tmp_path).fit(real, device=CPU, cache_dir=tmp_path)


def test_folder_that_is_no_clone_is_refused(real, tmp_path):
    with pytest.raises(UsageError, match=r"no hubconf\.py in"):
        dinov2(tmp_path).fit(real, device=CPU, cache_dir=tmp_path)
