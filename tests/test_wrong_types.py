"""What Python hands over in another type is refused by name, in a process in which nothing else checks types."""

import json
import subprocess
import sys

WRONG = """
import json
from collapsar import NeighbourMetric, UsageError, read_study, run, score
from collapsar.report.exports import read_dataset

calls = [
    *((read_study, (given,), {}, "folders must be a path, or a list of paths") for given in (5, None, [None], b"x")),
    *((run, (given,), {}, "overrides has a wrong value") for given in ("data=gaussian", 5, None, [5], {"data": "x"})),
    (run, (), {"is_multirun": "yes"}, "is_multirun has a wrong value: got 'yes'; input should be a valid boolean"),
    *((score, ("a", "b"), {"settings": given}, "settings has a wrong value") for given in ("x.y=3", [3], None)),
    *((score, ("a", "b"), {"space": given}, "space has a wrong value") for given in (5, [None], None)),
    *((score, ("a", "b"), {"resize": given}, "resize has a wrong value") for given in ("8", 1.5, True)),
    *((score, ("a", "b"), {name: 5}, f"{name} has a wrong value: got 5") for name in ("stick", "evaluation")),
    *((NeighbourMetric, (), {"num_neighbours": given}, "num_neighbours must be a finite") for given in ("5", None)),
    (read_dataset, (None,), {}, "None is no data set"),
]
found = []
for function, given, named, text in calls:
    try:
        function(*given, **named)
    except UsageError as error:
        found.append([str(error).startswith(text) and "\\n" not in str(error), text, str(error)])
print(json.dumps([len(calls), found]))
"""


def test_an_argument_of_another_type_is_a_usage_error_that_names_it(tmp_path):
    done = subprocess.run([sys.executable, "-c", WRONG], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    num_calls, found = json.loads(done.stdout)
    assert len(found) == num_calls
    assert [(text, error) for is_named, text, error in found if not is_named] == []
