#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "io/npy.hpp"
#include "io/thread_pool.hpp"
#include "llama/generate.hpp"
#include "llama/model.hpp"
#include "llama/perplexity.hpp"
#include "llama/tokenizer_files.hpp"
#include "naive_model.hpp"
#include "tiny_model.hpp"

namespace {
namespace fs = std::filesystem;
using llama::Context;
using llama::Model;
using llama::Sequence;

const fs::path shared = PARE_SHARED_DIR;
const fs::path bundled = fs::path(PARE_TEST_DIR) / "../examples/models/tiny-llama";

/// Not a number where the model cannot be loaded or run, which no comparison accepts.
constexpr double failed = std::numeric_limits<double>::quiet_NaN();

/// The logits of a sequence, taken in `step` tokens at a time.
std::vector<float> logits(const Model& model, const Sequence& tokens, std::size_t step, pare::Executor executor) {
  Context context(model, tokens.size(), executor);
  std::vector<float> all;
  for (std::size_t t = 0; t < tokens.size(); t += step) {
    const auto hidden = context.advance(std::span(tokens).subspan(t, std::min(step, tokens.size() - t)));
    EXPECT_TRUE(hidden) << hidden.error().message;
    if (!hidden) return {};
    const auto part = context.logits(*hidden);
    EXPECT_TRUE(part);
    all.insert(all.end(), part->data, part->data + part->rows * part->cols);
  }
  return all;
}

/// The largest difference between the model's logits for rows of tokens and the reference, [rows, tokens, vocabulary].
double worst_logit(const fs::path& path, const std::vector<Sequence>& rows, const fs::path& reference,
                   std::size_t step) {
  io::ThreadPool threads(2);
  const auto model = Model::load(path);
  EXPECT_TRUE(model) << model.error().message;
  const auto file = io::NpyFile::open(reference);
  EXPECT_TRUE(file) << file.error().message;
  if (!model || !file) return failed;
  std::vector<float> found;
  for (const Sequence& row : rows) {
    const auto of_row = logits(*model, row, step, threads);
    found.insert(found.end(), of_row.begin(), of_row.end());
  }
  const auto expected = *file->values<float>();
  EXPECT_EQ(found.size(), expected.size());
  if (found.size() != expected.size()) return failed;
  double worst = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double difference = std::abs(double{found[i]} - double{expected[i]});
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

class HuggingFace : public testing::TestWithParam<std::string_view> {};

TEST_P(HuggingFace, LogitsAgree) {
  const fs::path folder = shared / "golden/models/hf_tiny" / GetParam();
  SKIP_WITHOUT(folder);
  const auto rows = *llama::read_id_file(folder / "input_ids.npy");
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, Context::chunk})
    EXPECT_LT(worst_logit(folder, rows, folder / "logits_fp32.npy", step), 1e-3);
}
INSTANTIATE_TEST_SUITE_P(Tiny, HuggingFace, testing::Values("llama3", "llama_sharded"));

