#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "io/file.hpp"
#include "io/json.hpp"
#include "llama/tokenizer.hpp"
#include "llama/tokenizer_json.hpp"
#include "llama/tokenizer_model.hpp"
#include "llama/tokenizer_split.hpp"
#include "llama/tokenizer_unicode.hpp"

namespace llama {
namespace tokens {
namespace {

using io::quote;
using Json = nlohmann::json;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

/// A part of the pipeline and where it stands in the file.
struct Part {
  const Json* json;
  std::string place;
  std::string type;
};

/// Makes a Model from a tokenizer.json. Each member reads one key of the file, in the order of load().
class Loader {
 public:
  explicit Loader(const std::string& name) : fields_(name), model_(std::make_shared<Model>()) {}

  Result<std::shared_ptr<const Model>> load(const Json& root) {
    if (!root.is_object()) fields_.fail("the document", "is not an object");
    const Json& model = JsonFields::member(root, "model");
    const Json& added = JsonFields::member(root, "added_tokens");
    options(model);
    vocabulary(model, added);
    if (!fields_.failed()) model_->index();
    merges(model);
    fallbacks(model);
    normalizer(root);
    added_tokens(added);
    pre_tokenizer(root);
    post_processor(root);
    decoder(root);
    if (fields_.failed()) return fields_.fault();
    name_ends();
    return std::shared_ptr<const Model>(model_);
  }

  /// Lets a tokenizer_config.json overrule the ids at the ends of a text, after load().
  Result<void> configure(const Json& config, const std::string& name) {
    JsonFields fields(name);
    if (!config.is_object()) fields.fail("the document", "is not an object");
    end(config, fields, "bos_token", "add_bos_token", model_->bos, model_->before);
    end(config, fields, "eos_token", "add_eos_token", model_->eos, model_->after);
    if (fields.failed()) return fields.fault();
    return {};
  }

 private:
  void options(const Json& model) {
    if (!model.is_object()) return fields_.fail("model", "is not an object");
    const std::string type = fields_.string(model, "type", "model", "BPE");
    if (type != "BPE") fields_.unsupported("model.type", quote(type) + " is not supported, only \"BPE\" is");
    const Json& dropout = JsonFields::member(model, "dropout");
    if (!dropout.is_null() && dropout != 0) fields_.unsupported("model.dropout", "is not supported");
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!fields_.string(model, affix, "model", "").empty())
        fields_.unsupported(fmt::format("model.{}", affix), "is not supported");
    model_->fuse_unknown = fields_.boolean(model, "fuse_unk", "model", false);
    model_->ignore_merges = fields_.boolean(model, "ignore_merges", "model", false);
  }

  void put(std::int32_t id, const std::string& piece, TokenKind kind, std::string_view place) {
    const auto index = static_cast<std::size_t>(id);
    if (index >= model_->pieces.size()) {
      model_->pieces.resize(index + 1);
      model_->kinds.resize(index + 1, TokenKind::absent);
    }
    if (model_->kinds[index] != TokenKind::absent && model_->pieces[index] != piece)
      fields_.fail(place, fmt::format("id {} is already {}", id, quote(model_->pieces[index])));
    model_->pieces[index] = piece;
    model_->kinds[index] = kind;
  }

  void vocabulary(const Json& model, const Json& added) {
    const Json& vocab = JsonFields::member(model, "vocab");
    if (!vocab.is_object() || vocab.empty()) return fields_.fail("model.vocab", "is not an object that holds tokens");
    const std::string range = fmt::format("is not an integer from 0 to {}", Tokenizer::max_vocabulary - 1);
    for (const auto& [piece, value] : vocab.items()) {
      if (fields_.failed()) return;
      if (const auto id = JsonFields::id(value))
        put(*id, piece, TokenKind::plain, "model.vocab");
      else
        fields_.fail("model.vocab", fmt::format("the id of {} {}", quote(piece), range));
    }

    if (!added.is_array()) {
      if (!added.is_null()) fields_.fail("added_tokens", "is not an array");
      return;
    }
    std::unordered_set<std::string> contents;
    for (std::size_t i = 0; i < added.size() && !fields_.failed(); ++i) {
      const std::string place = fmt::format("added_tokens[{}]", i);
      const std::string content = fields_.string(added[i], "content", place);
      const bool special = fields_.boolean(added[i], "special", place, false);
      const auto id = JsonFields::id(JsonFields::member(added[i], "id"));
      if (!id) return fields_.fail(place, "the id " + range);
      if (!contents.insert(content).second) return fields_.fail(place, quote(content) + " is given twice");
      const auto in_vocab = vocab.find(content);
      if (in_vocab != vocab.end() && JsonFields::id(*in_vocab) != id)
        return fields_.fail(place, fmt::format("{} has id {}, but {} in model.vocab", quote(content), *id,
                                               in_vocab->get<std::int64_t>()));
      put(*id, content, special ? TokenKind::special : TokenKind::plain, place);
    }
  }

