"""The benchmarks: a sane registry, a gate that refuses what is wrong, tables that come from the result file alone."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("benchmarks", reason="the benchmarks are not part of an installed package: run from the checkout")

from benchmarks import exact, goals, run, start_up, table, timing, truth, worker
from benchmarks.machine import describe
from benchmarks.registry import CASES, FLOAT_DTYPES, OPERATIONS, TRAFFIC, Case, inputs, select
from benchmarks.rivals import Implementation

SMALL = {operation: Case("T", operation, (6, 50)) for operation in OPERATIONS}


def right(case: Case, arrays: dict) -> tuple:
    """Return the exact result, rounded once: what the gate must let through."""
    expected = truth.truth(case, arrays)
    dtype = arrays["x"].dtype
    results = [np.asarray(high + low).astype(dtype) for high, low in expected.exact]
    if case.operation == "logsumexp":
        return (results[0].reshape(-1),)
    if case.operation == "cross_entropy_and_grad":
        return results[0].reshape(()), results[1]
    return (np.moveaxis(results[0].reshape(np.moveaxis(arrays["x"], case.axis, -1).shape), -1, case.axis),)


class TestRegistry:
    def test_names_are_unique(self):
        names = [case.id for case in CASES]
        assert len(set(names)) == len(names)

    def test_every_group_operation_and_shape_is_there(self):
        assert {case.group for case in CASES} == {f"B{n}" for n in range(1, 9)}
        assert (
            {case.operation for case in CASES}
            == set(OPERATIONS)
            == set(TRAFFIC)
            == set(exact.ROUGH)
            == set(exact.EXACT)
        )
        softmax = {(case.shape, case.axis) for case in CASES if case.operation == "softmax"}
        assert softmax >= {((8,), -1), ((1000, 10), -1), ((100_000, 10), -1), ((1000, 1000), -1), ((32, 32_000), -1)}
        assert softmax >= {((1, 1_000_000), -1), ((1, 10_000_000), -1), ((1000, 1000), 0), ((64, 81, 8732), 1)}

    def test_quick_cases_touch_every_operation(self):
        assert {case.operation for case in select(quick=True)} == set(OPERATIONS)

    @pytest.mark.parametrize("case", [case for case in CASES if case.size <= 10_000], ids=lambda case: case.id)
    @pytest.mark.parametrize("dtype", FLOAT_DTYPES)
    def test_inputs_repeat_and_can_fail(self, case, dtype):
        first, second = inputs(case, dtype), inputs(case, dtype)
        assert all(np.array_equal(first[name], second[name]) for name in first)
        assert first["x"].dtype == dtype
        assert first["x"].shape == case.shape
        p = exact.softmax(truth.by_rows(first["x"], case.axis))[0]
        assert p.max() > 0.5, "logits so flat that 1/n would nearly be right"

    @pytest.mark.parametrize("operation", ["softmax_vjp", "cross_entropy_and_grad", "masked_softmax"])
    def test_second_input(self, operation):
        arrays = inputs(SMALL[operation], "float32")
        assert len(arrays) == 2
        if operation == "masked_softmax":
            assert 0.3 < arrays["where"].mean() < 0.7

    def test_losses_are_checked_on_all_rows(self):
        for case in CASES:
            if case.operation == "cross_entropy_and_grad":
                assert len(truth.chosen_rows(case, "float64")) == case.size // case.classes

    def test_bytes(self):
        assert Case("T", "softmax", (10, 10)).bytes_moved("float32") == 800
        assert Case("T", "masked_softmax", (10, 10)).bytes_moved("float64") == 1700

    def test_unknown_case_is_named(self):
        with pytest.raises(ValueError, match="no case matches"):
            select(["B99"])


class TestExact:
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_against_mpmath(self, operation):
        mpmath = pytest.importorskip("mpmath")
        arrays = inputs(Case("T", operation, (2, 7)), "float64")
        found, rough = exact.EXACT[operation](**arrays), exact.ROUGH[operation](**arrays)
        tiny, small = mpmath.mpf(2) ** -65, mpmath.mpf(2) ** -24 * 1e-6
        with mpmath.workdps(50):
            for row in range(2):
                x = [mpmath.mpf(float(value)) for value in arrays["x"][row]]
                keep = arrays.get("where", np.ones((2, 7), bool))[row]
                e = [mpmath.exp(value) if k else mpmath.mpf(0) for value, k in zip(x, keep, strict=True)]
                total = mpmath.fsum(e)
                p = [value / total for value in e]
                if operation == "log_softmax":
                    expected = [[value - mpmath.log(total) for value in x]]
                elif operation == "logsumexp":
                    expected = [[mpmath.log(total)]]
                elif operation == "softmax_vjp":
                    g = [mpmath.mpf(float(value)) for value in arrays["g"][row]]
                    dot = mpmath.fdot(p, g)
                    expected = [[q * (value - dot) for q, value in zip(p, g, strict=True)]]
                elif operation == "cross_entropy_and_grad":
                    target = arrays["target"][row]
                    expected = [[mpmath.log(total) - x[target]], [q - (j == target) for j, q in enumerate(p)]]
                else:
                    expected = [p]
                for high, low, plain, want in zip(found[::2], found[1::2], rough, expected, strict=True):
                    for a, b, rounded, value in zip(high[row], low[row], plain[row], want, strict=True):
                        assert abs(mpmath.mpf(float(a)) + mpmath.mpf(float(b)) - value) <= abs(value) * tiny
                        assert abs(mpmath.mpf(float(rounded)) - value) <= abs(value) * small


class TestGate:
    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize("dtype", FLOAT_DTYPES)
    def test_lets_the_right_result_through(self, operation, dtype):
        case = SMALL[operation]
        arrays = inputs(case, dtype)
        verdict = truth.judge(right(case, arrays), truth.truth(case, arrays))
        assert verdict.passed, verdict.reason
        assert verdict.error <= 0.51

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_any_axis(self, axis):
        case = Case("T", "softmax", (3, 4, 5), axis=axis)
        arrays = inputs(case, "float32")
        verdict = truth.judge(right(case, arrays), truth.truth(case, arrays))
        assert verdict.passed, verdict.reason

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize("dtype", FLOAT_DTYPES)
    @pytest.mark.parametrize("entry", [0, -1], ids=["first", "last"])
    @pytest.mark.parametrize("ulps", [6, 1e9, np.nan], ids=["6 ulp", "far", "nan"])
    def test_refuses_one_wrong_entry(self, operation, dtype, entry, ulps):
        case = SMALL[operation]
        arrays = inputs(case, dtype)
        results = tuple(np.array(value) for value in right(case, arrays))
        flat = results[-1].reshape(-1)
        largest = np.abs(truth.by_rows(results[-1], -1)[entry]).max() if results[-1].ndim > 1 else flat[entry]
        unit = np.spacing(largest if operation == "softmax_vjp" else flat[entry])
        flat[entry] += unit * ulps
        verdict = truth.judge(results, truth.truth(case, arrays))
        assert not verdict.passed
        assert verdict.reason

    @pytest.mark.parametrize("operation", ["softmax", "log_softmax", "masked_softmax", "softmax_vjp"])
    def test_refuses_a_constant(self, operation):
        case = SMALL[operation]
        arrays = inputs(case, "float32")
        constant = np.full(case.shape, 1 / case.classes, np.float32)
        assert not truth.judge((constant,), truth.truth(case, arrays)).passed

    def test_refuses_the_plain_float32_formula(self):
        case = Case("T", "softmax", (20, 1000))
        x = inputs(case, "float32")["x"]
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        verdict = truth.judge((e / e.sum(axis=-1, keepdims=True),), truth.truth(case, {"x": x}))
        assert not verdict.passed
        assert 2 < verdict.error < 200

    def test_refuses_the_textbook_vjp(self):
        case = SMALL["softmax_vjp"]
        arrays = inputs(case, "float32")
        arrays["g"] += np.float32(1e4)
        p = exact.softmax(arrays["x"])[0].astype(np.float32)
        textbook = p * (arrays["g"] - (p * arrays["g"]).sum(axis=-1, keepdims=True))
        assert not truth.judge((textbook,), truth.truth(case, arrays)).passed
        assert truth.judge(right(case, arrays), truth.truth(case, arrays)).passed

    def test_refuses_the_gradient_p_minus_1(self):
        case = SMALL["cross_entropy_and_grad"]
        x = np.zeros(case.shape, np.float32)
        x[:, 0] = 20
        arrays = {"x": x, "target": np.zeros(len(x), np.int64)}
        loss, grad = right(case, arrays)
        assert truth.judge((loss, grad), truth.truth(case, arrays)).passed
        p = exact.softmax(x)[0].astype(np.float32)
        p[:, 0] -= 1
        assert not truth.judge((loss, p / np.float32(len(x))), truth.truth(case, arrays)).passed

    def test_fast_mode_has_its_own_bound(self, monkeypatch):
        case = SMALL["softmax"]
        arrays = inputs(case, "float32")
        expected = truth.truth(case, arrays)
        p = right(case, arrays)[0]
        off = p + 3 * np.spacing(p)
        assert not truth.judge((off,), expected).passed
        assert truth.judge((off,), expected, precision="fast").passed
        far = p * np.float32(1 + 1e-5)
        assert not truth.judge((far,), expected, precision="fast").passed
        monkeypatch.setattr(truth, "FAST_SUM_BOUND", 1e-8)
        assert "abs(sum - 1)" in truth.judge((off,), expected, precision="fast").reason

    @pytest.mark.parametrize(("top", "passes"), [(-np.log(2), True), (0.0, False)], ids=["cancels", "does not"])
    def test_logsumexp_near_zero(self, top, passes):
        case = Case("T", "logsumexp", (1, 2))
        x = np.array([[top, top]]) + (0 if passes else [[0, -5]]) + 0.01
        expected = truth.truth(case, {"x": x})
        value = expected.exact[0][0].reshape(-1)
        off = value + np.spacing(top) if passes else value + 3 * np.spacing(value)
        assert truth.judge((off,), expected).passed == passes

    def test_portable_kernels_have_a_wider_float64_bound(self):
        assert truth.bound(SMALL["softmax"], "float64") == 2
        assert truth.bound(SMALL["softmax"], "float64", portable=True) == 4
        assert truth.bound(SMALL["softmax"], "float32", portable=True) == 1

    @pytest.mark.parametrize("row", [1, 4])
    def test_rows_outside_the_sample_are_checked_too(self, monkeypatch, row):
        monkeypatch.setattr(truth, "SAMPLE", {"float64": 100})
        case = SMALL["softmax"]
        arrays = inputs(case, "float64")
        expected = truth.truth(case, arrays)
        assert list(expected.rows) == [0, 5]
        p = exact.softmax(arrays["x"])[0]
        p[row] = p[row, ::-1]
        verdict = truth.judge((p,), expected)
        assert not verdict.passed
        assert f"row {row}" in verdict.reason

    @pytest.mark.parametrize(
        "change",
        [lambda p: (p.astype(np.float64),), lambda p: (p[:-1],), lambda p: (p, p)],
        ids=["dtype", "shape", "number"],
    )
    def test_refuses_a_wrong_form(self, change):
        case = SMALL["softmax"]
        arrays = inputs(case, "float32")
        verdict = truth.judge(change(right(case, arrays)[0]), truth.truth(case, arrays))
        assert not verdict.passed


class TestWorker:
    @pytest.fixture(autouse=True)
    def _keep_the_processors_of_the_test(self, monkeypatch):
        monkeypatch.setattr(worker, "pin", lambda threads: None)

    @staticmethod
    def gate(tmp_path, *more):
        output = tmp_path / "records.json"
        status = worker.main(["gate", str(output), "--case", "B2-softmax-1000x10", "--rival", "none", *more])
        return status, json.loads(output.read_text())

    def test_green(self, tmp_path):
        status, records = self.gate(tmp_path)
        assert status == 0
        assert {record["dtype"] for record in records} == set(FLOAT_DTYPES)
        assert all(record["own"] and record["passed"] and record["error"] <= 30 for record in records)

    def test_red_on_a_wrong_kernel(self, tmp_path, monkeypatch):
        import softmax as sm

        monkeypatch.setattr(sm, "softmax", lambda x, **options: np.full_like(x, 1 / x.shape[-1]))
        status, records = self.gate(tmp_path, "--dtype", "float32")
        assert status == 1
        assert run.red(records)[0].startswith("B2-softmax-1000x10 float32 threads=1: softmax: entry")

    def test_known_bits_keep_their_verdict(self, monkeypatch):
        case = SMALL["softmax"]
        arrays = inputs(case, "float32")
        p = right(case, arrays)[0]
        ways = [Implementation("a", lambda: p, lambda r: (r,), own=True)]
        first = worker.gate(case, arrays, ways)
        known = [{"case": case.id, "dtype": "float32"} | record for record in first]
        monkeypatch.setattr(worker, "truth", None)  # not needed again
        assert worker.gate(case, arrays, ways, known)[0]["error"] == first[0]["error"]
        p[0, 0] = 1
        with pytest.raises(TypeError, match="not callable"):
            worker.gate(case, arrays, ways, known)

    def test_the_fingerprint_tells_form_and_bits(self):
        a = np.zeros((2, 3), np.float32)
        assert worker.digest((a,)) == worker.digest((a.copy(order="F"),))
        assert len({worker.digest((b,)) for b in (a, a.reshape(3, 2), -a, a.view(np.int32))}) == 4

    def test_time_records(self):
        ways = [Implementation("a", lambda: None, lambda r: (r,)), Implementation("b", lambda: None, lambda r: (r,))]
        records = worker.clock(ways, quick=True)
        assert [record["name"] for record in records] == ["a", "b"]
        assert all(0 < record["min_s"] <= record["median_s"] and record["rounds"] == 3 for record in records)

    def test_environment_fixes_the_threads_of_all(self):
        chosen = worker.environment(1)
        assert chosen["SOFTMAX_NUM_THREADS"] == chosen["OMP_NUM_THREADS"] == "1"
        assert "multi_thread_eigen=false" in chosen["XLA_FLAGS"]


class TestTiming:
    def test_all_take_turns(self):
        order = []
        ways = [
            Implementation(name, lambda name=name: order.append(name) or sum(range(3000)), lambda r: (r,))
            for name in "ab"
        ]
        effort = timing.Effort(rounds=3, most_rounds=3, least_seconds=1e-4, case_seconds=0)
        seconds = timing.time_interleaved(ways, effort)
        assert [len(seconds[name]) for name in "ab"] == [3, 3]
        turns = [name for name, before in zip(order[1:], order, strict=False) if name != before]
        assert len(turns) >= 3

    def test_context_surrounds_the_clock(self):
        entered = []

        class Context:
            def __enter__(self):
                entered.append(True)

            def __exit__(self, *details):
                entered.append(False)

        way = Implementation("a", lambda: None, lambda r: (r,), context=Context)
        timing.time_interleaved([way], timing.QUICK)
        assert entered == [True, False] * (1 + timing.QUICK.rounds)


def fake_results(slow: float = 1.0) -> dict:
    """Return results as a full run writes them: ours takes `slow` times what every goal allows."""
    gated, timed = [], []
    rivals = {"SciPy": 1e-3, "PyTorch": 1e-4, "ONNX Runtime": 5e-5}
    for case in CASES:
        ours = 1e-5 * slow
        for dtype in FLOAT_DTYPES:
            for threads in (1, 2):
                head = {"case": case.id, "dtype": dtype, "threads": threads}
                for name, seconds in {"softmax": ours, "softmax (fast)": ours, **rivals}.items():
                    own = name.startswith("softmax")
                    gated.append(head | {"name": name, "own": own, "error": 0.512345678, "unit": "ulp"})
                    timed.append(
                        head | {"name": name, "own": own, "min_s": seconds / 2, "median_s": seconds, "rounds": 7}
                    )
    call = {"min_s": 0.1, "median_s": 0.2 * slow, "processor_s": 0.1, "runs": 5}
    memory = {"function": "softmax", "shape": [4000, 4000], "axis": -1, "dtype": "float32", "threads": 1}
    return {
        "date": "2026-01-01",
        "machine": describe(),
        "versions": {"numpy": "2.4"},
        "settings": {"threads": [1, 2], "dtypes": list(FLOAT_DTYPES), "method": ["how"], "notes": {"SciPy": "note"}},
        "times": run.merge(gated, timed),
        "start_up": [
            {"what": "import softmax over numpy", **call, "median_s": 0.05 * slow},
            {"what": "softmax --help", **call},
            {"what": "first call ever", "function": "softmax", "dtype": "float32", **call},
            {"what": "first call of a later process", "function": "softmax", "dtype": "float32", **call},
        ],
        "memory": [memory | {"traced_bytes": 1000, "resident_bytes": int(1e4 * slow), "allowed_bytes": 20_000}],
    }


class TestGoals:
    def test_all_met(self):
        found = goals.outcomes(fake_results())
        assert [outcome for outcome in found if not outcome.met] == []
        assert len(found) == 13

    def test_missed_ones_are_named(self):
        found = goals.outcomes(fake_results(slow=11))
        assert not any(outcome.met for outcome in found if "a call on 8" not in outcome.text)
        first = found[0]
        assert first.measured.startswith(f"0 of {len(first.missed)} within")
        assert "1.10 (B2-softmax-1000x10, float32, 1 thread)" in first.missed

    def test_what_was_not_measured_is_not_met(self):
        results = fake_results() | {"times": [], "start_up": [], "memory": []}
        assert {outcome.measured for outcome in goals.outcomes(results)} == {"not measured"}
        assert not any(outcome.met for outcome in goals.outcomes(results))


class TestTable:
    @pytest.fixture
    def files(self, tmp_path):
        results, page, readme = (tmp_path / name for name in ("cpu.json", "RESULTS.md", "README.md"))
        run.dump(fake_results(), results)
        readme.write_text(f"# Title\n\n{table.BEGIN}\nold\n{table.END}\n\nend\n", encoding="utf-8")
        return results, page, readme

    def test_file_reads_back(self, files):
        assert json.loads(files[0].read_text()) == fake_results()

    def test_written_between_the_markers_twice_the_same(self, files):
        table.write(*files)
        once = [path.read_text() for path in files]
        table.write(*files)
        assert [path.read_text() for path in files] == once
        assert once[2].startswith(f"# Title\n\n{table.BEGIN}\n")
        assert once[2].endswith(f"{table.END}\n\nend\n")
        assert "old" not in once[2]

    def test_figures(self, files):
        table.write(*files)
        page, readme = files[1].read_text(), files[2].read_text()
        assert "| B3 softmax 1 000×1 000 | 0.01 ns · 0.512 | 0.01 ns · 0.512 | 1 ns · 0.512 |" in readme
        assert "| B1 softmax 8 | 10 µs · 0.512 |" in readme
        assert "0.20 (ONNX Runtime)" in readme
        assert "| B3 softmax 1 000×1 000 | PyTorch | 0.1 ns | 0.05 ns | 80 | 0.512 | 2.00 | 1.00 |" in page
        assert page.count("| met |") == 13
        assert "MISSED" not in page

    def test_missed_goals_show(self, files):
        run.dump(fake_results(slow=11), files[0])
        table.write(*files)
        assert "**MISSED**" in files[2].read_text()
        assert "first call ever" in files[1].read_text().split("## Missed")[1].split("## How")[0]

    @pytest.mark.parametrize("text", ["none", table.BEGIN, table.END + table.BEGIN, table.BEGIN * 2 + table.END])
    def test_markers_must_be_there_once(self, text):
        with pytest.raises(ValueError, match="bench:begin"):
            table.replace_between(text, "part")

    def test_no_host_name(self, files):
        table.write(*files)
        node = platform.node()
        assert not node or all(node not in path.read_text() for path in files[:2])

    @pytest.mark.skipif(not table.RESULTS.exists(), reason="no results/cpu.json yet: run make bench")
    def test_committed_tables_equal_the_committed_results(self):
        results = json.loads(table.RESULTS.read_text(encoding="utf-8"))
        assert table.PAGE.read_text(encoding="utf-8") == table.page(results)
        readme = table.README.read_text(encoding="utf-8")
        assert table.replace_between(readme, table.readme_part(results)) == readme


class TestRun:
    @pytest.fixture
    def phases(self, monkeypatch):
        """Replace the worker: records of two implementations, green unless told otherwise."""
        seen = []
        state = {"passed": True}

        def run_worker(phase, threads, extra, known=None):
            seen.append((phase, threads))
            own = {"case": CASES[0].id, "dtype": "float32", "threads": threads, "name": "softmax", "own": True}
            if phase == "gate":
                return [own | {"error": 0.5, "unit": "ulp", "passed": state["passed"], "reason": "9 ulp"}]
            return [own | {"min_s": 1e-6, "median_s": 2e-6, "rounds": 7}]

        monkeypatch.setattr(run, "run_worker", run_worker)
        return seen, state

    def test_no_timing_on_a_red_gate(self, phases, tmp_path, capsys):
        seen, state = phases
        state["passed"] = False
        output = tmp_path / "out.json"
        assert run.main(["--case", "B1", "--threads", "1", "--threads", "2", "--output", str(output)]) == 1
        assert seen == [("gate", 1), ("gate", 2)]
        assert not output.exists()
        assert "B1-softmax-8 float32 threads=1: softmax: 9 ulp" in capsys.readouterr().err

    def test_green_gate_then_time(self, phases, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(run, "settings", lambda *a: {"threads": [1], "dtypes": ["float32"]})
        output = tmp_path / "out.json"
        assert run.main(["--case", "B1", "--threads", "1", "--output", str(output)]) == 0
        assert phases[0] == [("gate", 1), ("time", 1)]
        assert json.loads(output.read_text())["times"][0]["error"] == 0.5
        assert "2 µs · 0.5" in capsys.readouterr().out

    def test_an_error_without_end_is_valid_json(self):
        gated = [{"case": "c", "dtype": "d", "threads": 1, "name": "n", "error": float("inf"), "unit": "ulp"}]
        timed = [{"case": "c", "dtype": "d", "threads": 1, "name": "n"}]
        assert run.merge(gated, timed)[0]["error"] is None
        assert table.number(None) == "wrong"


def test_numbers():
    assert [table.number(value) for value in (0.4567, 12.34, 404.2, 39999.0)] == ["0.457", "12.3", "404", "4.0e+04"]


def test_help_command_is_the_one_beside_this_python():
    assert start_up._help_command()[-1] == "--help"
    assert Path(start_up._help_command()[0]).exists()


def test_effort_is_enough():
    assert timing.FULL.rounds >= 7
    assert timing.FULL.least_seconds >= 0.005
