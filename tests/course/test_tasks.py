"""Every grader against right answers, wrong ones and none: the table that a grader has to pass before it grades anybody."""

from importlib import import_module

import pytest

from course import exercises, tasks
from course.task import DIFFICULTY

SETS = tasks.sets()
TASKS = [(one, task) for one in SETS for task in one.tasks]
BOOKS, CLASSES = (), [("a class", "a student"), ("another class", "another")]
EACH_TASK = pytest.mark.parametrize("one, task", TASKS, ids=[task.name for _, task in TASKS])
EACH_MISTAKE = pytest.mark.parametrize("task, mistake", [(task, m) for _, task in TASKS for m in task.mistakes],
                                       ids=[f"{task.name}-{m.name}" for _, task in TASKS for m in task.mistakes])


def right(one, task):
    """The right answers of the module beside this one that bears the set's name."""
    return import_module(f"right.{one.name}").RIGHT[task.name]


def graded(task, functions, seed=BOOKS):
    return task.grade(task.local(functions), task.case(*seed))


def run(one, task, change=str):
    """What a student's notebook defines: the set's setup, what the exercise shows, and the book's solution after `change`."""
    namespace, exercise = {}, exercises.everything()[task.name]
    for code in (one.setup, *exercise.code, change(exercise.solution)):
        exec(compile(code, f"<{task.name}>", "exec"), namespace)
    return namespace


def lost(result):
    return [(outcome.says, outcome.message) for outcome in result.outcomes if outcome.points < outcome.possible]


@EACH_TASK
def test_the_books_solution_earns_everything_with_the_sets_setup_alone(one, task):
    assert not lost(graded(task, run(one, task)))


@EACH_TASK
def test_the_stub_earns_nothing(one, task):
    result = graded(task, run(one, task, exercises.stub))
    assert result.points == 0 and not result.hint
    assert all("there is no answer yet" in outcome.message for outcome in result.outcomes), lost(result)


@EACH_TASK
def test_two_other_right_answers_earn_everything_in_every_version(one, task):
    ways = right(one, task)
    assert len(ways) >= 2
    for seed in (BOOKS, *CLASSES):
        for way in ways:
            assert not lost(graded(task, way(task.case(*seed)), seed)), (way.__name__, seed)


@EACH_MISTAKE
@pytest.mark.parametrize("seed", [BOOKS, CLASSES[0]], ids=["book", "class"])
def test_a_mistake_loses_points(task, mistake, seed):
    result = graded(task, mistake.make(task.case(*seed)), seed)
    assert result.points < result.possible
    assert seed or result.hint == mistake.hint, f"taken for another mistake: {result.hint!r}"
    assert not any(outcome.unexpected for outcome in result.outcomes), lost(result)


@EACH_TASK
def test_the_books_solution_is_no_answer_to_a_classs_version(one, task):
    if not task.vary:
        pytest.skip("this task has one version")
    assert all(len(values) >= 4 == len({repr(value) for value in values[:4]}) for values in task.vary.values()), "three versions or more for classes"
    assert task.twist.format_map({name: "1" for name in task.vary}) != task.twist
    for seed in CLASSES:
        result = graded(task, run(one, task), seed)
        assert result.points < result.possible, f"the version {vars(task.case(*seed))} asks for nothing new"


@EACH_TASK
def test_its_example_runs(one, task, capsys):
    namespace = run(one, task)
    assert eval(task.example, namespace) is not None


@EACH_TASK
def test_it_says_what_it_is(one, task):
    assert len(task.mistakes) >= 5 and len({m.hint for m in task.mistakes}) == len(task.mistakes)
    assert task.difficulty in DIFFICULTY and 5 <= task.minutes <= 60 and task.points >= 2 and len(task.parts) >= 2
    assert exercises.everything()[task.name].check == f'check("{task.name}")'


@pytest.mark.parametrize("one", SETS, ids=[one.name for one in SETS])
def test_a_set_has_four_to_six_tasks_and_one_for_a_person(one):
    assert 4 <= len(one.tasks) <= 6 and sum(bool(task.vary) for task in one.tasks) >= 2
    assert one.essay.question and one.essay.rubric and one.essay.points >= 2
    assert list(exercises.read(exercises.CHAPTERS / f"{one.section}.ipynb")) == [task.name for task in one.tasks]
