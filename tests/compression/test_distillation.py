"""tinyllm.compression.distillation: what a student is judged by, and what goes back into it."""

import numpy as np
import pytest

import tinyllm_numpy
from tiny import random_params, tiny_config
from tiny_recurrent import tiny_recurrent
from tinyllm.compression.distillation import (
    MAP,
    Distillation,
    Teacher,
    init_map,
    loss_of,
    require_fit,
)
from tinyllm.errors import UsageError
from tinyllm.models.experts import Experts
from tinyllm.ops.losses import IGNORED
from tinyllm.ops.routing import Routing
from tinyllm.params import nest
from tinyllm.training.gradients import batch_gradients, gradients_at_once

TEACHER = tiny_config(n_layers=3, d_model=8, d_ff=9)
STUDENT = tiny_config(n_layers=2, tie_embeddings=True)
RNG = np.random.default_rng(3)
TOKENS = RNG.integers(0, STUDENT.vocab_size, (3, 5))
TARGETS = RNG.integers(0, STUDENT.vocab_size, (3, 5))
TARGETS[0, 1] = TARGETS[2, 3] = IGNORED
PAIRS = ((0, 0), (1, 2), (2, 3))


def params(config=STUDENT, teacher=TEACHER, seed=1):
    return random_params(config, seed) | init_map(config, teacher, seed=0, dtype=np.float64)


def run(what, student=None, rows=slice(None), teacher=TEACHER, config=STUDENT, xp=tinyllm_numpy):
    given = params(config, teacher) if student is None else student
    taught = {name: xp.asarray(x) for name, x in random_params(teacher, 2).items()}
    loss = loss_of(Teacher(teacher, nest(taught)), what)
    tree = nest({name: xp.asarray(x) for name, x in given.items()})
    return gradients_at_once(xp, config, tree, TOKENS[rows], TARGETS[rows], loss=loss)


CASES = {
    "kl": Distillation(),
    "kl, hot": Distillation(temperature=2.0, squared=True),
    "rkl": Distillation(logits="rkl", temperature=0.7),
    "mse": Distillation(logits="mse"),
    "kl + ce": Distillation(ce=0.5),
    "hidden": Distillation(logits=None, hidden=PAIRS),
    "all": Distillation(ce=0.3, hidden=PAIRS, alpha=0.7),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_central_differences(case):
    what, student, h = CASES[case], params(), 1e-5
    grads = run(what).grads
    rng = np.random.default_rng(0)
    for name, x in student.items():
        if name == MAP and not what.hidden:
            assert name not in grads
            continue
        v = rng.standard_normal(x.shape)
        up, down = (run(what, student | {name: x + s * v}).loss_sum for s in (h, -h))
        found = np.sum(grads[name] * v)
        assert found == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-6), name


def test_streams_of_models_equally_wide_are_compared_as_they_are():
    teacher = tiny_config(n_layers=2, d_ff=9)
    what = Distillation(logits=None, hidden=((1, 1), (2, 2)), streams=True)
    student, h = random_params(STUDENT, 1), 1e-5
    grads = run(what, student, teacher=teacher).grads
    assert set(grads) == set(student)
    rng = np.random.default_rng(0)
    for name, x in student.items():
        v = rng.standard_normal(x.shape)
        up, down = (
            run(what, student | {name: x + s * v}, teacher=teacher).loss_sum for s in (h, -h)
        )
        assert np.sum(grads[name] * v) == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-6)


def test_the_terms_are_the_formulas(xp):
    what = Distillation(ce=0.5, hidden=PAIRS, temperature=2.0)
    found, plain = run(what, xp=xp), gradients_at_once
    tree = nest({name: xp.asarray(x) for name, x in params().items()})
    judged = plain(xp, STUDENT, tree, TOKENS, TARGETS)
    assert found.terms["ce"] == pytest.approx(judged.loss_sum, rel=1e-12)
    assert found.count == 13
    # α makes the hidden states count as much as the logits do, in every text.
    assert found.loss_sum == pytest.approx(2 * found.terms["kl"] + 0.5 * found.terms["ce"])


def test_alpha_is_the_ratio_of_a_text_and_a_constant():
    for row in range(3):
        one = slice(row, row + 1)
        found = run(Distillation(hidden=PAIRS), rows=one)
        alpha = found.terms["kl"] / found.terms["hidden"]
        given = run(Distillation(hidden=PAIRS, alpha=alpha), rows=one)
        for name, grad in found.grads.items():
            np.testing.assert_allclose(given.grads[name], grad, rtol=0, atol=1e-12, err_msg=name)


