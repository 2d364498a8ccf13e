"""What goes wrong says what, where and what to do; and leaves nothing half done."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import (
    ChangedSourceError,
    ChangedSourceWarning,
    LineageError,
    ModelError,
    NothingToForgetError,
    SourceError,
    TraceError,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] + RNG.normal(size=40) > 0).astype(int)


def here() -> int:
    """The line that calls this."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def at(line: int) -> str:
    return rf"test_bad_input\.py:{line}\b"


@pytest.fixture
def written(tmp_path):
    def write(content: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


class TestFiles:
    @pytest.fixture(params=[tp.from_csv, tp.read_csv], ids=["from_csv", "read_csv"])
    def read(self, request):
        return request.param

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("a,b\n1,2\n3\n", "line 3: 1 cells where the header has 2 columns"),
            ("a,b\n1,2\n3,4,5\n", "line 3: 3 cells where the header has 2 columns"),
            ("a,b\n\"1\n1\",2\n3\n", "line 4: 1 cells"),
            ("", "is empty; a CSV file begins with a line of column names"),
            (" \n\n", "is empty"),
            (b"a,b\n1,2\n3,\xff\n", "line 3, column 2: byte 0xff is not UTF-8 text; save the file as UTF-8"),
            ("a,a\n1,2\n", "line 1, column 2: the name 'a' stands twice in the header"),
            ("a,\n1,2\n", "line 1, column 2: the header has no name there; name every column"),
            ("1,2\n3,4\n", "line 1: 1, 2 … are numbers, not column names; put a header line before the 2 rows"),
            ('a,b\n1,"2\n', "line 2: a quoted cell begins and never ends"),
            ('a,b\n1,2\n"3"x,4\n', "line 3: a quote amid a cell; put the whole cell in quotes, and double those inside it"),
            ('a,b\n5" pipe,"2"\n', "line 2: a quote"),
            ("a,b\r1,2\r", "line 1: a carriage return without a line feed; save the file with line ends LF or CR LF"),
            ("a,b\n1,\0\n", "line 2: a zero byte; is this a CSV file?"),
        ],
    )  # fmt: skip
    def test_content(self, read, written, content, message):
        path = written(content)
        with pytest.raises(SourceError, match=re.escape(message)) as caught:
            read(path)
        assert str(path) in str(caught.value)

    def test_a_missing_file(self, read, tmp_path):
        with pytest.raises(SourceError, match=r"nowhere\.csv: there is no such file \(looked in "):
            read(tmp_path / "nowhere.csv")

    def test_a_directory(self, read, tmp_path):
        with pytest.raises(SourceError, match="is a directory; give a CSV file in it"):
            read(tmp_path)

    def test_what_is_not_zipped(self, read, written):
        with pytest.raises(SourceError, match="cannot be read"):
            read(written("a,b\n1,2\n", "data.csv.gz"))

    def test_text_among_numbers(self, written):
        path = written("age,job\n31,4\n52,cook\n")
        message = f"{path}, line 3, column 'job': 'cook' is not a number. tp.from_csv takes numbers only; tp.read_csv reads text"
        with pytest.raises(SourceError, match=re.escape(message)):
            tp.from_csv(path)

    def test_a_file_that_changes_between_call_and_run(self, written):
        path = written("a,b\n1,2\n")
        doubled = tp.from_csv(path) * 2
        path.write_text("a,b\n7,7\n")
        np.testing.assert_array_equal(doubled, [[2, 4]])  # what was read at the call
        with pytest.warns(ChangedSourceWarning, match="has changed since it was read"):
            assert tp.provenance(doubled).locate(0)[0].text is None  # and no line of what the file holds now


