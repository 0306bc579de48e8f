// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/detokenizer.hpp"
#include "kernels/model/text_steps.hpp"
#include "kernels/model/utf8.hpp"
#include "tests/kernels/support.hpp"

#include <fstream>

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::test;

namespace json = boost::json;

namespace {

using words = std::vector<std::string>;

words cut(std::string_view step, std::string text, bool first = true) {
  return pre_tokenize(read_pre_tokenizers(json::parse({step.data(), step.size()}), "test"), std::move(text), first);
}

tokenizer from_text(const std::string& text) {
  auto path = testing::scratch_dir() / "tokenizer.json";
  std::ofstream{path} << text;
  return tokenizer{path};
}

/// Random text: pieces of the vocabulary, spaces, letters of several scripts, any character.
std::string random_text(const tokenizer& tokens, std::mt19937_64& random) {
  auto text = std::string{};
  for (auto parts = random() % 20; parts > 0; --parts) {
    switch (random() % 5) {
    case 0: text += " "; break;
    case 1: text += static_cast<char>('a' + random() % 26); break;
    case 2: utf8::append(text, static_cast<char32_t>(0x4e00 + random() % 1000)); break;
    case 3: utf8::append(text, static_cast<char32_t>(0x1f600 + random() % 60)); break;
    default: {
      auto piece = tokens.decode(std::vector{static_cast<token_id>(random() % tokens.size())});
      if (piece.find(utf8::replacement) == std::string::npos)
        text += piece;
    }
    }
  }
  return text;
}

constexpr auto all_models = {"gqa-f32", "sharded-f32", "f16-bytelevel", "bf16-llama3"};

tokenizer of_model(const char* name) {
  return tokenizer{data_models() / name / "tokenizer.json"};
}

} // namespace

TEST_CASE("utf8: well-formed text passes, every other sequence of bytes is found out") {
  using form = utf8::sequence::form;
  CHECK(utf8::valid("a\u00e9\u20ac\U0001f600"));
  for (auto* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                    "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xe2\x82", "\xe2(\xa1"})
    CHECK_FALSE(utf8::valid(bad));
  CHECK(utf8::front("\xe2\x82").kind == form::partial);
  CHECK(utf8::front("\xf0\x9f\x98").kind == form::partial);
  CHECK(utf8::front("\xe2(").kind == form::invalid);
  CHECK_EQ(utf8::front("\xf0\x9f\x98(").bytes, 3);
  CHECK_EQ(utf8::lossy("a\xf0\x9f\x98(\xff"), "a\ufffd(\ufffd");
  for (char32_t code = 0; code < 0x110000; code += 0x1f) {
    if (code >= 0xd800 && code < 0xe000)
      continue;
    auto text = std::string{};
    utf8::append(text, code);
    REQUIRE_EQ(utf8::front(text).code_point, code);
    REQUIRE_EQ(utf8::front(text).bytes, text.size());
  }
}

TEST_CASE("normalizer: the Unicode normal forms compose and decompose") {
  auto form = [](const std::string& name, const std::string& text) {
    auto steps = read_normalizers(boost::json::value{{"type", name}}, "test");
    return normalize(steps, text);
  };
  auto apart = "e\u0301 \u1112\u1161\u11ab \ufb01 \u2460";
  auto composed = "\u00e9 \ud55c \ufb01 \u2460";
  CHECK_EQ(form("NFC", apart), composed);
  CHECK_EQ(form("NFC", composed), composed);
  CHECK_EQ(form("NFD", composed), apart);
  CHECK_EQ(form("NFKC", apart), "\u00e9 \ud55c fi 1");
  CHECK_EQ(form("NFKD", composed), "e\u0301 \u1112\u1161\u11ab fi 1");
  CHECK_EQ(form("NFC", "a\u0307\u0323"), "\u1ea1\u0307"); // marks are put in order before they compose
  CHECK_EQ(form("NFC", ""), "");
  CHECK_THROWS_AS(form("NFX", "a"), failure);
}

