"""The names of `softmax.nn`: sorted, each loaded on first use, and PyTorch only where one needs it."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import softmax as sm

NAMES = ("CrossEntropyLoss", "LinearCrossEntropy", "NeuralSoftmaxClassifier", "SoftmaxOutput", "TopK")


def test_the_names():
    assert tuple(sm.nn.__all__) == NAMES
    assert "nn" in dir(sm)
    assert set(NAMES) <= set(dir(sm.nn))
    with pytest.raises(AttributeError, match="Softmax2d"):
        _ = sm.nn.Softmax2d


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_called_what_it_says(name):
    assert getattr(sm.nn, name).__name__ == name
    assert getattr(sm.nn, name).__module__.startswith("softmax.nn.")


def test_type_checkers_see_each_name_where_it_is_loaded_from():
    tree = ast.parse(Path(sm.nn.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert {alias.name: node.module for node in block.body for alias in node.names} == sm.nn._LAZY


@pytest.mark.parametrize(
    ("use", "loaded"), [("softmax.nn", False), ("softmax.nn.NeuralSoftmaxClassifier", False), ("softmax.nn.TopK", True)]
)
def test_what_loads_pytorch(use, loaded):
    code = f"import sys, softmax; {use}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(loaded)


def test_options_are_given_by_keyword():
    def positional(module):
        parameters = inspect.signature(module).parameters.values()
        return [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]

    assert positional(sm.nn.CrossEntropyLoss) == list(inspect.signature(sm.nn.CrossEntropyLoss.__base__).parameters)
    assert positional(sm.nn.LinearCrossEntropy) == ["in_features", "num_classes", "bias"]
    assert positional(sm.nn.SoftmaxOutput) == ["in_features", "num_classes", "bias"]
    assert positional(sm.nn.NeuralSoftmaxClassifier) == ["hidden_layer_sizes"]
