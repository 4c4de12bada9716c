"""The types of the names that `__init__.py` imports when they are first used."""

from collapsar.foundations.errors import UsageError as UsageError
from collapsar.foundations.samples import Samples as Samples
from collapsar.foundations.samples import to_model_range as to_model_range
from collapsar.judging.metric_modules import Coverage as Coverage
from collapsar.judging.metric_modules import Density as Density
from collapsar.judging.metric_modules import ImprovedPrecision as ImprovedPrecision
from collapsar.judging.metric_modules import ImprovedRecall as ImprovedRecall
from collapsar.judging.metric_modules import NeighbourMetric as NeighbourMetric
from collapsar.library.composing import make_model as make_model
from collapsar.library.composing import run as run
from collapsar.library.pools import PoolDataModule as PoolDataModule
from collapsar.models.flow.flow import Flow as Flow
from collapsar.models.gan.gan import GAN as GAN
from collapsar.models.plan import Plan as Plan
from collapsar.models.vae.vae import VAE as VAE
from collapsar.scoring.measure import score as score
from collapsar.study.study import Study as Study
from collapsar.study.study import read_study as read_study

__version__: str
HOMES: dict[str, str]