TEST_CASE("pre_tokenizer: Split treats matches as its behaviour says") {
  auto split = [](std::string behaviour, bool invert = false) {
    return cut(R"({"type":"Split","pattern":{"String":"-"},"behavior":")" + behaviour + R"(","invert":)"
                 + (invert ? "true" : "false") + "}",
               "-a--b-");
  };
  CHECK_EQ(split("Removed"), words{"a", "b"});
  CHECK_EQ(split("Isolated"), words{"-", "a", "-", "-", "b", "-"});
  CHECK_EQ(split("MergedWithPrevious"), words{"-", "a-", "-", "b-"});
  CHECK_EQ(split("MergedWithNext"), words{"-a", "-", "-b", "-"});
  CHECK_EQ(split("Contiguous"), words{"-", "a", "--", "b", "-"});
  CHECK_EQ(split("Removed", true), words{"-", "-", "-", "-"});
}

TEST_CASE("pre_tokenizer: ByteLevel, Metaspace, Digits and Sequence cut and spell as they should") {
  CHECK_EQ(cut(R"({"type":"ByteLevel","add_prefix_space":true})", "I'm at 12th\n"),
           words{"ĠI", "'m", "Ġat", "Ġ12", "th", "Ċ"});
  CHECK_EQ(cut(R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})", "é x"), words{"Ã©Ġx"});
  CHECK_EQ(cut(R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"always"})", "a  b"), words{"▁a", "▁", "▁b"});
  CHECK_EQ(cut(R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"first"})", "a b", false), words{"a", "▁b"});
  CHECK_EQ(cut(R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false})", "a b"),
           words{"▁a▁b"});
  CHECK_EQ(cut(R"({"type":"Metaspace","replacement":"▁","add_prefix_space":false})", "a b"), words{"a", "▁b"});
  CHECK_EQ(cut(R"({"type":"Digits","individual_digits":true})", "a12b"), words{"a", "1", "2", "b"});
  CHECK_EQ(cut(R"({"type":"Digits"})", "a12b"), words{"a", "12", "b"});
  CHECK_EQ(
    cut(
      R"({"type":"Sequence","pretokenizers":[{"type":"Digits"},{"type":"Split","pattern":{"Regex":"\\s+"},"behavior":"Isolated"}]})",
      "a 12 b"),
    words{"a", " ", "12", " ", "b"});
  CHECK_EQ(cut("null", "a b"), words{"a b"});
}

TEST_CASE("pre_tokenizer: a long run that the pattern goes back over does not overflow or hang") {
  auto pattern = R"({"type":"Split","pattern":{"Regex":"\\p{L}+|\\s+(?!\\S)|\\s+|(?:a|b)*c"},"behavior":"Isolated"})";
  auto text = std::string(300'000, ' ') + "x" + std::string(300'000, 'y');
  auto found = cut(pattern, text);
  CHECK_EQ(found.size(), 3); // all spaces but one, one, the letters
}

