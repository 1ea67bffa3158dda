"""What a learner without a teacher gets: a verdict, a hint, and the book's answer when asked for."""

import sys
from types import SimpleNamespace

import pytest

from course import check, exercises, reveal, tasks
from course.check import ROLE, WORDS

EULER = "import math\ndef ou_step(x, dh, kappa, z): return x - kappa * x * dh + math.sqrt(2 * dh) * z\n"


def run(code, capsys):
    """What a notebook prints in which `code` was run."""
    exec(code, {"check": check, "reveal": reveal})
    return capsys.readouterr().out.splitlines()


def test_a_right_answer_is_told_so(capsys):
    answer = exercises.everything()["origins-step"].solution
    lines = run(f"import math\n{answer}\ncheck('origins-step')", capsys)
    assert lines[0] == "origins-step: 3 of 3 points" and all(line.startswith("  yes  ") for line in lines[1:]) and len(lines) == 4


def test_a_known_mistake_gets_its_hint_and_the_way_to_the_answer(capsys):
    lines = run(EULER + "check('origins-step')", capsys)
    hint = next(mistake.hint for mistake in tasks.find("origins-step").mistakes if mistake.name == "euler")
    assert lines[0] == "origins-step: 1 of 3 points" and [line[2:5] for line in lines[1:4]] == ["yes", "no ", "no "]
    assert lines[2].startswith("  no   two steps of dh / 2 are one of dh, in mean and in variance: mean: two halves are not one whole at dh = 0.1")
    assert lines[4:] == [f"Hint: {hint}", 'The book\'s answer: reveal("origins-step")']


def test_an_unknown_mistake_gets_no_hint(capsys):
    lines = run("def ou_step(x, dh, kappa, z): return 0.123 * x\ncheck('origins-step')", capsys)
    assert lines[0] == "origins-step: 0 of 3 points" and not any(line.startswith("Hint") for line in lines)


@pytest.mark.parametrize("code, why", [
    ("", "`ou_step` is not defined"), ("def ou_step(*a): raise NotImplementedError()", "there is no answer yet"), ("def ou_step(*a): return 1 / 0", "ZeroDivisionError"),
    ("def ou_step(*a): return None", "a number is asked for"), ("def ou_step(*a): return open", "a number is asked for"), ("def ou_step(*a): return object()", "cannot be checked"),
    ("def ou_step(*a): raise SystemExit", "SystemExit"), ("def ou_step(x): return x", "TypeError"),
])
def test_what_is_no_answer_is_named_and_raises_nothing(capsys, code, why):
    lines = run(code + "\ncheck('origins-step')", capsys)
    assert lines[0] == "origins-step: 0 of 3 points" and all(why in line for line in lines[1:4]), lines


def test_the_answer_may_change_what_it_is_given(capsys):
    code = "import math\ndef ou_step(x, dh, kappa, z):\n    keep = math.exp(-kappa * dh)\n    x *= keep\n    x += math.sqrt((1 - keep**2) / kappa) * z\n    return x\ncheck('origins-step')"
    assert run(code, capsys)[0] == "origins-step: 3 of 3 points"


def test_reveal_shows_the_answer_and_why_without_marks(capsys):
    lines = run("reveal('origins-step')", capsys)
    assert "    keep = math.exp(-kappa * dh)" in lines and any("Euler" in line for line in lines) and not any("###" in line or "{eq}" in line for line in lines)
    assert "The step is eq-origins-ou." in lines[0] and lines[-1] == "```"


def test_in_a_notebook_reveal_shows_markdown(monkeypatch):
    shown = []
    display = SimpleNamespace(display=shown.append, Markdown=lambda text: text)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: True, display=display))
    reveal("origins-step")
    assert len(shown) == 1 and shown[0].endswith("```") and "$e^{-\\kappa h/2}" in shown[0]


@pytest.mark.parametrize("text, plain", [("see {term}`the score <score>`.", "see the score."), ("{cite:t}`ho2020ddpm` and {eq}`eq-a`", "ho2020ddpm and eq-a"), ("`code` {x}", "`code` {x}")])
def test_roles_become_their_words(text, plain):
    assert ROLE.sub(WORDS, text) == plain


@pytest.mark.parametrize("call", ["check('ddim-nonsense')", "reveal('ddim-nonsense')"])
def test_an_exercise_that_the_book_lacks_is_refused_with_those_it_has(call, capsys):
    with pytest.raises(ValueError, match="no exercise 'ddim-nonsense'.*origins-step.*practice-cfg-repair"):
        run(call, capsys)


def test_reveal_says_where_solutions_are_when_there_are_none_here(capsys, monkeypatch):
    monkeypatch.setattr(exercises, "everything", dict)
    assert "the book's repository" in run("reveal('origins-step')", capsys)[0]
