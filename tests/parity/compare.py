# SPDX-License-Identifier: MIT
"""What both sides must agree on, within bounds that f32 leaves: some ten times what was seen."""
import measured
import reference
import torch

GRADIENT_BOUND = 5e-5  # of a tensor's norm
LOGITS_BOUND = 2e-5  # of the logits' norm
# Adam's first steps are hardly more than signs: where a gradient is zero but for its rounding, an
# element may go the other way. One that did was seen to move a loss by 5e-5, without it is 3e-6.
LOSS_BOUND = 2e-4  # nats, at any of the steps
NORM_BOUND = 2e-4  # of the gradient's norm
EVAL_BOUND = 5e-6  # nats, of one and the same adapter
RATE_BOUND = 1e-6


def relative(got, want):
    """Euclidean norm of the difference over that of what is wanted."""
    difference = (got.double() - want.double()).norm()
    return float(difference / want.double().norm().clamp_min(1e-30))


def gradients(case, inlay, model, batch):
    """Of the first micro-batch, tensor by tensor. Where B is zero, A's is zero on both sides."""
    want = reference.gradients(model, inlay.report["rows"][:batch])
    got = inlay.tensors("gradients")
    assert got.keys() == want.keys()
    live = {name: w for name, w in want.items() if float(w.norm()) > 1e-4}
    assert len(live) >= len(want) / 2
    errors = {name: relative(got[name], w) for name, w in live.items()}
    measured.note(case, "gradient", max(errors.values()))
    assert max(errors.values()) < GRADIENT_BOUND, errors
    assert all(float(got[name].norm()) < 2e-4 for name in want.keys() - live.keys())


def training(case, steps, report, model, options):
    """Loss, gradient norm and learning rate of each step that inlay reports, from its adapter."""
    history = reference.train(model, report, options, len(steps))
    for step, (loss, norm, rate) in zip(steps, history):
        measured.note(case, "loss", abs(step["loss"] - loss))
        measured.note(case, "norm", abs(step["grad_norm"] - norm) / norm)
        measured.note(case, "rate", abs(step["learning_rate"] - rate) / max(rate, 1e-12))
    worst = measured.ROWS[case]
    assert min(h[0] for h in history) < history[0][0] - 0.05, "nothing was learnt"
    assert worst["loss"] < LOSS_BOUND, worst
    assert worst["norm"] < NORM_BOUND and worst["rate"] < RATE_BOUND, worst


@torch.no_grad()
def logits(case, got, model, sequences):
    for mine, theirs in zip(got, reference.logits(model, sequences), strict=True):
        measured.note(case, "logits", relative(mine, theirs))
    assert measured.ROWS[case]["logits"] < LOGITS_BOUND, measured.ROWS[case]
