"""Documented names of 0.1.0 whose code has moved still import."""

from oarseg.evaluation.evaluate import EvaluationJob, Job
from oarseg.images import read
from oarseg.inference import measure as old_measure
from oarseg.inference import read as old_read
from oarseg.inference.report import content


def test_moved_names_are_the_same_objects() -> None:
    assert old_read.read_image is read.read_image and old_read.CtImage is read.CtImage
    assert old_measure.Measure is content.Measure and old_measure.measure is content.measure
    assert Job is EvaluationJob
