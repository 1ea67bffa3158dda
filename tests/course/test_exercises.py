"""Reading exercises from a notebook, and the copy of it that readers get."""

import copy

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course import exercises

START = "Some text.\n\n```{exercise-start} A title with $x$\n:label: ex-one-add\n```\n\nWrite `add`."
SOLVED = "````{solution-start} ex-one-add\n:class: dropdown\n````\n\nBecause it adds."
ENDED = "So it does.\n\n````{solution-end}\n````\n\nMore text."
ANSWER = """\
def add(a, b):
    ### BEGIN SOLUTION
    total = a + b

    return total
    ### END SOLUTION


class Sum:
    def of(self, *numbers):
        ### BEGIN SOLUTION
        return sum(numbers)
        ### END SOLUTION"""
STUB = """\
def add(a, b):
    # YOUR CODE HERE
    raise NotImplementedError()


class Sum:
    def of(self, *numbers):
        # YOUR CODE HERE
        raise NotImplementedError()"""
CHECK = {"nbgrader": {"grade_id": "one-add-check", "grade": True}}


def printed(text: str) -> list:
    return [new_output("stream", name="stdout", text=text)]


def view(model: str) -> list:
    return [new_output("display_data", {exercises.VIEW: {"model_id": model}})]


def notebook(*, answer: str = ANSWER, before: str = START, solved: str = SOLVED, ended: str = ENDED):
    state = {
        "seen": {"state": {"layout": "IPY_MODEL_seenlayout"}}, "seenlayout": {"state": {}},
        "kept": {"state": {"layout": "IPY_MODEL_keptlayout"}}, "keptlayout": {"state": {"text": "secret"}},
    }
    cells = [
        new_markdown_cell("# A section"),
        new_code_cell("from course import check", outputs=view("seen"), execution_count=1),
        new_markdown_cell(before),
        new_code_cell("hint = 1", outputs=printed("public\n"), execution_count=2),
        new_markdown_cell("It is checked that it adds.\n\n```{exercise-end}\n```"),
        new_code_cell(answer, metadata={"nbgrader": {"grade_id": "one-add", "solution": True}}, execution_count=3),
        new_code_cell('check("one-add")', metadata=CHECK, outputs=printed("2 of 2 points\n"), execution_count=4),
        new_markdown_cell(solved),
        new_code_cell("print(add(1, 2))", outputs=printed("3\n") + view("kept"), execution_count=5),
        new_markdown_cell(ended),
    ]
    widgets = {exercises.WIDGETS: {"version_major": 2, "version_minor": 0, "state": state}}
    return new_notebook(cells=cells, metadata={"widgets": widgets, "kernelspec": {"name": "python3", "display_name": "p"}})


def test_an_exercise_is_read_with_all_its_parts(tmp_path):
    nbformat.write(notebook(), tmp_path / "one.ipynb")
    [(name, found)] = exercises.read(tmp_path / "one.ipynb").items()
    assert (name, found.name, found.title, found.path) == ("one-add", "one-add", "A title with $x$", tmp_path / "one.ipynb")
    assert found.statement == "Write `add`.\n\nIt is checked that it adds." and found.code == ["hint = 1"]
    assert (found.solution, found.check, found.explanation) == (ANSWER, 'check("one-add")', "Because it adds.\n\nSo it does.")
    assert [cell.source for cell in found.demonstration] == ["print(add(1, 2))"]
    assert "###" not in found.answer and exercises.stub(found.answer) == found.answer


def test_everything_is_every_notebook_of_every_chapter(tmp_path):
    for chapter in ("01_a", "02_b"):
        (tmp_path / chapter).mkdir()
        other = notebook()
        for cell in other.cells:
            cell.source = cell.source.replace("one-add", f"{chapter}-add")
            if "nbgrader" in cell.metadata:
                cell.metadata.nbgrader.grade_id = cell.metadata.nbgrader.grade_id.replace("one", chapter)
        nbformat.write(other, tmp_path / chapter / "one.ipynb")
    assert list(exercises.everything(tmp_path)) == ["01_a-add", "02_b-add"]


def test_a_stub_takes_the_place_of_each_solution_and_is_valid_code():
    assert exercises.stub(ANSWER) == STUB
    compile(STUB, "stub", "exec")
    assert exercises.stub("print('no solution here')") == "print('no solution here')"


def test_readers_get_statement_stub_and_check_and_nothing_else_of_it():
    cells = exercises.without_solutions(notebook()).cells
    assert [cell.source for cell in cells] == [
        "# A section", "from course import check", START, "hint = 1", "It is checked that it adds.\n\n```{exercise-end}\n```", STUB,
        'check("one-add")', "More text."]
    assert [(len(cell.outputs), cell.execution_count) for cell in cells if cell.cell_type == "code"] == [(1, 1), (1, 2), (0, None), (0, None)]


def test_the_copy_is_a_notebook_and_leaves_the_original_as_it_was():
    original = notebook()
    before = copy.deepcopy(original)
    made = exercises.without_solutions(original)
    nbformat.validate(made)
    made.metadata["changed"] = True
    assert original == before
    assert exercises.without_solutions(original).metadata.kernelspec == before.metadata.kernelspec


def test_of_widgets_the_copy_keeps_those_it_shows():
    made = exercises.without_solutions(notebook())
    assert set(made.metadata.widgets[exercises.WIDGETS]["state"]) == {"seen", "seenlayout"}
    assert made.metadata.widgets[exercises.WIDGETS]["version_major"] == 2


def test_an_explanation_may_share_its_cells_with_statement_and_text():
    between = "````{solution-end}\n````\n\nBetween.\n\n```{exercise-start} Two\n:label: ex-two\n```\nAlso."
    one = notebook(before=f"{START}\n\n```{{exercise-end}}\n```\n\n{SOLVED}\n\n{between}")
    text = exercises.without_solutions(one).cells[2].source
    assert "Because" not in text and text.startswith("Some text.") and "Between." in text and text.endswith("Also.") and "solution" not in text


@pytest.mark.parametrize("wrong, complaint", [
    ({"answer": "def add(a, b):\n    return a + b"}, "one-add does not say where its solution begins and ends"),
    ({"answer": ANSWER.replace("    ### END SOLUTION\n\n\n", "\n\n\n", 1).replace("        ### END SOLUTION", "")}, "one-add does not say"),
    ({"answer": ANSWER + "\n    ### BEGIN SOLUTION\n    return 1"}, "a mark of a solution cannot be read"),
    ({"answer": ANSWER + "\n    ### END SOLUTION"}, "a mark of a solution cannot be read"),
    ({"solved": SOLVED.replace(":class: dropdown\n", "class\n")}, "a mark of a solution cannot be read"),
    ({"solved": SOLVED.replace("````", ":::"), "ended": ENDED.replace("````", ":::")}, "a mark of a solution cannot be read"),
    ({"solved": "````{solution} ex-one-add\nBecause.\n````", "ended": "Text."}, "a mark of a solution cannot be read"),
    ({"ended": "So it does."}, "the last solution does not end"),
    ({"ended": "```{exercise-end}\n```\n" + ENDED}, "does not pair, '```{exercise-end}'"),
    ({"before": "Some text."}, "does not pair, '```{exercise-end}'"),
    ({"before": f"{START}\n\n{START}"}, "does not pair, '```{exercise-start}"),
])
def test_a_solution_that_cannot_be_told_from_the_text_is_an_error(wrong, complaint):
    with pytest.raises(ValueError, match=complaint):
        exercises.without_solutions(notebook(**wrong))