  void merges(const Json& model) {
    const Json& list = fields_.array(model, "merges", "model");
    if (list.size() >= PairTable::max_rank) return fields_.fail("model.merges", "has too many entries");
    model_->merges.reserve(list.size());
    std::string joined;
    std::uint32_t rank = 0;
    for (std::size_t i = 0; i < list.size() && !fields_.failed(); ++i) {
      const Json& entry = list[i];
      const auto fail = [&](std::string_view what) { fields_.fail(fmt::format("model.merges[{}]", i), what); };
      std::string_view left;
      std::string_view right;
      if (entry.is_string()) {
        const std::string_view line = entry.get_ref<const std::string&>();
        if (line.starts_with("#version")) continue;
        const std::size_t space = line.find(' ');
        if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos)
          return fail(quote(line) + " is not two tokens with one space between them");
        left = line.substr(0, space);
        right = line.substr(space + 1);
      } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
        left = entry[0].get_ref<const std::string&>();
        right = entry[1].get_ref<const std::string&>();
      } else {
        return fail("is neither a string nor a pair of strings");
      }
      joined.assign(left).append(right);
      const auto known = [&](std::string_view piece) {
        const std::int32_t id = model_->id_of(piece);
        if (id == no_token) fail(quote(piece) + " is not in model.vocab");
        return id;
      };
      const std::int32_t left_id = known(left);
      const std::int32_t right_id = known(right);
      const std::int32_t id = known(joined);
      if (!fields_.failed()) model_->merges.insert(left_id, right_id, {rank++, id});
    }
  }

  void fallbacks(const Json& model) {
    if (fields_.boolean(model, "byte_fallback", "model", false))
      for (unsigned byte = 0; byte < 256; ++byte) model_->byte_ids[byte] = model_->id_of(byte_piece(byte));
    const Json& unknown = JsonFields::member(model, "unk_token");
    if (unknown.is_null()) return;
    const std::string piece = fields_.string(model, "unk_token", "model");
    model_->unknown = model_->id_of(piece);
    if (model_->unknown == no_token) fields_.fail("model.unk_token", quote(piece) + " is not in model.vocab");
  }

  /// The parts that `json` lists: itself, or the members of a "Sequence" under `key`.
  std::vector<Part> parts(const Json& json, const std::string& place, const char* key) {
    std::vector<Part> list;
    if (json.is_null()) return list;
    if (!json.is_object()) {
      fields_.fail(place, "is not an object");
      return list;
    }
    std::string type = fields_.string(json, "type", place);
    if (type != "Sequence") {
      list.push_back({&json, place, std::move(type)});
      return list;
    }
    const Json& members = fields_.array(json, key, place);
    for (std::size_t i = 0; i < members.size() && !fields_.failed(); ++i)
      for (Part& part : parts(members[i], fmt::format("{}.{}[{}]", place, key, i), key))
        list.push_back(std::move(part));
    return list;
  }

  void unsupported_type(const Part& part) { fields_.unsupported(part.place, quote(part.type) + " is not supported"); }

  // One short replacement bounds how much longer a text can become.
  TextStep replacement(const Part& part) {
    constexpr std::size_t max_content = 16;
    TextStep step;
    if (part.type == "Prepend") {
      step.content = fields_.string(*part.json, "prepend", part.place);
    } else {
      const Json& pattern = JsonFields::member(*part.json, "pattern");
      const Json& text = JsonFields::member(pattern, "String");
      if (text.is_string()) step.from = text.get<std::string>();
      if (step.from.empty()) fields_.unsupported(part.place, "the pattern is not a \"String\" of at least one byte");
      step.content = fields_.string(*part.json, "content", part.place);
    }
    if (step.content.size() > max_content)
      fields_.unsupported(part.place, fmt::format("the content is longer than {} bytes", max_content));
    return step;
  }

