#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""inlay train: what it leaves in its folder, dry runs, configuration files, and that two runs are
the same run."""
import json
import struct
import time

import command
import gguf_bytes
from command import CliTest, read_log


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def tensorboard_records(data):
    """The framing of TensorBoard's files: length, its checksum, bytes, their checksum."""
    while data:
        length, checksum = struct.unpack_from("<QI", data)
        body = data[12:12 + length]
        assert checksum == masked(data[:8]), "the length's checksum"
        assert struct.unpack_from("<I", data, 12 + length)[0] == masked(body), "the checksum"
        yield body
        data = data[16 + length:]


def safetensors(path):
    """name -> (dtype, shape, bytes), and the metadata."""
    data = path.read_bytes()
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    meta = header.pop("__metadata__", {})
    body = data[8 + size:]
    ends = sorted(t["data_offsets"] for t in header.values())
    assert [a for a, _ in ends] == [0] + [b for _, b in ends[:-1]], "gaps"
    assert ends[-1][1] == len(body)
    return {name: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])])
            for name, t in header.items()}, meta


class Start(CliTest):
    def test_the_second_start_is_quick(self):
        """What the first one compiled is on disk: ours, and what drivers keep in their own."""
        cache = self.folder / "cache"
        env = command.environment(**{name: str(cache) for name in (
            "XDG_CACHE_HOME", "MESA_SHADER_CACHE_DIR", "MESA_GLSL_CACHE_DIR",
            "__GL_SHADER_DISK_CACHE_PATH")})
        seconds = []
        for start in range(3):
            out = self.fresh(f"out{start}")
            before = time.monotonic()
            self.succeed("train", "-m", command.BASE_MODEL, "-d", self.text, "-o", out,
                         "--max-length", 64, "--max-steps", 1, env=env)
            seconds.append(time.monotonic() - before)
        print(f"from start to end of one step: {seconds[0]:.2f} s, then {min(seconds[1:]):.2f} s")
        self.assertTrue((cache / "inlay/pipelines.bin").exists())
        self.assertLess(min(seconds[1:]), max(0.5 * seconds[0], 0.5))


