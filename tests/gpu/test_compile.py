"""The kernels compile for a GPU where there is none: Triton's compiler needs no device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("triton", reason="needs triton, the compiler of the GPU kernels")

# Each case in a process of its own, without the interpreter.
CODE = """
import json, os, pathlib, subprocess, sys, tempfile, warnings
warnings.simplefilter("ignore")
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from softmax._kernels.gpu import launch, losses, rows

def compile(kernel, dtype, length, **own):
    mode = {"bf16": launch.NARROW, "fp32": launch.DOUBLE, "fp64": launch.FULL}[dtype]
    if own.get("CAP") and mode == launch.NARROW:
        mode = launch.DOUBLE
    way = launch.choose(length, 10000, mode, False, 132)
    constants = dict.fromkeys(
        ("PROBABILITIES", "SMOOTH", "WEIGHT", "CAP", "Z_LOSS", "IGNORE", "GRAD", "EXTRAS", "MASK"), False)
    constants |= dict(SCALE=0, TEMPERATURE=0, PHASE=0, FUNCTION=0, MODE=mode, INDEX=tl.int32, ONE_BLOCK=way.one_block)
    constants |= dict(ACC=tl.float32 if mode == launch.NARROW else tl.float64, ROWS=way.rows, COLUMNS=way.columns)
    constants |= {name: 1 for name in kernel.arg_names if name.endswith("_step") or name == "inner"} | own
    constants = {name: value for name, value in constants.items() if value is not None}
    types = {}
    if own.get("INDEX"):
        constants["INDEX"] = tl.int64
        types |= dict.fromkeys(("n", "x_outer", "out_outer", "grad_outer"), "i64")
    wide = "*fp64" if dtype == "fp64" else "*fp32"
    types |= dict.fromkeys(("x", "g", "out", "grad"), "*" + dtype)
    types |= dict.fromkeys(("loss", "weight", "row_scale"), wide)
    types |= dict(where="*u8", states="*fp64", per_row="*fp64", extras=wide, argmax="*i64", ignore="i64")
    types |= dict.fromkeys(("temperature", "scale", "softcap", "smoothing", "z_loss"), "fp64")
    types["target"] = wide if own.get("PROBABILITIES") else "*i64"
    types["out"] = types["x"]
    names = kernel.arg_names
    signature = {n: "constexpr" if n in constants else types.get(n, "i32") for n in names}
    aligned = [n for n in names if signature[n].startswith("*") or n in ("n", "inner") or n.endswith("er")]
    attributes = {(names.index(n),): [["tt.divisibility", 16]] for n in aligned}
    source = triton.compiler.ASTSource(
        fn=kernel, signature=signature, attrs=attributes,
        constexprs={(names.index(n),): value for n, value in constants.items() if n in names})
    options = {"num_warps": way.warps, "enable_fp_fusion": False}
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        cubin = pathlib.Path(folder, "kernel.cubin")
        cubin.write_bytes(built.asm["cubin"])
        tool = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        done = subprocess.run([tool, "--dump-resource-usage", cubin], capture_output=True, text=True)
    usage = dict(word.split(":") for word in done.stdout.split() if word.startswith(("REG:", "STACK:")))
    vectors = built.asm["ptx"].count(".v4") + built.asm["ptx"].count(".v2.b64")
    return {name: int(value) for name, value in usage.items()} | {"vectors": vectors}

found = {}
for name, (kernel, dtype, length, own) in json.loads(sys.argv[1]).items():
    kernel = {"forward": rows.forward_kernel, "product": rows.product_kernel, "loss": losses.loss_kernel}[kernel]
    found[name] = compile(kernel, dtype, length, **own)
print(json.dumps(found))
"""

CASES: dict[str, Any] = {
    f"{kernel} {dtype} {n}": (kernel, dtype, n, own)
    for kernel, own in (("forward", {}), ("product", {"FUNCTION": 3}), ("loss", {"GRAD": True, "IGNORE": True}))
    for dtype, lengths in (("bf16", (16384, 131072)), ("fp32", (1000, 8192, 262144)), ("fp64", (4096,)))
    for n in lengths
}
PHASES: dict[str, Any] = {
    f"{kernel} {name}": (kernel, "bf16", 131072, own | ({"GRAD": True, "IGNORE": True} if kernel == "loss" else {}))
    for kernel in ("forward", "product", "loss")
    for name, own in (("partial", {"PHASE": 1}), ("finish", {"PHASE": 2}), ("far", {"INDEX": "int64"}))
}
EVERYTHING = ("PROBABILITIES", "SMOOTH", "WEIGHT", "CAP", "Z_LOSS", "GRAD", "EXTRAS", "MASK")
OTHERS: dict[str, Any] = {
    "logsumexp": ("forward", "bf16", 4096, {"FUNCTION": 2}),
    "log_softmax masked": ("forward", "fp32", 4096, {"FUNCTION": 1, "MASK": True, "TEMPERATURE": 1}),
    "residual": ("product", "fp32", 4096, {"FUNCTION": 5, "MASK": True, "TEMPERATURE": 2}),
    # an integer argument that is 1 is a constant
    **{
        f"{kernel} of one entry": (kernel, "fp32", 1, {"n": 1, "MASK": True})
        for kernel in ("forward", "product", "loss")
    },
    **{f"{kernel} of one row": (kernel, "bf16", 131072, {"n_rows": 1}) for kernel in ("forward", "product", "loss")},
    **{f"{kernel} of inner rows": (kernel, "bf16", 50, {"inner": None}) for kernel in ("forward", "product", "loss")},
    "loss of everything": ("loss", "bf16", 4096, dict.fromkeys(EVERYTHING, True) | {"TEMPERATURE": 2, "SCALE": 2}),
    "loss of everything in blocks": ("loss", "fp32", 50257, dict.fromkeys(EVERYTHING, True) | {"SCALE": 1}),
}


def compiled(cases: dict[str, Any]) -> dict[str, dict[str, int]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(cases)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, int]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_kernels_of_long_rows_keep_them_in_registers() -> None:
    """On a Hopper GPU, as far as the assembler tells: no row is spilled, and memory is read 16 bytes at a time."""
    for name, usage in compiled(CASES).items():
        assert usage["STACK"] <= 16, (name, usage)
        assert usage["vectors"] > 0, (name, usage)


def test_every_phase_and_option_compiles() -> None:
    found = compiled(PHASES | OTHERS)
    assert all(usage["REG"] > 0 for usage in found.values())