  void normalizer(const Json& root) {
    const auto list = parts(JsonFields::member(root, "normalizer"), "normalizer", "normalizers");
    for (const Part& part : list) {
      if (part.type != "Prepend" && part.type != "Replace") return unsupported_type(part);
      const auto same = [&](const Part& other) { return other.type == part.type; };
      if (std::count_if(list.begin(), list.end(), same) > 1)
        return fields_.unsupported("normalizer", fmt::format("more than one \"{}\" is not supported", part.type));
      model_->normalizer.push_back(replacement(part));
    }
  }

  void added_tokens(const Json& added) {
    std::vector<AddedToken> raw;
    std::vector<AddedToken> normalized;
    for (std::size_t i = 0; i < added.size() && !fields_.failed(); ++i) {
      const Json& json = added[i];
      const std::string place = fmt::format("added_tokens[{}]", i);
      if (fields_.boolean(json, "single_word", place, false))
        return fields_.unsupported(place, "\"single_word\" is not supported");
      const bool special = fields_.boolean(json, "special", place, false);
      const bool is_normalized = fields_.boolean(json, "normalized", place, !special);
      AddedToken token{.content = fields_.string(json, "content", place),
                       .id = JsonFields::id(JsonFields::member(json, "id")).value_or(no_token),
                       .strip_left = fields_.boolean(json, "lstrip", place, false),
                       .strip_right = fields_.boolean(json, "rstrip", place, false)};
      if (is_normalized) token.content = normalize(model_->normalizer, token.content);
      (is_normalized ? normalized : raw).push_back(std::move(token));
    }
    model_->raw_tokens = AddedTokens(std::move(raw));
    model_->normalized_tokens = AddedTokens(std::move(normalized));
  }

  void metaspace(const Part& part) {
    const std::string& place = part.place;
    model_->space = fields_.string(*part.json, "replacement", place);
    if (model_->space.empty() || read_utf8(model_->space).size != model_->space.size())
      return fields_.fail(place, "\"replacement\" is not one character");
    model_->split = fields_.boolean(*part.json, "split", place, true) ? WordSplit::at_spaces : WordSplit::whole;
    model_->prefix = metaspace_prefix(part);
  }

  SpacePrefix metaspace_prefix(const Part& part) {
    // Files from before prepend_scheme say add_prefix_space.
    const bool prefixed = fields_.boolean(*part.json, "add_prefix_space", part.place, true);
    const std::string scheme = fields_.string(*part.json, "prepend_scheme", part.place, prefixed ? "always" : "never");
    if (scheme == "always") return SpacePrefix::always;
    if (scheme == "first") return SpacePrefix::first;
    if (scheme != "never") fields_.unsupported(part.place, "\"prepend_scheme\" " + quote(scheme) + " is unknown");
    return SpacePrefix::never;
  }

  void pre_tokenizer(const Json& root) {
    const auto list = parts(JsonFields::member(root, "pre_tokenizer"), "pre_tokenizer", "pretokenizers");
    if (list.empty() || fields_.failed()) return;
    const Part& last = list.back();
    if (last.type == "Metaspace" && list.size() == 1) return metaspace(last);
    if (last.type != "ByteLevel" || list.size() > 2) return unsupported_type(list.front());

    model_->byte_level = true;
    const bool patterned = fields_.boolean(*last.json, "use_regex", last.place, true);
    const bool prefixed = fields_.boolean(*last.json, "add_prefix_space", last.place, true);
    if (prefixed) model_->prefix = SpacePrefix::always;
    if (patterned) model_->split = WordSplit::gpt2;
    if (list.size() == 1) return;

    const Part& split = list.front();
    if (split.type != "Split") return unsupported_type(split);
    if (patterned || prefixed)
      fields_.unsupported(last.place, "\"use_regex\" or \"add_prefix_space\" behind a \"Split\" is not supported");
    const std::string behavior = fields_.string(*split.json, "behavior", split.place);
    if (behavior != "Isolated" || fields_.boolean(*split.json, "invert", split.place, false))
      fields_.unsupported(split.place, "only the behavior \"Isolated\", not inverted, is supported");
    const Json& pattern = JsonFields::member(*split.json, "pattern");
    const std::string regex = fields_.string(pattern, "Regex", split.place + ".pattern");
    if (regex == llama3_pattern)
      model_->split = WordSplit::llama3;
    else if (regex == gpt2_pattern)
      model_->split = WordSplit::gpt2;
    else
      fields_.unsupported(split.place + ".pattern", "the pattern is not one of the known two: " + quote(regex));
  }

