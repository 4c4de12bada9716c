"""Chains that are mirrored to CSV and TensorBoard files in their run folder."""

import csv
import io
import signal
import struct

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image

from collapsar.journal.file_tracking import EventFile, GrowingTable, crc32c
from collapsar.journal.rows import panel_key
from collapsar.machine import signals
from collapsar.models.learned import LearnedModel
from collapsar.training import train as train_module
from tiny_chains import build_and_run, fail_in

LONG = ("trainer.max_steps=45",)


def killed_and_continued(folder, monkeypatch, *overrides):
    with monkeypatch.context() as patched:
        patched.setattr(train_module, "train", fail_in(1))
        with pytest.raises(KeyboardInterrupt):
            build_and_run(folder, *overrides)
    return build_and_run(folder, *overrides)


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_csv_files_hold_every_metric_and_every_reading_once_though_the_chain_was_killed(tiny, tmp_path, monkeypatch):
    records = killed_and_continued(tmp_path / "run", monkeypatch, *tiny, *LONG, "tracking=csv")
    metrics, losses = rows_of(tmp_path / "run" / "metrics.csv"), rows_of(tmp_path / "run" / "losses.csv")
    for record, row in zip(records, metrics, strict=True):
        assert int(row["generation"]) == record.generation
        assert {key: float(row[key]) for key in record.metrics} == record.metrics
    assert [float(row["total_step"]) for row in losses] == [20, 40, 45, 65, 85, 90]
    assert [int(row["generation"]) for row in losses] == [0, 0, 0, 1, 1, 1]
    assert all(float(row[key]) > 0 for row in losses for key in ("loss", "learning_rate", "gradient_norm"))


def test_losses_of_a_csv_file_are_there_while_a_generation_trains(tiny, tmp_path, monkeypatch):
    original, seen = train_module.train, []

    def train(recipe, pool, **arguments):
        on_reading = arguments["on_reading"]

        def noted(reading):
            on_reading(reading)
            seen.append(len(rows_of(tmp_path / "run" / "losses.csv")))

        return original(recipe, pool, **(arguments | {"on_reading": noted}))

    monkeypatch.setattr(train_module, "train", train)
    build_and_run(tmp_path / "run", *tiny, *LONG, "tracking=csv")
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_generation_that_is_stopped_in_the_middle_and_continued_has_each_reading_once(tiny, tmp_path, monkeypatch):
    overrides, steps, original = (*tiny, *LONG, "tracking=csv"), [], LearnedModel.training_step

    def training_step(self, batch, batch_idx):
        steps.append(self.global_step)
        if len(steps) == 45 + 30:
            signal.raise_signal(signal.SIGTERM)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(LearnedModel, "training_step", training_step)
    with signals.catch_signals(), pytest.raises(signals.Stopped):
        build_and_run(tmp_path / "run", *overrides)
    assert [float(row["total_step"]) for row in rows_of(tmp_path / "run" / "losses.csv")] == [20, 40, 45, 65]
    build_and_run(tmp_path / "run", *overrides)
    assert steps[75] == 30
    build_and_run(tmp_path / "whole", *overrides)
    assert rows_of(tmp_path / "run" / "losses.csv") == rows_of(tmp_path / "whole" / "losses.csv")


def test_a_table_that_gets_a_new_column_keeps_its_rows(tmp_path):
    table = GrowingTable(tmp_path / "a.csv")
    for row in ({"a": 1}, {"b": 2.5, "a": 3}, {"b": 4}):
        table.add(row)
    assert rows_of(tmp_path / "a.csv") == [{"a": "1", "b": ""}, {"a": "3", "b": "2.5"}, {"a": "", "b": "4"}]


# TensorBoard's files, read with a protocol buffer that is described here from its own .proto files


def event_class():
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, field, kind, of in fields:
            label = kinds.LABEL_REPEATED if of.endswith("*") else kinds.LABEL_OPTIONAL
            type_name = {"type_name": f".t.{of.rstrip('*')}"} if of else {}
            made.field.add(name=field, number=number, type=kind, label=label, **type_name)

    message(
        "Image",
        (1, "height", kinds.TYPE_INT32, ""),
        (2, "width", kinds.TYPE_INT32, ""),
        (3, "colorspace", kinds.TYPE_INT32, ""),
        (4, "encoded_image_string", kinds.TYPE_BYTES, ""),
    )
    message(
        "Value",
        (1, "tag", kinds.TYPE_STRING, ""),
        (2, "simple_value", kinds.TYPE_FLOAT, ""),
        (4, "image", kinds.TYPE_MESSAGE, "Image"),
    )
    message("Summary", (1, "value", kinds.TYPE_MESSAGE, "Value*"))
    message(
        "Event",
        (1, "wall_time", kinds.TYPE_DOUBLE, ""),
        (2, "step", kinds.TYPE_INT64, ""),
        (3, "file_version", kinds.TYPE_STRING, ""),
        (5, "summary", kinds.TYPE_MESSAGE, "Summary"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))


def masked(content):
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events_of(folder):
    (path,) = folder.glob("events.out.tfevents.*")
    content, event, position, events = path.read_bytes(), event_class(), 0, []
    while position < len(content):
        length, of_length = struct.unpack_from("<QI", content, position)
        assert of_length == masked(content[position : position + 8])
        body = content[position + 12 : position + 12 + length]
        assert struct.unpack_from("<I", content, position + 12 + length)[0] == masked(body)
        events.append(event.FromString(body))
        position += 16 + length
    return events


def test_the_checksum_is_that_of_rfc_3720():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_scalars_and_pictures_of_an_event_file_are_read_back(tmp_path):
    file = EventFile(tmp_path)
    file.add_scalars({"a/b": 0.25, "c": -3.0}, step=300)
    file.add_picture("p", Image.new("L", (5, 3), 77), step=2)
    file.close()
    version, scalars, picture = events_of(tmp_path)
    assert (version.file_version, scalars.step, picture.step) == ("brain.Event:2", 300, 2)
    assert {value.tag: value.simple_value for value in scalars.summary.value} == {"a/b": 0.25, "c": -3.0}
    image = picture.summary.value[0].image
    assert (image.height, image.width, image.colorspace) == (3, 5, 3)
    assert Image.open(io.BytesIO(image.encoded_image_string)).getpixel((0, 0)) == (77, 77, 77)


def test_tensorboard_has_every_generation_and_reading_once_though_the_chain_was_killed(tiny, tmp_path, monkeypatch):
    records = killed_and_continued(tmp_path / "run", monkeypatch, *tiny, *LONG, "tracking=tensorboard")
    events = events_of(tmp_path / "run" / "tensorboard")
    points = [(value.tag, event.step, value) for event in events for value in event.summary.value]
    assert [(step, pytest.approx(value.simple_value)) for tag, step, value in points if tag == "recall"] == [
        (record.generation, record.metrics["recall"]) for record in records
    ]
    assert [step for tag, step, _ in points if tag == "training/loss"] == [20, 40, 45, 65, 85, 90]
    assert [step for tag, step, _ in points if tag == "pictures/strip"] == [0, 1]
    tags = {tag for tag, _, _ in points}
    assert {panel_key(key) for key in records[0].metrics if not key.endswith("_floor")} <= tags
    assert len(points) == len({(tag, step) for tag, step, _ in points})