class TestTracing:
    def test_a_branch_on_a_value(self):
        @tp.trace
        def f(x):
            return x if x.sum() > 0 else -x

        line = here() - 2
        with pytest.raises(TraceError, match=rf"if/while.*{at(line)}.*np\.where"):
            f(X)

    def test_random_numbers(self):
        @tp.trace
        def f(x):
            return x + np.random.normal(size=3)  # noqa: NPY002

        line = here() - 2
        with pytest.raises(TraceError, match=rf"np\.random\.normal at {at(line)}.*pass them in"):
            f(X)

    @pytest.mark.parametrize("convert", [np.asarray, list, float, lambda x: np.ones(3)[x]])
    def test_a_conversion_to_a_plain_array(self, convert):
        @tp.trace
        def f(x):
            return np.zeros(3) + convert(x)

        with pytest.raises(TraceError, match=r"test_bad_input\.py:\d+.*: "):
            f(X)

    def test_a_write_in_place(self):
        @tp.trace
        def f(x):
            x[0] = 1
            return x

        line = here() - 3
        with pytest.raises(TraceError, match=rf"in-place write.*{at(line)}.*np\.where"):
            f(X)

    def test_an_update_of_a_plain_array_in_place(self):
        @tp.trace
        def f(x):
            total = np.zeros(3)
            total += x.sum(axis=0)
            return total

        line = here() - 3
        with pytest.raises(TraceError, match=rf"in-place write.*{at(line)}.*use its result instead"):
            f(X)

    def test_an_array_that_changes_between_call_and_run(self):
        changing = X.copy()
        later = tp.trace(lambda x: x + 1)(changing)
        changing[3] = 9
        with pytest.raises(ChangedSourceError, match="'x' changed between the call and the run; pass a copy"):
            np.asarray(later)

    def test_arrays_of_unequal_length(self):
        @tp.trace
        def f(x, y):
            return x + y

        line = here() - 2
        with pytest.raises(ValueError, match=at(line)):
            f(X, X[:5])

    def test_an_op_that_fails_while_it_runs_names_its_line(self):
        @tp.trace
        def f(x, k):
            return x[k]

        line = here() - 2
        with pytest.raises(tp.errors.ExecutionError, match=rf"{at(line)} failed: index 77 is out of bounds"):
            np.asarray(f(X, np.array([1, 77])))

    def test_two_sources_of_one_name(self):
        with pytest.raises(SourceError, match="two sources of one program have the id 'a'; give one of them another"):
            np.asarray(tp.from_numpy(X, source_id="a") + tp.from_numpy(X, source_id="a"))


class TestNumbersThatAreNone:
    """They pass through as in NumPy, and are errors where a fit would need numbers."""

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_they_pass_through(self, bad):
        x = X.copy()
        x[2, 1] = bad

        @tp.trace
        def f(x):
            return (x - x.mean(axis=0)) / x.std(axis=0)

        np.testing.assert_array_equal(f(x), f.function(x))

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_a_column_without_variance(self):
        x = X.copy()
        x[:, 1] = 4
        f = tp.trace(lambda x: (x - x.mean(axis=0)) / x.std(axis=0))
        np.testing.assert_array_equal(f(x), f.function(x))

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_a_filter_that_leaves_no_row(self):
        f = tp.trace(lambda x: x[x[:, 0] > 100] - x[x[:, 0] > 100].mean(axis=0))
        got = f(X)
        assert np.asarray(got).shape == (0, 3)
        assert tp.provenance(got).affected_rows("x").tolist() == []

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_gradient_needs_numbers(self, bad):
        torch = pytest.importorskip("torch")
        x = X.copy()
        x[2, 1] = bad
        model = torch.nn.Linear(3, 2)
        with (
            pytest.raises(ModelError, match=r"row 2|sample 2|NaN|finite"),
            tp.training_context(model, x, Y, loss=torch.nn.CrossEntropyLoss(reduction="none"), l2=0.1),
        ):
            pass

    def test_a_score_needs_numbers(self, fitted):
        engine = tp.attribution_engine(fitted.gradient_store)
        with pytest.raises(ModelError, match=r"NaN|finite"):
            engine.scores(np.full((1, 3), np.nan), Y[:1])


@pytest.fixture
def fitted():
    linear = pytest.importorskip("sklearn.linear_model")
    model = linear.LogisticRegression(tol=1e-8, max_iter=1000)
    with tp.training_context(model, X, Y, source_id="people") as context:
        model.fit(X, Y)
    return context