  void post_processor(const Json& root) {
    for (const Part& part : parts(JsonFields::member(root, "post_processor"), "post_processor", "processors")) {
      if (part.type == "ByteLevel") continue;
      if (part.type != "TemplateProcessing") return unsupported_type(part);
      process_template(*part.json, part.place);
    }
  }

  void process_template(const Json& json, const std::string& place) {
    std::vector<std::int32_t> before;
    std::vector<std::int32_t> after;
    bool text_seen = false;
    const Json& single = fields_.array(json, "single", place);
    for (std::size_t i = 0; i < single.size() && !fields_.failed(); ++i) {
      const std::string item = fmt::format("{}.single[{}]", place, i);
      if (const Json& sequence = JsonFields::member(single[i], "Sequence"); sequence.is_object()) {
        if (text_seen || fields_.string(sequence, "id", item) != "A")
          return fields_.unsupported(item, "only the sequence \"A\", once, is supported");
        text_seen = true;
        continue;
      }
      const Json& special = JsonFields::member(single[i], "SpecialToken");
      const std::string name = fields_.string(special, "id", item);
      const Json& tokens = JsonFields::member(json, "special_tokens");
      const Json& ids = fields_.array(JsonFields::member(tokens, name.c_str()), "ids",
                                      fmt::format("{}.special_tokens[{}]", place, quote(name)));
      for (const Json& value : ids) {
        const auto id = JsonFields::id(value);
        if (!id || static_cast<std::size_t>(*id) >= model_->pieces.size())
          return fields_.fail(item, fmt::format("{} has an id outside the vocabulary", quote(name)));
        (text_seen ? after : before).push_back(*id);
      }
    }
    if (!text_seen) fields_.fail(place, "\"single\" lacks the sequence \"A\"");
    model_->before.insert(model_->before.begin(), before.begin(), before.end());
    model_->after.insert(model_->after.end(), after.begin(), after.end());
  }

  void decoder(const Json& root) {
    const auto list = parts(JsonFields::member(root, "decoder"), "decoder", "decoders");
    if (list.empty()) fields_.unsupported("decoder", "a tokenizer without one is not supported");
    if (fields_.failed()) return;
    model_->spelled = model_->pieces;
    const Part& first = list.front();
    if (list.size() == 1 && first.type == "ByteLevel") return spell_byte_level();
    if (list.size() == 1 && first.type == "Metaspace") {
      const std::string space = fields_.string(*first.json, "replacement", first.place);
      if (space.empty()) return fields_.fail(first.place, "\"replacement\" is empty");
      model_->first_token_drops_spaces = metaspace_prefix(first) != SpacePrefix::never;
      return spell_replaced({.from = space, .content = " "});
    }

    // What the steps do to one token at a time is done here; only Strip, behind Fuse, looks at the whole text.
    constexpr std::string_view order[] = {"Replace", "ByteFallback", "Fuse", "Strip"};
    const auto* next = std::begin(order);
    for (const Part& part : list) {
      const auto* step = std::find(next, std::end(order), part.type);
      if (step == std::end(order)) return fields_.unsupported(part.place, quote(part.type) + " is not supported here");
      next = step + 1;
      if (part.type == "Replace") spell_replaced(replacement(part));
      if (part.type == "ByteFallback") spell_bytes();
      if (part.type == "Strip") strip(part, list);
    }
  }

  void spell_replaced(const TextStep& step) {
    if (fields_.failed()) return;
    for (std::string& text : model_->spelled) text = replace_all(text, step.from, step.content);
  }

  void spell_bytes() {
    for (unsigned byte = 0; byte < 256; ++byte)
      if (const std::int32_t id = model_->id_of(byte_piece(byte)); id != no_token)
        model_->spelled[static_cast<std::size_t>(id)].assign(1, static_cast<char>(byte));
  }