TEST_CASE("tokenizer: added tokens are cut out longest first, with their spaces and word limits") {
  auto tokens = from_text(R"({
    "added_tokens": [
      {"id": 10, "content": "<x>", "special": true},
      {"id": 11, "content": "<x><y>", "special": true},
      {"id": 12, "content": "<l>", "special": true, "lstrip": true, "rstrip": true},
      {"id": 13, "content": "ab", "special": false, "single_word": true},
      {"id": 14, "content": "BB", "special": false, "normalized": true}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "NFC"}, {"type": "Replace", "pattern": {"String": "b"}, "content": "B"}]},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<l>", "type_id": 0}}],
      "special_tokens": {"<x>": {"id": "<x>", "ids": [10]}, "<l>": {"id": "<l>", "ids": [12]}}},
    "model": {"vocab": {"a": 0, "B": 1, " ": 2, "?": 3, "c": 4}, "merges": [], "unk_token": "?", "fuse_unk": true}})");
  auto plain = encode_options{false, true};
  CHECK_EQ(tokens.encode("a<x><y>a<x>", plain), std::vector<token_id>{0, 11, 0, 10});
  CHECK_EQ(tokens.encode("a  <l>  a", plain), std::vector<token_id>{0, 12, 0});
  CHECK_EQ(tokens.encode("ab cab", plain), std::vector<token_id>{13, 2, 4, 0, 1});
  CHECK_EQ(tokens.encode("cbbc", plain), std::vector<token_id>{4, 14, 4}); // found in the normalized text
  CHECK_EQ(tokens.encode("a"), std::vector<token_id>{10, 0, 12});
  CHECK_EQ(tokens.encode("xyz a", plain), std::vector<token_id>{3, 2, 0}); // one id for a run of unknown characters
  CHECK_EQ(tokens.encode("<x>a", {false, false}), std::vector<token_id>{3, 0});
  CHECK_EQ(tokens.encode("", plain), std::vector<token_id>{});
  CHECK_EQ(tokens.find("<x>"), 10);
  CHECK_EQ(tokens.find("c"), 4);
  CHECK_FALSE(tokens.find("zz").has_value());
  CHECK(tokens.is_special(10));
  CHECK_FALSE(tokens.is_special(13));
  CHECK_FALSE(tokens.is_special(-1));
  CHECK_EQ(tokens.size(), 15);
  CHECK_EQ(tokens.decode(std::vector<token_id>{10, 0, 13, 9, -5, 99}), "aab");
  CHECK_EQ(tokens.decode(std::vector<token_id>{10, 0}, false), "<x>a");
  CHECK_THROWS_AS(tokens.encode("\xff"), failure);
}

TEST_CASE("tokenizer: files with unknown steps, missing pieces or doubled ids are refused with the place named") {
  auto error = [](const std::string& text) {
    try {
      from_text(text);
    } catch (const failure& e) {
      return std::string{e.what()};
    }
    return std::string{"nothing was refused"};
  };
  auto with = [&](const std::string& more,
                  const std::string& model = R"({"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]})") {
    return error("{" + more + R"("model":)" + model + "}");
  };
  auto contains = [](const std::string& text, std::string_view part) {
    CAPTURE(text);
    CHECK(text.find(part) != std::string::npos);
  };
  contains(with(""), "nothing was refused");
  contains(error("{}"), "key \"model\" is missing");
  contains(with("", R"({"type":"Unigram","vocab":{}})"), "\"Unigram\"");
  contains(with("", R"({"vocab":{"a":0,"b":0},"merges":[]})"), "both have id 0");
  contains(with("", R"({"vocab":{"a":-1},"merges":[]})"), "piece \"a\" has id -1");
  contains(with("", R"({"vocab":{"a":99999999999},"merges":[]})"), "piece \"a\" has id 99999999999");
  contains(with("", R"({"vocab":{"a":0},"merges":["a b"]})"), "merges: number 0 is \"a b\"");
  contains(with("", R"({"vocab":{"a":0,"b":1},"merges":[["a","b"]]})"), "merges: number 0");
  contains(with("", R"({"vocab":{"a":0},"merges":[7]})"), "merges: number 0 is 7");
  contains(with("", R"({"vocab":{"a":0},"merges":[],"unk_token":"u"})"), "unk_token");
  contains(with("", R"({"vocab":{"a":0},"merges":[],"end_of_word_suffix":"</w>"})"), "end_of_word_suffix");
  contains(with(R"("normalizer":{"type":"Lowercase"},)"), "normalizer: type \"Lowercase\" is not supported");
  contains(with(R"("pre_tokenizer":{"type":"Bert"},)"), "pre_tokenizer: type \"Bert\"");
  contains(with(R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a"},"behavior":"Isolated"},)"),
           "the pattern \"(a\" is wrong at byte 2");
  contains(with(R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":"a"},"behavior":"Odd"},)"),
           "key \"behavior\" is \"Odd\"");
  contains(with(R"("decoder":{"type":"WordPiece"},)"), "decoder: type \"WordPiece\"");
  contains(with(R"("post_processor":{"type":"Roberta"},)"), "post_processor: type \"Roberta\"");
  contains(
    with(
      R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}],"special_tokens":{}},)"),
    "\"<s>\"");
  contains(with(R"("added_tokens":[{"id":0,"content":"<s>"}],)"), "contradicts");
  contains(with(R"("added_tokens":[{"id":7}],)"), "added_tokens: number 0: key \"content\" is missing");
}

