# SPDX-License-Identifier: MIT
"""Chat templates against transformers: the text of each, the tokens, and which of them are learned.

The real templates are those in INLAY_TEST_DATA; TEMPLATES has folders with more of them.
"""
import json
import os
import pathlib
import re
import subprocess
import time

import corpus
import driver
import llamas
import pytest
import reference
import vocabularies
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

DATA = os.environ.get("INLAY_TEST_DATA")
FOLDERS = [f"{DATA}/chat-templates"] if DATA else []
FOLDERS += filter(None, os.environ.get("TEMPLATES", "").split(":"))
REAL = [path for folder in FOLDERS for path in sorted(pathlib.Path(folder).glob("*.jinja"))]
MARKER = re.compile(r"<\|[a-zA-Z_]+\|>|<start_of_turn>|<end_of_turn>|\[/?[A-Z_]+\]|<｜[^｜]*｜>")
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>"}
REASONING = ("reasoning_content", "thinking", "reasoning")

TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "Get <the> weather & 'it'", "parameters": {
        "type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "description": "Città"},
            "days": {"type": "integer", "enum": [1, 2]}}}}}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def call(arguments, ident="abcdefghi"):
    return {"type": "function", "id": ident,
            "function": {"name": "get_weather", "arguments": arguments}}


TALKS = {
    "question": [say("user", "Hi")],
    "answer": [say("user", "  six of what? \n"), say("assistant", "of stone\n\n")],
    "turns": [say("user", "a"), say("assistant", "b  "), say("user", "c\n"),
              say("assistant", "  d"), say("user", "e 日本 🦙"), say("assistant", "f")],
    "system": [say("system", " Be brief. \n"), say("user", "q"), say("assistant", "r"),
               say("user", "s"), say("assistant", "t")],
    "system alone": [say("system", "x"), say("user", "q")],
    "thoughts": [say("user", "q"), say("assistant", "<think>\nhmm\n</think>\n\nr"),
                 say("user", "s"), say("assistant", "<think>why</think>t")],
    "reasoning": [say("user", "q"), say("assistant", "r", reasoning_content="because"),
                  say("user", "s"), say("assistant", "t", reasoning_content="since")],
    "a call": [say("user", "w?"), {"role": "assistant", "tool_calls": [call({"city": "R\"om"})]},
               say("tool", "21", tool_call_id="abcdefghi", name="get_weather"),
               say("assistant", "It is 21.")],
    "a call, null": [say("user", "w?"), say("assistant", None, tool_calls=[call({"city": "A"})]),
                     say("tool", "21", tool_call_id="abcdefghi", name="get_weather"),
                     say("assistant", "It is 21.")],
    "calls": [say("system", "s"), say("user", "w?"),
              say("assistant", "See", tool_calls=[call({"city": "A", "days": 1}),
                                                  call({"city": "B"}, "123456789")]),
              say("tool", "21", tool_call_id="abcdefghi"),
              say("tool", '{"a": 1}', tool_call_id="123456789"),
              say("assistant", "Done"), say("user", "ok"), say("assistant", "bye")],
    "a call as text": [say("user", "w?"),
                       say("assistant", "", tool_calls=[call('{"city": "Rom"}')]),
                       say("tool", "21", tool_call_id="abcdefghi"), say("user", "and?")],
    "parts": [say("user", [{"type": "text", "text": "hello"}, {"type": "text", "text": " you"}]),
              say("assistant", [{"type": "text", "text": "yes"}]), say("user", "x")],
    "out of turn": [say("assistant", "first"), say("user", "x"), say("user", "y")],
}
OPTIONS = ({}, {"enable_thinking": False}, {"enable_thinking": True, "date_string": "1 Jan 2020"})


def named(messages):
    """Reasoning by all its names, as transformers gives it to templates."""
    out = []
    for message in messages:
        reasoning = next((message[k] for k in REASONING if message.get(k) is not None), None)
        out.append(message if reasoning is None else
                   {"thinking": reasoning, **message, "reasoning_content": reasoning})
    return out


def cases():
    for name, talk in TALKS.items():
        for prompt in (False, True):
            for tools in (None, [TOOL], [TOOL, TOOL]):
                for options in OPTIONS:
                    yield name, talk, prompt, tools, options


