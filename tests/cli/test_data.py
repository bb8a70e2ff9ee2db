#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""inlay data and conversations: what is shown of what is learned, and generate --chat."""
import json
import unittest

import command
from command import CliTest

TALK = {"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "ba"}]}
JINJA = "{% for m in messages %}{{ '<' + m.role + '>' + m.content + eos_token }}\n{% endfor %}" \
        "{% if add_generation_prompt %}<assistant>{% endif %}"


class Data(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.talk = cls.write("talk.jsonl", (json.dumps(TALK) + "\n") * 3)
        cls.jinja = cls.write("own.jinja", JINJA)

    def data(self, path, *more, **options):
        return self.succeed("data", "-m", self.model, "-d", path, "--max-length", 32, *more,
                            **options)

    def test_what_is_learned(self):
        for template in ("chatml", "llama2", "zephyr", "alpaca", self.jinja):
            with self.subTest(template=template):
                shown = self.succeed("data", "-m", self.model, "-d", self.talk, "--json",
                                     "--max-length", 256, "--template", template).json()
                self.assertEqual(shown["format"], "messages")
                self.assertEqual(shown["records"], 3)
                self.assertEqual(len(shown["shown"]), 3)
                one = shown["shown"][1]
                self.assertEqual(one["record"], 1)
                learned = [p["text"] for p in one["pieces"] if p["supervised"]]
                self.assertEqual(len(learned), 1)
                self.assertTrue(learned[0].strip().startswith("ba"), learned)
                self.assertEqual(len(one["input_ids"]), len(one["supervised"]))
                self.assertEqual(3 * sum(one["supervised"]), shown["supervised_tokens"])
                self.assertEqual(sum(b["sequences"] for b in shown["lengths"]["bins"]), 3)

    def test_text(self):
        out = self.data(self.talk, "--chat-template", self.jinja, "--max-length", 64).out
        self.assertIn("[[ba", out)
        self.assertNotIn("\033", out)
        self.assertIn("sequences           3", out)
        colored = self.data(self.talk, "--chat-template", self.jinja, "--color", "always").out
        self.assertIn("\033[32mba", colored)
        self.assertNotIn("[[", colored)

    def test_one_of_them(self):
        path = self.write("texts.json", json.dumps([{"text": "a" * n} for n in (3, 50, 4)]))
        shown = self.data(path, "--json", "--from", 2, "--show", 1).json()
        self.assertEqual([s["record"] for s in shown["shown"]], [1])
        self.assertGreater(shown["shown"][0]["truncated_tokens"], 0)
        self.assertEqual(shown["truncated_sequences"], 1)
        self.assertEqual(shown["lengths"]["longest"] - shown["shown"][0]["truncated_tokens"], 32)

        self.refuse(2, ["--from 4", "texts.json has 3 sequences"], "data", "-m", self.model,
                    "-d", path, "--from", 4)

    def test_no_eos(self):
        """The three that read data score the same tokens of it."""
        path = self.write("one.jsonl", '{"text": "abab"}')
        for option, count in ((), None), (("--no-eos",), -1):
            shown = self.data(path, "--json", *option).json()
            scored = self.succeed("eval", "-m", self.model, "-d", path, "--json", *option).json()
            whole = shown["supervised_tokens"] if count is None else whole + count
            self.assertEqual([shown["supervised_tokens"], scored["tokens"]], [whole, whole])

    def test_nothing_moves_the_cursor(self):
        path = self.write("evil.jsonl", json.dumps({"text": "a\x1b[2Jb\x9b"}) + "\n")
        self.assertNotIn("\x1b", self.data(path).out)

    def test_every_kind_of_file(self):
        texts = ["ab", "ba \"x\"\nab"]
        lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
        quoted = [t.replace('"', '""') for t in texts]
        files = {"a.jsonl": lines, "a.json": json.dumps([{"text": t} for t in texts]),
                 "lines.json": lines, "a.csv": f'text\r\n{texts[0]}\r\n"{quoted[1]}"\r\n'}
        got = {self.data(self.write(name, text), "--json").out for name, text in files.items()}
        self.assertEqual(len(got), 1)

    def test_templates_that_cannot_be_used(self):
        for text, says in (("{{ x | frob }}", "frob"), ("{% frob %}", "frob"),
                           ("{% for m in messages %}{{ m.content }}{% endfor %}", "not recognised"),
                           ("{{ messages[0].content }}", "assistant"), ("plain", "no Jinja")):
            with self.subTest(text=text):
                path = self.write("bad.jinja", text)
                says = [says] if "plain" in text else [says, "chatml"]
                self.refuse(2, says[0] if "plain" in text else says, "data", "-m", self.model,
                            "-d", self.talk, "--chat-template", path)
        self.refuse(2, "nowhere.jinja", "data", "-m", self.model, "-d", self.talk,
                    "--chat-template", "nowhere.jinja")
        self.refuse(2, ["line 1", "Roles!"], "data", "-m", self.model, "-d", self.talk,
                    "--chat-template", self.write("r.jinja", "{{ raise_exception('Roles!') }}"))

    def test_dates(self):
        path = self.write("date.jinja", "{{ strftime_now('%d %b %Y') }}" + JINJA)
        words = (self.talk, "--chat-template", path, "--max-length", 64)
        self.assertIn("31 Jan 2026", self.data(*words, "--chat-date", "2026-01-31").out)
        self.refuse(2, "date like", "data", "-m", self.model, "-d", self.talk,
                    "--chat-date", "2026-02-30")

    def test_needs_no_device(self):
        self.data(self.text, env=command.no_driver())

    def test_training_on_conversations(self):
        out = self.fresh()
        self.succeed("train", "-m", self.model, "-d", self.talk, "-o", out, "--lora-r", 2,
                     "--max-length", 64, "--max-steps", 2, "--chat-template", self.jinja)
        self.succeed("generate", "-m", self.model, "-a", out, "-p", "ab", "-n", 2, "--chat",
                     "--system", "s", "--chat-template", self.jinja)
        self.refuse(2, "--chat", "generate", "-m", self.model, "-p", "ab", "--system", "s")
        self.refuse(2, "template", "generate", "-m", self.model, "-p", "ab", "--chat")


if __name__ == "__main__":
    command.main()
