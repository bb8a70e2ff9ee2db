# SPDX-License-Identifier: MIT
"""PyTorch's side: LoRA by PEFT, losses, gradients and AdamW steps over the rows that inlay packed.

Each sequence of a row is run by itself. Sequences are padded on the right, which causal attention
never looks at, so no mask is needed and none can be wrong.
"""
import torch
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from transformers import get_scheduler

SCHEDULES = ["linear", "cosine", "constant", "constant_with_warmup"]  # in inlay_schedule's order


def sequences_of(row):
    """[(tokens, labels)] of a packed row."""
    starts = sorted(set(row["starts"]))
    ends = starts[1:] + [len(row["tokens"])]
    return [(row["tokens"][a:b], row["labels"][a:b]) for a, b in zip(starts, ends)]


def padded(lists, filler):
    longest = max(map(len, lists))
    return torch.tensor([x + [filler] * (longest - len(x)) for x in lists])


def sum_of_losses(model, rows):
    """Sum of the negative log-likelihoods, and how many."""
    parts = [s for row in rows for s in sequences_of(row)]
    labels = padded([s[1] for s in parts], -1)
    logits = model(input_ids=padded([s[0] for s in parts], 0), use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(),
                                             ignore_index=-1, reduction="sum")
    return loss, int((labels >= 0).sum())


def load_adapter(model, folder, trainable=False):
    return PeftModel.from_pretrained(model, folder, is_trainable=trainable)


def named(model):
    """Trainable parameters by the names they have in a PEFT file, without its prefix."""
    return {name.removeprefix("base_model.model.")
            .replace("lora_magnitude_vector.default.weight", "lora_magnitude_vector")
            .replace(".default.", "."): p
            for name, p in model.named_parameters() if p.requires_grad}


def gradients(model, rows):
    """Of the mean loss of one micro-batch."""
    loss, count = sum_of_losses(model, rows)
    (loss / count).backward()
    result = {name: p.grad.clone() for name, p in named(model).items()}
    model.zero_grad()
    return result


def rows_of_step(report, step, per_step):
    epoch, within = divmod(step, report["steps_per_epoch"])
    order = report["order"][epoch][within * per_step:(within + 1) * per_step]
    return [report["rows"][i] for i in order]


def make_optimizer(model, parameters, options):
    common = {"lr": options["learning_rate"], "betas": (0.9, options.get("beta2", 0.999)),
              "eps": 1e-8}
    decay = options.get("weight_decay", 0.0)
    if "loraplus_lr_ratio" not in options:
        return torch.optim.AdamW(parameters, weight_decay=decay, **common)
    return create_loraplus_optimizer(model, torch.optim.AdamW, loraplus_weight_decay=decay,
                                     loraplus_lr_ratio=options["loraplus_lr_ratio"], **common)


def train(model, report, options, steps):
    """[(loss, gradient norm, learning rate)] of every step; the model is trained in place."""
    batch, accumulation = options.get("batch_size", 1), options.get("accumulation", 1)
    parameters = list(named(model).values())
    optimizer = make_optimizer(model, parameters, options)
    schedule = get_scheduler(SCHEDULES[options.get("schedule", 0)], optimizer,
                             num_warmup_steps=options.get("warmup_steps", 0),
                             num_training_steps=steps)
    history = []
    for step in range(steps):
        rows = rows_of_step(report, step, batch * accumulation)
        count = sum(label >= 0 for row in rows for label in row["labels"])
        total = 0.0
        for first in range(0, len(rows), batch):
            loss, _ = sum_of_losses(model, rows[first:first + batch])
            (loss / count).backward()
            total += float(loss.detach()) / count
        limit = options.get("max_grad_norm", 0.0) or float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        history.append((total, norm, schedule.get_last_lr()[0]))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return history


@torch.no_grad()
def logits(model, sequences):
    model.eval()
    return [model(input_ids=torch.tensor([s]), use_cache=False).logits[0] for s in sequences]