class Run(CliTest):
    """One run of four steps with evaluations, looked at from all sides."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = cls.folder / "deep" / "er" / "out"
        cls.result = command.inlay("train", *cls.train_words(cls, cls.out, "--max-steps", 4,
                                                             "--eval-split", 0.25, "--eval-steps",
                                                             2, "--save-steps", 2, "--json"))
        assert cls.result.code == 0, cls.result

    def test_files(self):
        names = {p.name for p in self.out.iterdir()}
        events = {n for n in names if n.startswith("events.out.tfevents.")}
        self.assertEqual(len(events), 1)
        self.assertEqual(names - events,
                         {"adapter_model.safetensors", "adapter_config.json", "adapter.gguf",
                          "log.jsonl", "loss.png", "checkpoint-2", "checkpoint-4"})

    def test_result(self):
        r = self.result.json()
        self.assertEqual((r["steps"], r["output"]), (4, str(self.out)))
        self.assertEqual(r["adapter"], str(self.out / "adapter_model.safetensors"))
        log = read_log(self.out)
        self.assertEqual(r["loss"], [l["loss"] for l in log if "loss" in l][-1])
        self.assertEqual(r["eval_loss"], [l["eval_loss"] for l in log if "eval_loss" in l][-1])
        self.assertEqual(r["tokens"], log[-2]["tokens"])
        self.assertGreater(r["peak_memory_bytes"], 0)

    def test_progress_of_a_pipe(self):
        """A line a report, and nothing a terminal would need."""
        lines = self.result.err.splitlines()
        self.assertTrue(all(line.startswith("inlay: ") for line in lines), self.result)
        for step in range(1, 5):
            self.assertEqual(len([x for x in lines if f"step {step}/4  lr" in x]), 1)
        self.assertNotRegex(self.result.err, r"[\x00-\x09\x0b-\x1f]")

    def test_log(self):
        log = read_log(self.out)
        steps = [l for l in log if "loss" in l]
        self.assertEqual([l["step"] for l in steps], [1, 2, 3, 4])
        for l in steps:
            self.assertLessEqual({"step", "epoch", "loss", "grad_norm", "learning_rate", "tokens",
                                  "tokens_per_second", "peak_memory_bytes"}, set(l))
        self.assertEqual([l["step"] for l in log if "eval_loss" in l], [2, 4])
        rates = [l["learning_rate"] for l in steps]
        for rate, expected in zip(rates, (2e-4, 1.5e-4, 1e-4, 5e-5)):
            self.assertAlmostEqual(rate, expected, delta=1e-10)
        self.assertEqual(sorted(l["tokens"] for l in steps), [l["tokens"] for l in steps])

    def test_tensorboard(self):
        path = next(self.out.glob("events.out.tfevents.*"))
        records = list(tensorboard_records(path.read_bytes()))
        self.assertIn(b"brain.Event:2", records[0])
        self.assertEqual(sum(b"train/loss" in r for r in records), 4)
        self.assertEqual(sum(b"eval/loss" in r for r in records), 2)
        losses = [l["loss"] for l in read_log(self.out) if "loss" in l]
        for record, loss in zip((r for r in records if b"train/loss" in r), losses):
            at = record.index(b"train/loss") + len("train/loss")
            self.assertEqual(record[at], 0x15)  # simple_value, a float
            self.assertAlmostEqual(struct.unpack_from("<f", record, at + 1)[0], loss, places=5)

    def test_picture(self):
        data = (self.out / "loss.png").read_bytes()
        self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual(data[12:16], b"IHDR")
        width, height = struct.unpack_from(">II", data, 16)
        self.assertTrue(200 <= width <= 4000 and 150 <= height <= 4000)
        self.assertEqual(data[-12:-4], b"\0\0\0\0IEND")

    def test_peft_files(self):
        config = json.loads((self.out / "adapter_config.json").read_text())
        self.assertEqual((config["peft_type"], config["r"], config["task_type"]),
                         ("LORA", 4, "CAUSAL_LM"))
        tensors, _ = safetensors(self.out / "adapter_model.safetensors")
        self.assertEqual(len(tensors), 2 * 7 * 2)
        name = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"
        self.assertEqual(tensors[name][:2], ("F32", [4, 64]))
        self.assertTrue(any(any(t[2]) for n, t in tensors.items() if "lora_B" in n))

    def test_modes(self):
        """Readable by others, as far as the umask lets."""
        for path in self.out.rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o444, 0o444, path)

    def test_the_same_again(self):
        again = self.fresh()
        self.train(again, "--max-steps", 4, "--eval-split", 0.25, "--save-steps", 0)
        for name in ("adapter_model.safetensors", "adapter.gguf", "adapter_config.json"):
            self.assertEqual((again / name).read_bytes(), (self.out / name).read_bytes(), name)
        other = self.fresh("other")
        self.train(other, "--max-steps", 4, "--eval-split", 0.25, "--seed", 1)
        self.assertNotEqual((other / "adapter.gguf").read_bytes(),
                            (self.out / "adapter.gguf").read_bytes())

    def test_going_on_from_the_adapter(self):
        out = self.fresh()
        self.succeed("train", "-m", self.model, "-d", self.text, "-o", out, "-a", self.out,
                     "--max-steps", 0)
        name = "adapter_model.safetensors"
        self.assertEqual((out / name).read_bytes(), (self.out / name).read_bytes())
        refined = self.fresh("refined")
        self.succeed("train", "-m", self.model, "-d", self.text, "-o", refined, "--max-length", 32,
                     "-a", self.out / "adapter.gguf", "--max-steps", 1, "--logging-steps", 1)
        first = read_log(self.out)[0]["loss"]
        self.assertLess(abs(read_log(refined)[0]["loss"] - first), 0.5)
        self.assertNotEqual((refined / name).read_bytes(), (self.out / name).read_bytes())

    def test_earlier_checkpoints_are_not_mixed_in(self):
        words = self.train_words(self.out, "--max-steps", 1)
        self.refuse(2, [self.out, "--resume-from-checkpoint", "--overwrite-output-dir"], "train",
                    *words)
        copy = self.fresh()
        self.train(copy, "--max-steps", 1, "--save-steps", 1)
        self.train(copy, "--max-steps", 2, "--overwrite-output-dir", "--logging-steps", 1)
        self.assertEqual(list(copy.glob("checkpoint-*")), [])
        self.assertEqual([l["step"] for l in read_log(copy)], [1, 2])


class FirstValues(CliTest):
    def test_from_the_weights(self):
        """Twice the rank and the same scale; the rates of what is frozen do not matter to it."""
        for init in ("pissa", "pissa_niter_4", "olora"):
            out = self.train(self.folder / init, "--max-steps", 0, "--lora-r", 3, "--lora-alpha", 6,
                             "--init-lora-weights", init) and self.folder / init
            config = json.loads((out / "adapter_config.json").read_text())
            self.assertEqual((config["r"], config["lora_alpha"]), (6, 12))
            self.assertEqual((config["rank_pattern"], config["alpha_pattern"]), ({}, {}))
            tensors, _ = safetensors(out / "adapter_model.safetensors")
            a = tensors["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"][2]
            self.assertEqual(a[:len(a) // 2], a[len(a) // 2:])
            self.assertTrue(any(a))
            self.assertTrue((out / "adapter.gguf").exists())

    def test_refused(self):
        words = ["train", *self.train_words(self.fresh(), "--init-lora-weights")]
        for init in ("loftq", "pissa_niter_0", "pissa_niter_", "corda"):
            self.refuse(2, "--init-lora-weights", *words, init)
        self.refuse(2, "dropout", *words, "pissa", "--lora-dropout", 0.1)
        self.refuse(2, "no 200 first values", *words, "olora", "--lora-r", 200)


class Dora(CliTest):
    def test_initial_and_trained(self):
        """Magnitudes begin as the norms of the base's rows, and there is no GGUF of them."""
        words = ["train", "-m", self.model, "-d", self.text, "--use-dora", "--lora-r", 2,
                 "--max-length", 32]
        first, out = self.folder / "dora-0", self.folder / "dora"
        self.succeed(*words, "-o", first, "--max-steps", 0)
        (out).mkdir()
        (out / "adapter.gguf").write_bytes(b"of an earlier run")
        self.assertIn("GGUF has no place", self.succeed(*words, "-o", out, "--max-steps", 3).err)
        self.assertFalse((out / "adapter.gguf").exists())
        llama, name = gguf_bytes.Llama(), "base_model.model.model.layers.1.mlp.down_proj."
        weights = llama.tensors["blk.1.ffn_down.weight"]
        cols = weights.shape[0]
        norms = [sum(x * x for x in weights.values[i:i + cols]) ** 0.5
                 for i in range(0, len(weights.values), cols)]
        begun, _ = safetensors(first / "adapter_model.safetensors")
        trained, _ = safetensors(out / "adapter_model.safetensors")
        got = struct.unpack(f"<{len(norms)}f", begun[name + "lora_magnitude_vector"][2])
        self.assertEqual(len(got), len(norms))
        for a, b in zip(got, norms):
            self.assertAlmostEqual(a / b, 1.0, delta=1e-6)
        self.assertNotEqual(*(t[name + "lora_magnitude_vector"][2] for t in (begun, trained)))
        info = self.succeed("info", out, "--json").json()
        self.assertTrue(info["use_dora"])
        self.assertEqual(info["parameters"], sum(t["r"] * (t["in"] + t["out"]) + t["out"]
                                                 for t in info["targets"]))
        self.assertIn("DoRA, peft", self.succeed("info", out).out)
        self.succeed("eval", "-m", self.model, "-a", out, "-d", self.text)
        self.refuse(2, "DoRA", "convert", "-m", self.model, "-a", out, "-o", first / "x.gguf")


