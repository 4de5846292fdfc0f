#include "llama/config.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "../examples_io/fixtures.hpp"
#include "tiny_model.hpp"

namespace {
using nlohmann::json;

json plain() {
  return {{"model_type", "llama"},   {"vocab_size", 32000},    {"hidden_size", 64},
          {"intermediate_size", 96}, {"num_hidden_layers", 2}, {"num_attention_heads", 4}};
}

/// The plain configuration with other fields.
json with(const json& changes) {
  json config = plain();
  config.merge_patch(changes);
  return config;
}

pare::Result<llama::Config> parse(const json& config) { return llama::parse_config(config.dump(), "config.json"); }

void expect_fault(const json& changes, const std::string& fault, pare::ErrorCode code = pare::ErrorCode::corrupt_data) {
  const auto config = parse(with(changes));
  ASSERT_FALSE(config) << changes;
  EXPECT_EQ(config.error().code, code) << changes;
  EXPECT_TRUE(config.error().message.starts_with("config.json: ")) << config.error().message;
  EXPECT_NE(config.error().message.find(fault), std::string::npos) << config.error().message;
}

TEST(LlamaConfig, Defaults) {
  const auto config = parse(plain());
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->vocab_size, 32000u);
  EXPECT_EQ(config->kv_heads, 4u);
  EXPECT_EQ(config->head_dim, 16u);
  EXPECT_EQ(config->context, 2048u);
  EXPECT_EQ(config->norm_epsilon, 1e-6);
  EXPECT_FALSE(config->tied);
  EXPECT_EQ(config->rope.kind, llama::Rope::Kind::plain);
  EXPECT_EQ(config->rope.theta, 10000.0);
  EXPECT_TRUE(config->end_tokens.empty());
  EXPECT_TRUE(parse(with({{"num_key_value_heads", 1}, {"head_dim", 32}})));
}

TEST(LlamaConfig, RopeOfBothStyles) {
  const json stretch = {{"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 64},
                        {"rope_type", "llama3"}};
  json inside = stretch;
  inside["rope_theta"] = 500000.0;
  const auto old_style = parse(with({{"rope_theta", 500000.0}, {"rope_scaling", stretch}}));
  const auto new_style = parse(with({{"rope_parameters", inside}}));
  for (const auto& config : {old_style, new_style}) {
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->rope.kind, llama::Rope::Kind::llama3);
    EXPECT_EQ(config->rope.theta, 500000.0);
    EXPECT_EQ(config->rope.factor, 8.0);
    EXPECT_EQ(config->rope.original_context, 64.0);
  }
  const auto linear = parse(with({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}));
  ASSERT_TRUE(linear);
  EXPECT_EQ(linear->rope.kind, llama::Rope::Kind::linear);
  EXPECT_EQ(linear->rope.factor, 2.0);
  EXPECT_TRUE(parse(with({{"rope_scaling", nullptr}})));
}

TEST(LlamaConfig, EndTokens) {
  EXPECT_EQ(parse(with({{"eos_token_id", 2}}))->end_tokens, (std::vector<std::int32_t>{2}));
  EXPECT_EQ(parse(with({{"eos_token_id", {128001, 128009}}}))->end_tokens, (std::vector<std::int32_t>{128001, 128009}));
  expect_fault({{"eos_token_id", "two"}}, "eos_token_id");
  expect_fault({{"eos_token_id", json::array({1, -1})}}, "eos_token_id");
}

TEST(LlamaConfig, HostileNumbers) {
  for (const char* field :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
    expect_fault({{field, nullptr}}, std::string("has no ") + field);
    for (const json& value : {json(0), json(-1), json(1.5), json("64"), json(std::uint64_t{1} << 40), json(true),
                              json::array(), json(18446744073709551615u)})
      expect_fault({{field, value}}, field);
  }
  expect_fault({{"num_key_value_heads", 3}}, "must be a multiple of num_key_value_heads (3)");
  expect_fault({{"num_attention_heads", 5}}, "hidden_size (64) must be a multiple of num_attention_heads (5)");
  expect_fault({{"head_dim", 15}}, "the head dimension (15) must be even");
  expect_fault({{"head_dim", 1 << 24}}, "beyond");
  expect_fault({{"rms_norm_eps", 0}}, "rms_norm_eps");
  expect_fault({{"rms_norm_eps", -1e-5}}, "rms_norm_eps");
  expect_fault({{"rope_theta", -1}}, "rope_theta");
  expect_fault({{"tie_word_embeddings", 1}}, "tie_word_embeddings must be true or false");
  expect_fault({{"rope_scaling", "linear"}}, "rope_scaling must be an object");
  expect_fault({{"rope_scaling", {{"type", "linear"}}}}, "rope_scaling: has no factor");
  expect_fault({{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}}, "factor must be a positive number");
  expect_fault({{"rope_scaling",
                 {{"type", "llama3"},
                  {"factor", 8},
                  {"low_freq_factor", 4},
                  {"high_freq_factor", 4},
                  {"original_max_position_embeddings", 64}}}},
               "low_freq_factor must be less than high_freq_factor");
}

TEST(LlamaConfig, WhatTheForwardPassDoesNotHave) {
  const auto unsupported = pare::ErrorCode::unsupported;
  expect_fault({{"model_type", "gemma"}}, "model_type \"gemma\"", unsupported);
  expect_fault({{"hidden_act", "gelu"}}, "hidden_act \"gelu\"", unsupported);
  expect_fault({{"attention_bias", true}}, "attention_bias", unsupported);
  expect_fault({{"mlp_bias", true}}, "mlp_bias", unsupported);
  expect_fault({{"rope_scaling", {{"type", "yarn"}, {"factor", 2}}}}, "rope_type \"yarn\"", unsupported);
  expect_fault({{"partial_rotary_factor", 0.5}}, "partial_rotary_factor", unsupported);
  expect_fault({{"quantization_config", {{"quant_method", "magic"}}}}, "describes no layout", unsupported);
  expect_fault({{"model_type", "mistral"}, {"sliding_window", 24}}, "sliding_window", unsupported);
  expect_fault({{"model_type", "mistral"}, {"max_position_embeddings", 32768}}, "sliding_window", unsupported);
  EXPECT_TRUE(parse(with({{"model_type", "mistral"}, {"sliding_window", 4096}})));
  json without_window = with({{"model_type", "mistral"}, {"max_position_embeddings", 32768}});
  without_window["sliding_window"] = nullptr;
  EXPECT_TRUE(parse(without_window));
}

TEST(LlamaConfig, NoConfiguration) {
  for (const char* text : {"", "[]", "3", "{", "{\"vocab_size\": 1, \"vocab_size\": 2}", "\xff"}) {
    const auto config = llama::parse_config(text, "config.json");
    ASSERT_FALSE(config) << text;
    EXPECT_TRUE(config.error().message.starts_with("config.json")) << config.error().message;
  }
}

TEST(LlamaConfig, WritesWhatItReads) {
  llama::Config config = tiny::config();
  config.rope = {llama::Rope::Kind::llama3, 500000.0, 8.0, 1.0, 4.0, 8192.0};
  const std::string text = llama::to_json(config);
  const auto again = llama::parse_config(text, "config.json");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(llama::to_json(*again), text);
  EXPECT_EQ(again->rope.original_context, 8192.0);
  EXPECT_TRUE(again->tied);
}

}  // namespace