TEST(TinyStories, LogitsAndPerplexityAgree) {
  const fs::path path = shared / "data/models/llama/tinystories-656k";
  const fs::path golden = shared / "golden/models/llama/tinystories-656k";
  SKIP_WITHOUT(path);
  SKIP_WITHOUT(golden);
  const auto rows = *llama::read_id_file(golden / "val_ids_64x256.npy");
  ASSERT_EQ(rows.size(), 64u);
  for (const std::size_t step : {std::size_t{1}, std::size_t{50}, Context::chunk})
    EXPECT_LT(worst_logit(path, {rows[0]}, golden / "logits_seq0_fp32.npy", step), 1e-3);

  io::ThreadPool threads(2);
  const auto model = Model::load(path);
  const auto result = llama::measure(*model, rows, 0, threads, [](std::uint64_t, std::uint64_t) {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->predictions, 64u * 255u);
  EXPECT_NEAR(result->mean_nll(), 3.353289, 1e-4);
  EXPECT_NEAR(result->perplexity(), 28.59663, 1e-3);
}

TEST(Stories260K, PredictsAndWritesStories) {
  const fs::path folder = shared / "data/models/llama/stories260K";
  const fs::path text = shared / "data/text/tinystories_val.txt";
  SKIP_WITHOUT(folder);
  SKIP_WITHOUT(text);
  io::ThreadPool threads(2);
  const auto model = Model::load(folder / "stories260K.bin");
  ASSERT_TRUE(model) << model.error().message;
  const auto tokenizer = llama::load_tokenizer(model->files(), model->config());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  auto documents = *llama::read_text_file(text, *tokenizer);
  documents.resize(100);
  const auto result = llama::measure(*model, documents, 0, threads, [](std::uint64_t, std::uint64_t) {});
  ASSERT_TRUE(result);
  EXPECT_GT(result->perplexity(), 3.0);
  EXPECT_LT(result->perplexity(), 8.0);

  const auto prompt = tokenizer->encode("Once upon a time");
  const auto story = llama::generate(*model, prompt, {.tokens = 8}, {}, threads, [](std::int32_t) {});
  ASSERT_TRUE(story);
  EXPECT_EQ(tokenizer->decode(story->tokens).find(", there was"), 0u) << tokenizer->decode(story->tokens);
}

class Llama2c : public testing::TestWithParam<const char*> {};

TEST_P(Llama2c, LogitsAreThoseOfThePlainFormula) {
  const fs::path path = fixtures::golden("formats/llama2c") / GetParam();
  const auto file = io::Llama2cFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  const auto model = Model::load(path);
  ASSERT_TRUE(model) << model.error().message;
  const Sequence tokens = {1, 17, 0, 31, 4, 4, 9, 30, 2};
  ASSERT_LE(tokens.size(), model->config().context);
  const auto expected = naive::Model(*file).logits(tokens);
  const auto found = logits(*model, tokens, 4, pare::serial);
  ASSERT_EQ(found.size(), tokens.size() * model->config().vocab_size);
  for (std::size_t i = 0; i < found.size(); ++i)
    EXPECT_NEAR(found[i], expected[i / model->config().vocab_size][i % model->config().vocab_size], 1e-4) << i;
}
INSTANTIATE_TEST_SUITE_P(Golden, Llama2c, testing::Values("v0_shared.bin", "v2_shared.bin"));

TEST(Bundled, GivesItsReference) {
  SKIP_WITHOUT(bundled / "reference.json");
  const auto reference = nlohmann::json::parse(fixtures::read(bundled / "reference.json"), nullptr, false);
  ASSERT_TRUE(reference.is_object());
  io::ThreadPool threads(2);
  const auto model = Model::load(bundled);
  ASSERT_TRUE(model) << model.error().message;
  const auto tokenizer = llama::load_tokenizer(model->files(), model->config());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (const auto& sample : reference["tokenization"])
    EXPECT_EQ(tokenizer->encode(sample["text"].get<std::string>()), sample["ids"].get<Sequence>());

  const auto prompt = tokenizer->encode(reference["prompt"].get<std::string>());
  EXPECT_EQ(prompt, reference["prompt_ids"].get<Sequence>());
  const auto found = logits(*model, prompt, prompt.size(), threads);
  const auto last = std::span(found).last(model->config().vocab_size);
  const auto first_logits = reference["first_logits_at_last_position"].get<std::vector<float>>();
  for (std::size_t i = 0; i < first_logits.size(); ++i) EXPECT_NEAR(last[i], first_logits[i], 1e-3) << i;

  auto greedy = reference["greedy_ids"].get<Sequence>();
  const auto generated = llama::generate(*model, prompt, {.tokens = greedy.size(), .stop_at_end = false}, {}, threads,
                                         [](std::int32_t) {});
  ASSERT_TRUE(generated);
  EXPECT_EQ(generated->tokens, greedy);

  const auto documents = *llama::read_text_file(bundled / "heldout.txt", *tokenizer);
  EXPECT_EQ(documents.size(), reference["heldout"]["documents"].get<std::size_t>());
  const auto result = llama::measure(*model, documents, 0, threads, [](std::uint64_t, std::uint64_t) {});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->predictions, reference["heldout"]["predicted_tokens"].get<std::size_t>());
  EXPECT_NEAR(result->mean_nll(), reference["heldout"]["mean_nll"].get<double>(), 1e-4);
}