  // A piece with a character that stands for no byte is taken as it is: added tokens are written in plain text.
  void spell_byte_level() {
    std::unordered_map<char32_t, char> byte_of;
    for (unsigned byte = 0; byte < 256; ++byte) byte_of.emplace(byte_symbol(byte), static_cast<char>(byte));
    std::string bytes;
    for (std::string& text : model_->spelled) {
      bytes.clear();
      std::string_view rest = text;
      while (!rest.empty()) {
        const Utf8Step step = read_utf8(rest);
        const auto found = byte_of.find(step.value);
        if (found == byte_of.end()) break;
        bytes += found->second;
        rest.remove_prefix(step.size);
      }
      if (rest.empty()) text = bytes;
    }
  }

  void strip(const Part& part, const std::vector<Part>& list) {
    const bool fused = std::any_of(list.begin(), list.end(), [](const Part& other) { return other.type == "Fuse"; });
    const Json& start = JsonFields::member(*part.json, "start");
    const Json& stop = JsonFields::member(*part.json, "stop");
    const auto count = JsonFields::id(start);
    if (!count || !JsonFields::id(stop)) return fields_.fail(part.place, "\"start\" or \"stop\" is not a small count");
    if (!fused || stop != 0 || fields_.string(*part.json, "content", part.place) != " ")
      return fields_.unsupported(part.place, "only spaces at the start, behind a \"Fuse\", can be stripped");
    model_->leading_spaces = static_cast<std::size_t>(*count);
  }

  /// Finds bos and eos as tokenizer.json alone tells them: what it adds, or else the usual names.
  void name_ends() {
    const auto special = [&](std::initializer_list<std::string_view> names) {
      for (const std::string_view name : names)
        if (const std::int32_t id = model_->id_of(name); id != no_token) return id;
      return no_token;
    };
    model_->bos = !model_->before.empty() ? model_->before.front() : special({"<s>", "<|begin_of_text|>"});
    model_->eos = !model_->after.empty() ? model_->after.back() : special({"</s>", "<|end_of_text|>"});
  }

  void end(const Json& config, JsonFields& fields, const char* token_key, const char* add_key, std::int32_t& id,
           std::vector<std::int32_t>& ids) {
    const Json& token = JsonFields::member(config, token_key);
    if (!token.is_null()) {
      const std::string piece =
          token.is_object() ? fields.string(token, "content", token_key) : fields.string(config, token_key, token_key);
      id = model_->id_of(piece);
      if (id == no_token) fields.fail(token_key, quote(piece) + " is not in the vocabulary");
    }
    if (JsonFields::member(config, add_key).is_null()) return;
    const bool add = fields.boolean(config, add_key, add_key);
    if (add && id == no_token) fields.fail(add_key, fmt::format("there is no {} to add", token_key));
    if (!add) std::erase(ids, id);
    if (add && std::find(ids.begin(), ids.end(), id) == ids.end())
      ids.insert(&ids == &model_->before ? ids.begin() : ids.end(), id);
  }

  JsonFields fields_;
  std::shared_ptr<Model> model_;
};

}  // namespace
}  // namespace tokens

pare::Result<Tokenizer> Tokenizer::parse_json(std::string_view text, const std::string& name, std::string_view config) {
  try {
    const auto root = io::parse_json(text, name);
    if (!root) return root.error();
    tokens::Loader loader(name);
    auto model = loader.load(*root);
    if (!model) return std::move(model).error();
    if (!config.empty()) {
      const std::string config_name = (std::filesystem::path(name).parent_path() / "tokenizer_config.json").string();
      const auto settings = io::parse_json(config, config_name);
      if (!settings) return settings.error();
      if (const auto done = loader.configure(*settings, config_name); !done) return done.error();
    }
    return Tokenizer(*std::move(model));
  } catch (const std::bad_alloc&) {
    return pare::Error{pare::ErrorCode::out_of_memory, name + ": no memory for the vocabulary"};
  }
}

pare::Result<Tokenizer> Tokenizer::from_json(const std::filesystem::path& path) {
  const auto as_text = [](const io::MappedFile& file) {
    return std::string_view(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  };
  std::error_code ignored;
  const auto source = std::filesystem::is_directory(path, ignored) ? path / "tokenizer.json" : path;
  const auto file = io::MappedFile::open(source);
  if (!file) return file.error();
  const auto config_path = source.parent_path() / "tokenizer_config.json";
  if (!std::filesystem::exists(config_path, ignored)) return parse_json(as_text(*file), source.string());
  const auto config = io::MappedFile::open(config_path);
  if (!config) return config.error();
  return parse_json(as_text(*file), source.string(), as_text(*config));
}

}  // namespace llama
