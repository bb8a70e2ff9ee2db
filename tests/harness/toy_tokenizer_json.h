// SPDX-License-Identifier: MIT
// Small files as a Hugging Face folder has them beside its tensors.
#ifndef HARNESS_TOY_TOKENIZER_JSON_H
#define HARNESS_TOY_TOKENIZER_JSON_H

// Byte-level, with a sequence of pre-tokenizers and a template: 8 tokens.
static const char toy_byte_level_json[] =
    "{\"version\":\"1.0\",\"added_tokens\":["
    "{\"id\":0,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":false,\"special\":true},"
    "{\"id\":7,\"content\":\"<tool>\",\"lstrip\":true,\"rstrip\":true,\"normalized\":true,"
    "\"special\":false}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x+\"},\"content\":\"b\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s)|\\\\p{L}+|\\\\s+(?!\\\\S)|\\\\d{1,3}\"},"
    "\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}"
    "]},\"post_processor\":{\"type\":\"TemplateProcessing\","
    "\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],"
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[0],\"tokens\":[\"<s>\"]}}},"
    "\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":null,\"byte_fallback\":false,"
    "\"ignore_merges\":false,\"vocab\":{\"<s>\":0,\"a\":1,\"b\":2,\"ab\":3,\"\\u0120\":4,"
    "\"\\u0120ab\":5,\"aa\":6},\"merges\":[\"a b\",[\"\\u0120\",\"ab\"],\"a a\"]}}";

// SentencePiece style, with byte tokens where a character is not known.
static const char toy_byte_fallback_json[] =
    "{\"added_tokens\":[{\"id\":1,\"content\":\"</s>\",\"special\":true,\"normalized\":false}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":["
    "{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]},"
    "\"pre_tokenizer\":null,\"post_processor\":null,"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},\"content\":\" \"},"
    "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,"
    "\"byte_fallback\":true,\"vocab\":{\"<unk>\":0,\"</s>\":1,\"<0x41>\":2,\"\\u2581\":3,"
    "\"a\":4,\"\\u2581a\":5},\"merges\":[\"\\u2581 a\"]}}";

#endif
