"""What most chains import; the fork server imports it once for all its processes."""

import gc

import lightning.pytorch  # noqa: F401
import torchmetrics  # noqa: F401

import collapsar.chain.run
import collapsar.config.composition
import collapsar.config.experiment
import collapsar.config.forecast
import collapsar.jobs.job
import collapsar.report.page
import collapsar.report.tables
import collapsar.training.train  # noqa: F401

gc.freeze()  # a fork that collects garbage would copy every page of these objects