class TinyModel : public testing::Test {
 protected:
  void SetUp() override { tiny::write_model(folder_ / "model"); }
  Model load() const {
    auto model = Model::load(folder_ / "model");
    EXPECT_TRUE(model) << model.error().message;
    return *std::move(model);
  }

  fixtures::Folder folder_;
};

TEST_F(TinyModel, StepsAndThreadsDoNotMatter) {
  const Model model = load();
  Sequence tokens(tiny::config().context);
  std::iota(tokens.begin(), tokens.end(), 100);
  const auto one = logits(model, tokens, 1, pare::serial);
  io::ThreadPool threads(3);
  EXPECT_EQ(one, logits(model, tokens, 1, threads));
  const auto whole = logits(model, tokens, tokens.size(), threads);
  ASSERT_EQ(one.size(), whole.size());
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], whole[i], 1e-5) << i;
}

TEST_F(TinyModel, ContextsRefuseWhatDoesNotFit) {
  const Model model = load();
  Context context(model, 3, pare::serial);
  const Sequence tokens = {1, 2, 3, 4};
  EXPECT_FALSE(context.advance(tokens));
  EXPECT_TRUE(context.advance(std::span(tokens).first(2)));
  EXPECT_FALSE(context.advance(std::span(tokens).first(2)));
  context.clear();
  EXPECT_TRUE(context.advance(std::span(tokens).first(3)));
  context.clear();
  for (const std::int32_t outside : {-1, 259, std::numeric_limits<std::int32_t>::max()}) {
    const auto hidden = context.advance({&outside, 1});
    ASSERT_FALSE(hidden);
    EXPECT_NE(hidden.error().message.find(std::to_string(outside)), std::string::npos);
  }
}

TEST_F(TinyModel, EitherOfATiedPairMayBeMissing) {
  const Sequence tokens = {1, 5, 200};
  const auto expected = logits(load(), tokens, 1, pare::serial);
  const auto rewrite = [&](bool tied, std::vector<std::string> names) {
    auto infos = tiny::tensors();
    infos.erase(infos.begin());
    for (const std::string& name : names) infos.push_back({name, io::DType::f32, {259, 64}});
    llama::Config config = tiny::config();
    config.tied = tied;
    fixtures::write(folder_ / "model/config.json", llama::to_json(config));
    tiny::write_weights(folder_ / "model/model.safetensors", infos);
  };
  rewrite(true, {"lm_head.weight"});
  EXPECT_EQ(logits(load(), tokens, 1, pare::serial).size(), expected.size());
  rewrite(true, {"lm_head.weight", "model.embed_tokens.weight"});
  EXPECT_EQ(logits(load(), tokens, 1, pare::serial), expected);
  rewrite(false, {"lm_head.weight", "model.embed_tokens.weight"});
  EXPECT_NE(logits(load(), tokens, 1, pare::serial), expected);
  rewrite(false, {"model.embed_tokens.weight"});
  const auto headless = Model::load(folder_ / "model");
  ASSERT_FALSE(headless);
  EXPECT_NE(headless.error().message.find("\"lm_head.weight\": expected shape [259, 64]"), std::string::npos)
      << headless.error().message;
}