class TestModels:
    def test_no_trainable_parameter(self):
        torch = pytest.importorskip("torch")
        with (
            pytest.raises(ModelError, match=r"no trainable parameter|no parameter"),
            tp.training_context(torch.nn.ReLU(), X, Y, loss=torch.nn.CrossEntropyLoss(reduction="none")),
        ):
            pass

    def test_frozen_parameters_only(self):
        torch = pytest.importorskip("torch")
        model = torch.nn.Linear(3, 2).requires_grad_(False)
        with (
            pytest.raises(ModelError, match=r"trainable|requires_grad"),
            tp.training_context(model, X, Y, loss=torch.nn.CrossEntropyLoss(reduction="none")),
        ):
            pass

    def test_lengths_that_differ(self):
        linear = pytest.importorskip("sklearn.linear_model")
        with (
            pytest.raises(ModelError, match=r"40.*39|39.*40"),
            tp.training_context(linear.LogisticRegression(), X, Y[:39]),
        ):
            pass

    def test_an_unfitted_model(self):
        linear = pytest.importorskip("sklearn.linear_model")
        with (
            pytest.raises(ModelError, match="fit"),
            tp.training_context(linear.LogisticRegression(), X, Y),
        ):
            pass


class TestForgetting:
    def test_an_unknown_source(self, fitted):
        with pytest.raises((LineageError, NothingToForgetError), match=r"'elsewhere'.*people"):
            tp.unlearn(gradient_store=fitted.gradient_store, source_id="elsewhere", rows=[1])

    @pytest.mark.parametrize("rows", [[40], [-41], [3, 99]])
    def test_rows_out_of_range(self, fitted, rows):
        with pytest.raises((LineageError, NothingToForgetError), match="40"):
            tp.unlearn(gradient_store=fitted.gradient_store, source_id="people", rows=rows)

    def test_no_rows(self, fitted):
        with pytest.raises(NothingToForgetError):
            tp.unlearn(gradient_store=fitted.gradient_store, source_id="people", rows=[])

    def test_the_model_is_left_as_it_was(self, fitted):
        before = fitted.model.coef_.copy() if hasattr(fitted, "model") else None
        with pytest.raises((LineageError, NothingToForgetError)):
            tp.unlearn(gradient_store=fitted.gradient_store, source_id="people", rows=[40], inplace=True)
        if before is not None:
            np.testing.assert_array_equal(fitted.model.coef_, before)

    def test_a_predicate_that_names_no_row(self, written):
        linear = pytest.importorskip("sklearn.linear_model")
        path = written("a,b,y\n" + "".join(f"{k % 7},{k % 3},{k % 2}\n" for k in range(30)))
        table = tp.read_csv(path, source_id="file")
        x, y = table[["a", "b"]].to_numpy("float64"), table["y"]
        model = linear.LogisticRegression()
        with tp.training_context(model, x, y) as context:
            model.fit(np.asarray(x), np.asarray(y))
        with pytest.raises(NothingToForgetError, match="a > 90"):
            tp.unlearn(gradient_store=context.gradient_store, source_id="file", where="a > 90")
        with pytest.raises(LineageError, match=r"its columns: a, b, y"):
            tp.unlearn(gradient_store=context.gradient_store, source_id="file", where="agee > 90")


class TestQuestions:
    @pytest.fixture
    def view(self):
        return tp.provenance(tp.from_numpy(X, source_id="people") * 2)

    def test_rows_out_of_range(self, view):
        with pytest.raises(LineageError, match="40"):
            view.rows(40)
        with pytest.raises(LineageError, match="40"):
            view.affected_rows("people", [40])

    def test_an_unknown_source(self, view):
        with pytest.raises(LineageError, match=r"'other'.*people"):
            view.affected_rows("other", [0])

    def test_an_unknown_kind(self, view):
        with pytest.raises(LineageError, match=r"'direct'.*not 'causal'"):
            view.rows(0, kind="causal")

    def test_a_plain_array(self):
        with pytest.raises(LineageError, match=r"plain|lazy"):
            tp.provenance(X)


def test_a_report_that_cannot_be_written_leaves_what_was_there(tmp_path, fitted):
    report = tmp_path / "report.json"
    report.write_text("before")
    with pytest.raises(tp.errors.TracepropError):
        tp.compliance_report(
            tensor=X,  # a plain array has no lineage
            model=None,
            system_name="s",
            system_version="1",
            deployer_name="d",
            high_risk_category="5(b)",
            output_path=report,
        )
    assert report.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