class Plans(CliTest):
    def test_no_steps_write_the_initial_adapter(self):
        out = self.fresh()
        self.train(out, "--max-steps", 0)
        tensors, _ = safetensors(out / "adapter_model.safetensors")
        for name, (_, _, data) in tensors.items():
            self.assertEqual(any(data), "lora_A" in name, name)

    def test_each_run_has_a_file_of_events(self):
        """Also two within a second."""
        out = self.fresh()
        for _ in range(2):
            self.train(out, "--max-steps", 0)
        self.assertEqual(len(list(out.glob("events.out.tfevents.*"))), 2)

    def test_names_of_the_folder(self):
        place = self.fresh()
        place.mkdir()
        for name in ("with space/", "\u00e9\u65e5", ".", "a/../b", "--odd"):
            self.succeed("train", *self.train_words("never", "--max-steps", 0)[:4],
                         f"--output={name}", "--max-steps", 0, cwd=place)
            self.assertTrue((place / name / "adapter.gguf").is_file(), name)

    def test_quiet(self):
        self.assertEqual(self.train(self.fresh(), "--max-steps", 1, "--quiet").err, "")

    def test_modules(self):
        for modules, count in (("all-linear", 14), ("q_proj,v_proj", 4), (".*(q|v)_proj", 4),
                               (".*layers[.]1[.].*", 7), ("lm_head", 1)):
            out = self.fresh(modules.replace("/", ""))
            self.train(out, "--max-steps", 0, "--lora-target-modules", modules)
            info = self.succeed("info", out, "--json").json()
            self.assertEqual(len(info["targets"]), count, modules)
        for modules, says in (("nothing", '"nothing"'), ("(", "parenthesis")):
            self.refuse(2, says, "train", *self.train_words(self.fresh(modules), "--quiet"),
                        "--lora-target-modules", modules)

    def test_dry_run(self):
        out = self.fresh()
        result = self.train(out, "--max-steps", 1, "--dry-run")
        self.assertFalse(out.exists())
        for word in ("weights", "adapter", "optimizer", "activations", "scratch", "total",
                     "fits", "step"):
            self.assertRegex(result.out, rf"(?m)^{word} ")
        self.assertIn("FLOP", result.out)
        self.succeed("train", "-m", self.model, "-d", self.text, "--dry-run")

    def check_plan(self, *more):
        out = self.fresh("-".join(map(str, more)))
        plan = self.train(out, "--max-steps", 1, "--dry-run", "--json", *more).json()
        self.assertFalse(out.exists())
        memory = plan["memory_bytes"]
        self.assertEqual(memory["total"], sum(v for k, v in memory.items() if k != "total"))
        self.assertTrue(plan["fits"])
        run = self.train(out, "--max-steps", 1, "--json", *more).json()
        self.assertLess(abs(memory["total"] / run["peak_memory_bytes"] - 1), 0.05)
        return plan

    def test_plan_is_what_a_run_uses(self):
        plain = self.check_plan("--gradient-checkpointing", "none")
        self.assertEqual(plain["trainable_parameters"], 4096)
        less = self.check_plan("--gradient-checkpointing", "all", "--quantize", "nf4")
        self.assertEqual((plain["checkpointed_layers"], less["checkpointed_layers"]), (0, 2))
        self.assertLess(less["memory_bytes"]["weights"], plain["memory_bytes"]["weights"])

    def test_recomputing_changes_nothing(self):
        adapters = set()
        for mode in ("none", "all", 1):
            out = self.fresh(str(mode))
            self.train(out, "--max-steps", 2, "--gradient-checkpointing", mode)
            adapters.add((out / "adapter_model.safetensors").read_bytes())
        self.assertEqual(len(adapters), 1)

    def test_quantized_models_train(self):
        losses = set()
        for kind in ("q8_0", "q4_0", "nf4"):
            out = self.fresh(kind)
            r = self.train(out, "--max-steps", 1, "--quantize", kind, "--json").json()
            self.assertTrue(0 < r["loss"] < 20)
            losses.add(r["loss"])
        self.assertEqual(len(losses), 3)

    def test_accumulation_and_epochs(self):
        plan = self.train(self.fresh(), "--dry-run", "--json", "--batch-size", 2,
                          "--gradient-accumulation-steps", 2, "--num-train-epochs", 1.5).json()
        self.assertEqual((plan["tokens_per_step"], plan["steps_per_epoch"], plan["total_steps"]),
                         (128, 4, 6))

    def test_evaluation_data(self):
        out = self.fresh()
        r = self.train(out, "--max-steps", 1, "--eval-data", self.text, "--json").json()
        loss = self.succeed("eval", "-m", self.model, "-a", out, "-d", self.text, "--json",
                            "--max-length", 32).json()
        self.assertAlmostEqual(r["eval_loss"], loss["loss"], places=5)