TEST_F(TinyModel, UnalignedFloatsAndHalvesAreRead) {
  const Sequence tokens = {1, 5, 200};
  const auto expected = logits(load(), tokens, 1, pare::serial);
  // One more space in the header's padding shifts all data off its alignment.
  const std::string file = fixtures::read(folder_ / "model/model.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  const std::string header = file.substr(8, length), data = file.substr(8 + length);
  ++length;
  std::string shifted(8, '\0');
  std::memcpy(shifted.data(), &length, 8);
  fixtures::write(folder_ / "model/model.safetensors", shifted.append(header).append(" ").append(data));
  EXPECT_EQ(logits(load(), tokens, 1, pare::serial), expected);

  for (const io::DType dtype : {io::DType::f16, io::DType::bf16}) {
    tiny::write_model(folder_ / "model", dtype);
    const auto rounded = logits(load(), tokens, 1, pare::serial);
    ASSERT_EQ(rounded.size(), expected.size());
    for (std::size_t i = 0; i < rounded.size(); ++i) EXPECT_NEAR(rounded[i], expected[i], 0.2) << i;
    EXPECT_NE(rounded, expected);
  }
}

TEST_F(TinyModel, PerplexityOfAModelThatKnowsNothing) {
  auto infos = tiny::tensors();
  io::TensorInfo head{"lm_head.weight", io::DType::f32, {259, 64}};
  auto writer = io::SafetensorsWriter::create(folder_ / "model/model.safetensors", [&] {
    auto all = infos;
    all.push_back(head);
    return all;
  }());
  for (const io::TensorInfo& tensor : writer->tensors()) {
    auto bytes = tiny::elements(tensor);
    if (tensor.name == head.name) std::ranges::fill(bytes, std::byte{0});
    ASSERT_TRUE(writer->write(tensor.name, bytes));
  }
  ASSERT_TRUE(writer->finish());
  llama::Config config = tiny::config();
  config.tied = false;
  fixtures::write(folder_ / "model/config.json", llama::to_json(config));

  const Model model = load();
  const std::vector<Sequence> sequences = {{1, 2, 3}, {7}, {}, Sequence(150, 5)};
  std::uint64_t told = 0;
  const auto progress = [&](std::uint64_t done, std::uint64_t total) {
    told = done;
    EXPECT_EQ(total, 151u);
  };
  for (const std::size_t window : {0u, 2u, 3u, 64u, 1000u}) {
    const auto result = llama::measure(model, sequences, window, pare::serial, progress);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->predictions, 151u);
    EXPECT_EQ(told, 151u);
    EXPECT_NEAR(result->perplexity(), 259.0, 1e-9);
  }
  EXPECT_FALSE(llama::measure(model, sequences, 1, pare::serial, progress));
  EXPECT_FALSE(llama::measure(model, {{7}, {}}, 0, pare::serial, progress));
  EXPECT_FALSE(llama::measure(model, {{7, 259}}, 0, pare::serial, progress));
  EXPECT_FALSE(llama::measure(model, {{-1, 5}}, 0, pare::serial, progress));
}

TEST_F(TinyModel, DivergenceFromAReference) {
  const Model reference = load();
  fs::create_directories(folder_ / "rounded");
  tiny::write_model(folder_ / "rounded", io::DType::bf16);
  const auto model = Model::load(folder_ / "rounded");
  ASSERT_TRUE(model) << model.error().message;
  const Sequence tokens = {1, 70, 71, 80, 99, 5};
  const auto p = logits(reference, tokens, 1, pare::serial), q = logits(*model, tokens, 1, pare::serial);
  const auto softmax = [](std::span<const float> row) {
    std::vector<double> shares(row.begin(), row.end());
    double sum = 0.0;
    for (double& share : shares) sum += share = std::exp(share);
    for (double& share : shares) share /= sum;
    return shares;
  };
  double divergence = 0.0;
  std::size_t agreements = 0;
  for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
    const auto a = softmax(std::span(p).subspan(t * 259, 259)), b = softmax(std::span(q).subspan(t * 259, 259));
    for (std::size_t i = 0; i < 259; ++i) divergence += a[i] * std::log(a[i] / b[i]);
    agreements += std::ranges::max_element(a) - a.begin() == std::ranges::max_element(b) - b.begin() ? 1u : 0u;
  }
  const auto no_progress = [](std::uint64_t, std::uint64_t) {};
  const auto result = llama::measure(*model, {tokens}, 0, pare::serial, no_progress, &reference);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(divergence, 1e-6);
  EXPECT_NEAR(result->sum_divergence, divergence, 1e-6 * divergence + 1e-9);
  EXPECT_EQ(result->agreements, agreements);
  const auto alone = llama::measure(*model, {tokens}, 0, pare::serial, no_progress);
  ASSERT_TRUE(alone);
  EXPECT_EQ(alone->sum_nll, result->sum_nll);
  EXPECT_EQ(alone->sum_divergence, 0.0);
}

