# SPDX-License-Identifier: MIT
"""Messages through models' own Jinja templates, as transformers renders them, and through ours.

What a template writes beyond turns is left out on both sides: dates, empty thoughts, a default
system message, a second end.
"""
import os
import pathlib
import re

import corpus
import driver
import jinja2
import llamas
import pytest
import reference
import vocabularies
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

if not os.environ.get("INLAY_TEST_DATA"):
    pytest.skip("skipped: chat templates: INLAY_TEST_DATA is not set", allow_module_level=True)
TEMPLATES = sorted(pathlib.Path(os.environ["INLAY_TEST_DATA"], "chat-templates").glob("*.jinja"))
MARKER = re.compile(r"<\|[a-z_]+\|>|<start_of_turn>|<end_of_turn>|\[/?INST\]")
DATES = r"Cutting .*\nToday .*\n\n"
BEYOND = re.compile("|".join([
    r"<\|im_start\|>system\nYou are Qwen, .*<\|im_end\|>\n", r"<think>\n\n</think>\n\n",
    rf"<\|start_header_id\|>system<\|end_header_id\|>\n\n{DATES}<\|eot_id\|>", DATES,
    r"(?<=<\|end\|>\n)</s>$"]))
TALKS = [
    [("user", "six of what?"), ("assistant", "of stone")],
    [("user", "x"), ("assistant", "no\n\nfurther"), ("user", "under 日本"), ("assistant", "🦙 kept")],
    [("system", "Be brief."), ("user", "a lamp to the river"), ("assistant", "bright")],
]


class Dressed:
    """A model and a tokenizer whose specials are the template's markers."""

    def __init__(self, template, folder):
        self.file = folder / "model.gguf"
        self.specials = ["<s>", "</s>", *sorted(set(MARKER.findall(template)))]
        self.bare = Tokenizer(models.BPE())
        self.bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.bare.train_from_iterator(corpus.WORDS * 3, trainers.BpeTrainer(
            vocab_size=320, special_tokens=self.specials, show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
        self.full = PreTrainedTokenizerFast(tokenizer_object=self.bare, bos_token="<s>",
                                            eos_token="</s>", chat_template=template)
        llamas.write(self.file, llamas.random_llama(1, dim=8, ffn=8, heads=2, layers=1,
                                                    vocab=self.bare.get_vocab_size()), self.add)

    def add(self, writer, size):
        vocabularies.byte_level(self.bare, "gpt-2", self.specials, "</s>")(writer, size)
        writer.add_chat_template(self.full.chat_template)
        writer.add_add_bos_token("bos_token" in self.full.chat_template)

    def text(self, messages, **options):
        text = self.full.apply_chat_template(messages, tokenize=False, **options)
        return BEYOND.sub("", text)

    def ids(self, text):
        return self.bare.encode(text).ids

    def words(self, ids):
        """Without special tokens."""
        return [i for i in ids if i >= len(self.specials)]


def rows_of(dressed, folder, messages):
    corpus.write(folder / "talk.jsonl", [{"messages": messages}])
    report = driver.run(folder, model=dressed.file, data=folder / "talk.jsonl",
                        max_length=200).report
    (tokens, labels), = reference.sequences_of(report["rows"][0])
    return tokens, [i for i in labels if i >= 0]


def check(dressed, folder, messages):
    """Before the last answer stands what a chat would ask with; the answers alone are learnt."""
    tokens, learnt = rows_of(dressed, folder, messages)
    answers = [m["content"] for m in messages if m["role"] == "assistant"]
    assert dressed.words(learnt) == [i for a in answers for i in dressed.ids(a)]
    assert len(learnt) - len(dressed.words(learnt)) == len(answers)  # and what ends each
    try:
        prompt = dressed.ids(dressed.text(messages[:-1], add_generation_prompt=True))
        whole = dressed.text(messages)
    except jinja2.TemplateError:  # no place for a system message; ours begins the user's words
        assert messages[0]["role"] == "system"
        return
    assert tokens[:len(prompt)] == prompt
    if all(m["content"] in whole for m in messages):  # some have a system message in prompts alone
        assert tokens == dressed.ids(whole)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
def test_template(path, tmp_path):
    dressed = Dressed(path.read_text("utf-8"), tmp_path)
    for number, talk in enumerate(TALKS):
        folder = tmp_path / str(number)
        folder.mkdir()
        check(dressed, folder, [{"role": role, "content": content} for role, content in talk])