class Configs(CliTest):
    def config(self, text):
        return self.write(f"{self.id().rsplit('.', 1)[-1]}.yaml", text)

    def plan(self, text, *more):
        return self.succeed("train", "-c", self.config(text), "--dry-run", "--json", *more).json()

    def paths(self):
        return f"model: {self.model}\ndata: {self.text}\n"

    def test_our_names(self):
        plan = self.plan(self.paths() + "max_length: 32\nlora-r: 2\nmax_steps: 7\n"
                         "lora_target_modules: [q_proj, v_proj]\n")
        self.assertEqual((plan["total_steps"], plan["trainable_parameters"]),
                         (7, 2 * 2 * ((32 + 32) + (32 + 16))))

    def test_others_names(self):
        plan = self.plan(f"base_model: {self.model}\ntrain_data: {self.text}\n"
                         "sequence_len: 32\nmicro_batch_size: 2\nnum_epochs: 2\nadapter: qlora\n"
                         "gradient_accumulation_steps: 2\nlora_target_linear: true\n"
                         "sample_packing: true\nlearning_rate: 1e-3\n")
        self.assertEqual((plan["tokens_per_step"], plan["total_steps"]), (128, 8))

    def test_command_line_goes_before(self):
        text = self.paths() + "max_length: 32\nmax_steps: 7\n"
        self.assertEqual(self.plan(text, "--max-steps", 3)["total_steps"], 3)

    def refuse_config(self, text, *says):
        path = self.config(text)
        self.refuse(2, says, "train", "-c", path)

    def test_wrong(self):
        path = f"{self.folder}/test_wrong.yaml"
        for text, says in (("lora_r: 8\nlearning_rte: 1\n", ":2: unknown key learning_rte; did "
                            "you mean learning_rate?"),
                           ("lora_r: many\n", ":1: lora_r must be"),
                           ("lora_r: 8\n\nlora_rank: 8\n", ":3: "),
                           ("lora_r: [8]\n", ":1: lora_r takes one value"),
                           ("lora_r: {a: b}\n", ":1: lora_r takes a plain value"),
                           ("- lora_r\n", ":1: "),
                           ("lora_r: 8\nbad: [\n", ":2: "),
                           ("just words", ":1: ")):
            with self.subTest(text=text):
                self.refuse_config(text, path + says)

    def test_unreadable(self):
        self.refuse(2, ["nowhere.yaml", "No such file"], "train", "-c", "nowhere.yaml")
        self.refuse(2, self.folder, "train", "-c", self.folder)

    def test_empty(self):
        self.refuse(2, "MODEL is missing", "train", "-c", self.config("# nothing\n"))


if __name__ == "__main__":
    command.main()