TEST_CASE("tokenizer: text comes back exactly") {
  for (auto* name : all_models) {
    CAPTURE(name);
    auto tokens = of_model(name);
    auto random = std::mt19937_64{5};
    for (auto round = uint64_t{0}; round < testing::seeds(500); ++round) {
      auto text = random_text(tokens, random);
      if (text.find("\u2581") != std::string::npos)
        continue; // SentencePiece-style vocabularies write a space for it
      CAPTURE(text);
      REQUIRE_EQ(tokens.decode(tokens.encode(text, {true, false})), text);
    }
  }
}

TEST_CASE("detokenizer: pieces are whole characters, and together what decoding all at once gives") {
  for (auto* name : all_models) {
    CAPTURE(name);
    auto tokens = of_model(name);
    auto random = std::mt19937_64{6};
    for (auto round = uint64_t{0}; round < testing::seeds(1000); ++round) {
      auto ids = std::vector<token_id>{};
      if (round % 2 == 0)
        ids = tokens.encode(random_text(tokens, random));
      else // anything a model may say
        for (auto count = random() % 12; count > 0; --count)
          ids.push_back(static_cast<token_id>(random() % (tokens.size() + 2)));
      auto run = detokenizer{tokens, true};
      auto text = std::string{};
      for (auto id : ids) {
        auto piece = run.push(id);
        REQUIRE(utf8::valid(piece));
        text += piece;
      }
      auto last = run.finish();
      REQUIRE(utf8::valid(last));
      text += last;
      auto whole = tokens.decode(ids);
      // Byte fallback judges a run as a whole; what was handed out before cannot be taken back.
      if (whole.find(utf8::replacement) == std::string::npos || std::string_view{name} == "f16-bytelevel")
        REQUIRE_EQ(text, whole);
      else
        REQUIRE(text.find(utf8::replacement) != std::string::npos);
    }
  }
}

TEST_CASE("detokenizer: a continuation keeps its leading space, a beginning loses it, and half a character waits") {
  auto tokens = of_model("gqa-f32");
  auto ids = tokens.encode("a \u20ac", {false, true});
  auto start = detokenizer{tokens, true};
  auto go_on = detokenizer{tokens, false};
  auto first = start.push(ids[0]);
  CHECK_EQ(" " + first, go_on.push(ids[0]));
  auto euro = std::vector<token_id>{*tokens.find("<0xE2>"), *tokens.find("<0x82>"), *tokens.find("<0xAC>")};
  CHECK_EQ(go_on.push(euro[0]), "");
  CHECK_EQ(go_on.push(euro[1]), "");
  CHECK_EQ(go_on.push(euro[2]), "\u20ac");
  CHECK_EQ(go_on.push(euro[0]), "");
  CHECK_EQ(go_on.push(*tokens.find("<0x41>")), "\ufffdA");
  CHECK_EQ(go_on.push(euro[0]), "");
  CHECK_EQ(go_on.push(euro[1]), "");
  CHECK_EQ(go_on.finish(), "\ufffd\ufffd");
  CHECK_EQ(go_on.finish(), "");
}