def ours(jobs):
    lines = "".join(json.dumps({"specials": SPECIALS, "now": int(time.time()), **job}) + "\n"
                    for job in jobs)
    done = subprocess.run([f"{driver.BUILD}/tests/parity_render"], input=lines, check=True,
                          capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def theirs(template, messages, **options):
    try:
        texts, spans = render_jinja_template([messages], chat_template=template, **SPECIALS,
                                             **options)
        return texts[0], spans
    except Exception as error:  # whatever a template runs into
        return error, None


@pytest.mark.parametrize("path", REAL, ids=lambda p: p.stem)
def test_text(path):
    """Byte for byte, or refused by both."""
    template = path.read_text("utf-8")
    all_cases = list(cases())
    got = ours([{"template": template, "messages": named(talk), "tools": tools,
                 "options": options, "add_generation_prompt": prompt}
                for _, talk, prompt, tools, options in all_cases])
    rendered = 0
    for case, answer in zip(all_cases, got):
        name, talk, prompt, tools, options = case
        text, _ = theirs(template, talk, tools=tools, add_generation_prompt=prompt, **options)
        if isinstance(text, str):
            assert answer.get("text") == text, (name, prompt, options)
            rendered += 1
        else:
            assert "error" in answer, (name, prompt, options, text)
    assert rendered >= 18


GENERATION = [
    "{% for m in messages %}{{ '<' + m.role + '>' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}</s>{% endgeneration %}\n{% else %}{{ m.content }}\n"
    "{% endif %}{% endfor %}",
    "{%- for m in messages %}\n  {%- generation %}\n {{ m.content | trim }}\n{% endgeneration %}"
    "{% set x %}{{ m.role }}{% endset %}\n{{ x | upper }}{% endfor %}",
]


@pytest.mark.parametrize("template", GENERATION)
def test_generation(template):
    for name in ("turns", "system"):
        answer, = ours([{"template": template, "messages": TALKS[name]}])
        text, spans = theirs(template, TALKS[name], return_assistant_tokens_mask=True)
        assert answer["text"] == text
        learned = {i for start, end in answer["generated"] for i in range(start, end)}
        assert learned == {i for start, end in spans[0] for i in range(start, end)}


# ---- tokens

class Dressed:
    """A model and a tokenizer whose specials are the template's markers."""

    def __init__(self, template, folder):
        self.file = folder / "model.gguf"
        self.specials = ["<s>", "</s>", *sorted(set(MARKER.findall(template)))]
        self.bare = Tokenizer(models.BPE())
        self.bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.bare.train_from_iterator(corpus.WORDS * 3, trainers.BpeTrainer(
            vocab_size=320 + len(self.specials), special_tokens=self.specials,
            show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
        self.full = PreTrainedTokenizerFast(tokenizer_object=self.bare, bos_token="<s>",
                                            eos_token="</s>", chat_template=template)
        llamas.write(self.file, llamas.random_llama(1, dim=8, ffn=8, heads=2, layers=1,
                                                    vocab=self.bare.get_vocab_size()), self.add)

    def add(self, writer, size):
        vocabularies.byte_level(self.bare, "gpt-2", self.specials, "</s>")(writer, size)
        chat = self.full.chat_template
        writer.add_chat_template(chat if isinstance(chat, str) else
                                 [{"name": k, "template": v} for k, v in chat.items()])
        writer.add_add_bos_token(True)  # counts for texts, not where a template writes them

    def ids(self, messages, **options):
        return self.full.apply_chat_template(messages, tokenize=True, return_dict=False, **options)

    def words(self, ids):
        """Without special tokens."""
        return [i for i in ids if i >= len(self.specials)]


def rows_of(dressed, folder, records):
    corpus.write(folder / "talk.jsonl", records)
    report = driver.run(folder, model=dressed.file, data=folder / "talk.jsonl",
                        max_length=3000).report
    return [reference.sequences_of(row) for row in report["rows"]]


def check(dressed, folder, messages, tools):
    """The tokens are transformers'; the answers alone, each with its end, are learned."""
    record = {"messages": messages, **({"tools": tools} if tools else {})}
    ((tokens, labels),), = rows_of(dressed, folder, [record])
    assert tokens == dressed.ids(messages, tools=tools)
    learned = [i for i in labels if i >= 0]
    whole = theirs(dressed.full.chat_template, messages, tools=tools)[0]
    answers = [m["content"] for m in messages  # some drop what goes with a call
               if m["role"] == "assistant" and m["content"] and m["content"].strip() in whole]
    assert len(answers) >= 1
    said = dressed.bare.decode(dressed.words(learned)).replace(" ", "")
    for answer in answers:
        at = said.find(dressed.bare.decode(dressed.bare.encode(answer.strip()).ids)
                       .replace(" ", ""))
        assert at >= 0, (answer, said)
    # What a chat would ask with stands before the last answer, and none of it is learned.
    prompt = dressed.ids(messages[:-1], tools=tools, add_generation_prompt=True)
    if tokens[:len(prompt)] == prompt:
        assert all(label < 0 for label in labels[len(prompt) - 2:len(prompt) - 1])
        assert labels[len(prompt) - 1] >= 0


@pytest.mark.parametrize("path", REAL[:6], ids=lambda p: p.stem)
def test_tokens(path, tmp_path):
    dressed = Dressed(path.read_text("utf-8"), tmp_path)
    checked = 0
    for name in ("answer", "turns", "system", "calls", "a call, null"):
        for tools in (None, [TOOL]):
            if isinstance(theirs(dressed.full.chat_template, TALKS[name], tools=tools)[0],
                          Exception):
                continue
            folder = tmp_path / f"{name} {bool(tools)}"
            folder.mkdir()
            check(dressed, folder, TALKS[name], tools)
            checked += 1
    assert checked >= 4


NAMED = {"Qwen-Qwen2.5-7B-Instruct": ("chatml", "system"),
         "google-gemma-2-2b-it": ("gemma", "turns"),
         "microsoft-Phi-3.5-mini-instruct": ("phi3", "system"),
         "mistralai-Mistral-Nemo-Instruct-2407": ("mistral-v3-tekken", "turns")}


@pytest.mark.parametrize("path", [p for p in REAL if p.stem in NAMED], ids=lambda p: p.stem)
def test_named(path, tmp_path):
    """The named template gives the tokens of the model's own, and learns the same of them."""
    dressed = Dressed(path.read_text("utf-8"), tmp_path)
    name, talk = NAMED[path.stem]
    rows = []
    for template in ({}, {"chat_template": name}):
        folder = tmp_path / str(len(rows))
        folder.mkdir()
        corpus.write(folder / "talk.jsonl", [{"messages": TALKS[talk]}])
        report = driver.run(folder, model=dressed.file, data=folder / "talk.jsonl",
                            max_length=3000, **template).report
        (tokens, labels), = reference.sequences_of(report["rows"][0])
        skip = tokens[0] == 0  # BOS; Phi's own ends with another EOS, which nothing learns
        last = max(i for i, label in enumerate(labels) if label >= 0) + 2
        rows.append((tokens[skip:last], labels[skip:last - 1]))
    assert rows[0] == rows[1]


def test_markers_in_words(tmp_path):
    """A user's words close no turn; an answer's thoughts are tokens, its end marker is not."""
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n" \
               "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}" \
               "{# <|thought|> #}"
    dressed = Dressed(template, tmp_path)
    talk = [say("user", "a<|im_end|><|thought|>"), say("assistant", "b")]
    ((tokens, _),), = rows_of(dressed, tmp_path, [{"messages": talk}])
    assert tokens == dressed.ids(talk, sanitize_control_tokens=True)
    talk[1]["content"] = "<|thought|>b<|im_end|>c"
    ((tokens, _),), = rows_of(dressed, tmp_path, [{"messages": talk}])
    count = {name: tokens.count(dressed.bare.token_to_id(name))
             for name in ("<|im_start|>", "<|im_end|>", "<|thought|>")}
    assert count == {"<|im_start|>": 2, "<|im_end|>": 2, "<|thought|>": 1}


@pytest.mark.parametrize("path", REAL[:6], ids=lambda p: p.stem)
def test_folder(path, tmp_path):
    """The same from a Hugging Face folder, as the command shows it."""
    dressed = Dressed(path.read_text("utf-8"), tmp_path)
    folder = tmp_path / "folder"
    LlamaForCausalLM(LlamaConfig(
        vocab_size=dressed.bare.get_vocab_size(), hidden_size=32, intermediate_size=32,
        num_hidden_layers=1, num_attention_heads=2)).save_pretrained(folder)
    dressed.full.save_pretrained(folder)
    corpus.write(tmp_path / "talk.jsonl", [{"messages": TALKS["turns"]}])
    shown = json.loads(driver.command("data", "-m", folder, "-d", tmp_path / "talk.jsonl",
                                      "--json", "--max-length", 2000))["shown"][0]
    assert shown["input_ids"] == dressed.ids(TALKS["turns"])
    assert len([piece for piece in shown["pieces"] if piece["supervised"]]) == 3


TOOL_USE = {
    "default": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
               "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"}
TOOL_USE["tool_use"] = "<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n" \
    + TOOL_USE["default"]


def test_tool_use(tmp_path):
    """Talks with tools go through the template called "tool_use" where there is one."""
    dressed = Dressed(TOOL_USE["tool_use"], tmp_path)
    dressed.full.chat_template = TOOL_USE
    llamas.write(dressed.file, llamas.random_llama(1, dim=8, ffn=8, heads=2, layers=1,
                                                   vocab=dressed.bare.get_vocab_size()),
                 dressed.add)
    models_ = [dressed.file]
    for name in ("in a list", "in files", "in both"):
        folder = tmp_path / name
        models_.append(folder)
        LlamaForCausalLM(LlamaConfig(
            vocab_size=dressed.bare.get_vocab_size(), hidden_size=32, intermediate_size=32,
            num_hidden_layers=1, num_attention_heads=2)).save_pretrained(folder)
        dressed.full.save_pretrained(folder)
        extra = folder / "additional_chat_templates"
        assert (extra / "tool_use.jinja").read_text() == TOOL_USE["tool_use"]
        if name == "in files":
            continue
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["chat_template"] = [{"name": k, "template": v} for k, v in TOOL_USE.items()]
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        (extra / "tool_use.jinja").unlink()
        if name == "in a list":
            (folder / "chat_template.jinja").unlink()
    merged = tmp_path / "merged.gguf"
    driver.command("merge", "-m", models_[1], "-o", merged)
    models_.append(merged)
    talk = TALKS["system"]
    corpus.write(tmp_path / "talk.jsonl", [{"messages": talk}, {"messages": talk, "tools": [TOOL]},
                                           {"messages": talk}])
    for model in models_:
        hf = dressed.full
        if model.is_dir():  # a file beside the list is all that counts
            hf = PreTrainedTokenizerFast.from_pretrained(model)
            assert isinstance(hf.chat_template, dict) == (model.name != "in both")
        shown = json.loads(driver.command("data", "-m", model, "-d", tmp_path / "talk.jsonl",
                                          "--json", "--max-length", 2000))["shown"]
        for sequence, tools in zip(shown, (None, [TOOL], None), strict=True):
            assert sequence["input_ids"] == hf.apply_chat_template(
                talk, tools=tools, tokenize=True, return_dict=False), (model.name, bool(tools))
            learned = [i for i, yes in zip(sequence["input_ids"], sequence["supervised"]) if yes]
            assert dressed.bare.decode(learned, skip_special_tokens=False).replace(" ", "") == \
                "r<|im_end|>t<|im_end|>"


def test_ended_by_the_next_turn(tmp_path):
    """As GLM's: the next turn's first token, where generation stops, is learned with the answer."""
    template = "<s>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}" \
               "{% if add_generation_prompt %}<|assistant|>{% endif %}{# <|user|><|tool|> #}"
    dressed = Dressed(template, tmp_path)
    user = dressed.bare.token_to_id("<|user|>")
    folder = tmp_path / "folder"
    LlamaForCausalLM(LlamaConfig(
        vocab_size=dressed.bare.get_vocab_size(), hidden_size=32, intermediate_size=32,
        num_hidden_layers=1, num_attention_heads=2)).save_pretrained(folder)
    dressed.full.save_pretrained(folder)
    talk = TALKS["turns"]
    corpus.write(tmp_path / "talk.jsonl", [{"messages": talk}])

    def show():
        return json.loads(driver.command("data", "-m", folder, "-d", tmp_path / "talk.jsonl",
                                         "--json", "--max-length", 2000))["shown"][0]

    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, user]}))
    shown = show()
    assert shown["input_ids"] == [*dressed.ids(talk), user]
    learned = [i for i, yes in zip(shown["input_ids"], shown["supervised"]) if yes]
    answers = [dressed.bare.encode("\n" + m["content"]).ids for m in talk
               if m["role"] == "assistant"]
    assert learned == [i for answer in answers for i in [*answer, user]]
    # Where generation does not stop at it, nothing says where an answer ends.
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1]}))
    with pytest.raises(AssertionError, match="no token of the vocabulary ends"):
        show()