def test_a_batch_is_the_sum_of_its_texts():
    what = Distillation(ce=1.0, hidden=PAIRS)
    whole, parts = run(what), [run(what, rows=slice(i, i + 1)) for i in range(3)]
    assert whole.loss_sum == pytest.approx(sum(part.loss_sum for part in parts), rel=1e-12)
    for name, grad in whole.grads.items():
        total = sum(part.grads[name] for part in parts)
        np.testing.assert_allclose(grad, total, rtol=0, atol=1e-11, err_msg=name)
    loss = loss_of(Teacher(TEACHER, nest(random_params(TEACHER, 2))), what)
    halves = batch_gradients(tinyllm_numpy, STUDENT, nest(params()), TOKENS, TARGETS, loss=loss)
    assert halves.terms["hidden"] == pytest.approx(whole.terms["hidden"], rel=1e-12)
    np.testing.assert_allclose(halves.grads[MAP], whole.grads[MAP], rtol=0, atol=1e-11)


def test_who_is_the_teacher_has_nothing_to_learn():
    for what in (Distillation(hidden=((0, 0), (2, 2))), Distillation(logits="rkl")):
        same = random_params(STUDENT, 2) | init_map(STUDENT, STUDENT, seed=0, dtype=np.float64)
        found = run(what, same, teacher=STUDENT)
        assert abs(found.loss_sum) < 1e-12
        for name, grad in found.grads.items():
            np.testing.assert_allclose(grad, 0.0, atol=1e-12, err_msg=name)


def test_targets_that_do_not_count_teach_nothing():
    other = TARGETS.copy()
    other[:] = IGNORED
    loss = loss_of(Teacher(TEACHER, nest(random_params(TEACHER, 2))), Distillation(hidden=PAIRS))
    tree = nest(params())
    found = gradients_at_once(tinyllm_numpy, STUDENT, tree, TOKENS, other, loss=loss)
    assert (found.loss_sum, found.count) == (0.0, 0)
    assert all((grad == 0).all() for grad in found.grads.values())


def test_backends_agree(xp):
    what = Distillation(ce=0.3, hidden=PAIRS)
    ours, numpys = run(what, xp=xp), run(what)
    assert ours.loss_sum == pytest.approx(numpys.loss_sum, rel=1e-12)
    for name, grad in numpys.grads.items():
        np.testing.assert_allclose(xp.to_numpy(ours.grads[name]), grad, rtol=0, atol=1e-11)


BAD = {
    "nothing": ({"logits": None}, "there is no loss"),
    "ce": ({"ce": -1.0}, "ce is -1.0, expected 0 or more"),
    "alpha": ({"alpha": float("nan")}, "alpha is nan"),
    "temperature": ({"temperature": 0.0}, "temperature is 0, expected more"),
    "infinite": ({"temperature": float("inf")}, "temperature is inf"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_learnt_is_refused(case):
    options, line = BAD[case]
    with pytest.raises(UsageError, match=line):
        Distillation(**options)


def test_a_student_must_fit_its_teacher():
    other = tiny_config(vocab_size=12)
    with pytest.raises(UsageError, match="the teacher has 12 tokens and the student 11"):
        require_fit(STUDENT, other, Distillation())
    with pytest.raises(UsageError, match="states 3:3 are not there: the student has 0 to 2"):
        require_fit(STUDENT, TEACHER, Distillation(hidden=((3, 3),)))
    with pytest.raises(UsageError, match="not equally wide"):
        require_fit(STUDENT, TEACHER, Distillation(hidden=((1, 1),), streams=True))
    require_fit(STUDENT, TEACHER, Distillation(hidden=PAIRS))


def test_a_teachers_experts_take_every_token():
    """What a capacity drops would be another thing with its states than without."""
    tight = Routing(k=1, renormalise=False, capacity=0.5)
    teacher = tiny_config(n_layers=2, experts=Experts(n_experts=3, d_ff=4, routing=tight))
    call = Teacher(teacher, nest(random_params(teacher, 2)))
    with_states, without = (call(tinyllm_numpy, TOKENS, wanted)[0] for wanted in (True, False))
    np.testing.assert_allclose(with_states, without, rtol=0, atol=1e-12)


def test_states_need_a_norm_behind_them():
    config = tiny_config(layout="post", norm="layernorm", mlp="relu")
    what = Distillation(logits=None, hidden=((1, 1),))
    for student, teacher in ((config, TEACHER), (STUDENT, config)):
        with pytest.raises(UsageError, match="state 1 has no norm after it"):
            require_fit(student, teacher, what)
    what_at_the_end = Distillation(hidden=((2, 2),), streams=True)
    with pytest.raises(UsageError, match="state 2 is not there: the model has no norm at its end"):
        require_fit(config, config, what_at_the_end)
    with pytest.raises(UsageError, match="the teacher is recurrent: it has none"):
        require_fit(STUDENT, tiny_recurrent(), what)
    with pytest.raises(UsageError, match="state 1 has no norm after it"):
        run(what, params(config), config=config)