TEST_F(TinyModel, GenerationStopsWhereItMust) {
  const Model model = load();
  const Sequence prompt = {1, 70, 71};
  const auto run = [&](std::size_t tokens, std::vector<std::int32_t> ends) {
    return llama::generate(model, prompt, {.tokens = tokens, .temperature = 1.0, .seed = 3}, ends, pare::serial,
                           [](std::int32_t) {});
  };
  const auto ten = run(10, {});
  ASSERT_TRUE(ten);
  EXPECT_EQ(ten->tokens.size(), 10u);
  EXPECT_EQ(run(1000, {})->tokens.size(), tiny::config().context - prompt.size());
  EXPECT_EQ(run(0, {})->tokens.size(), 0u);
  EXPECT_EQ(run(10, {ten->tokens[4]})->tokens.size(),
            static_cast<std::size_t>(std::ranges::find(ten->tokens, ten->tokens[4]) - ten->tokens.begin()));
  const auto none = [](std::int32_t) {};
  EXPECT_FALSE(llama::generate(model, {}, {}, {}, pare::serial, none));
  EXPECT_FALSE(llama::generate(model, Sequence(64, 1), {}, {}, pare::serial, none));
  EXPECT_FALSE(llama::generate(model, prompt, {.temperature = std::nan("")}, {}, pare::serial, none));
}

TEST(LlamaSampler, PicksByTheLogits) {
  const std::vector<float> logits = {0.0f, std::log(2.0f), -std::numeric_limits<float>::infinity(), std::log(5.0f)};
  EXPECT_EQ(*llama::Sampler(0.0, 1).pick(logits), 3);
  EXPECT_EQ(*llama::Sampler(0.0, 1).pick(std::vector<float>{2.0f, 2.0f}), 0);
  llama::Sampler sampler(1.0, 42), twin(1.0, 42);
  std::vector<int> counts(4);
  for (int i = 0; i < 8000; ++i) {
    const auto pick = *sampler.pick(logits);
    EXPECT_EQ(pick, *twin.pick(logits));
    ++counts[static_cast<std::size_t>(pick)];
  }
  EXPECT_NEAR(counts[0], 1000, 150);
  EXPECT_NEAR(counts[1], 2000, 200);
  EXPECT_EQ(counts[2], 0);
  EXPECT_NEAR(counts[3], 5000, 250);
  EXPECT_EQ(*llama::Sampler(1e-9, 1).pick(logits), 3);

  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const double temperature : {0.0, 1.0}) {
    EXPECT_FALSE(llama::Sampler(temperature, 1).pick(std::vector<float>{0.0f, nan}));
    EXPECT_FALSE(llama::Sampler(temperature, 1).pick(std::vector<float>{0.0f, infinity}));
    EXPECT_FALSE(llama::Sampler(temperature, 1).pick(std::vector<float>{-infinity, -infinity}));
  }
}

TEST(LlamaDocuments, BlankLinesSeparateThem) {
  const auto tokenizer = llama::Tokenizer::parse_llama2c(tiny::tokenizer(), "tokenizer", 259);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const auto documents = llama::split_documents("\n\nab\ncd\r\n \t\n\n\r\nef\n", *tokenizer);
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[0], tokenizer->encode("ab\ncd"));
  EXPECT_EQ(documents[1], tokenizer->encode("ef"));
  EXPECT_TRUE(llama::split_documents("", *tokenizer).empty());
  EXPECT_TRUE(llama::split_documents(" \n\n", *tokenizer).empty());
}

}  // namespace
