#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/npy.hpp"
#include "tiny_model.hpp"

namespace {
using fixtures::fs::path;

/// One run of the program.
struct Outcome {
  int status = -1;
  std::string out;
  std::string error;
};

class LlamaProgram : public testing::Test {
 protected:
  void SetUp() override {
    tiny::write_model(model_);
    fixtures::write(text_, "abc def\nghi\n\nsecond text\n");
  }

  /// A path as a word of the shell. Constant, because g++ 12 warns without cause where a literal is put before a
  /// temporary.
  static const std::string quoted(const path& p) { return fmt::format("'{}'", p.string()); }

  /// Runs llama by the shell, after the commands `before`.
  Outcome run(const std::string& arguments, const std::string& before = ":", const std::string& prefix = "") const {
    const std::string command = before + "; " + prefix + " '" + PARE_PROGRAM_DIR + "/llama' " + arguments;
    const std::string streams = " >" + quoted(logs_ / "out") + " 2>" + quoted(logs_ / "error");
    const int status = std::system(("{ " + command + "; }" + streams).c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, fixtures::read(logs_ / "out"),
            fixtures::read(logs_ / "error")};
  }
  Outcome quantize(const path& model, const std::string& more = "", const std::string& before = ":") const {
    return run("quantize " + quoted(model) + " -o " + quoted(output_) + " --scheme int4-g32 " + more, before);
  }
  static nlohmann::json report(const Outcome& outcome) {
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    auto json = nlohmann::json::parse(outcome.out, nullptr, false);
    EXPECT_TRUE(json.is_object()) << outcome.out;
    return json;
  }

  static void expect_failure(const Outcome& outcome, const std::string& place, const std::string& fault) {
    EXPECT_GT(outcome.status, 0);
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(outcome.error.starts_with("llama: ")) << outcome.error;
    EXPECT_EQ(std::ranges::count(outcome.error, '\n'), 1) << outcome.error;
    EXPECT_NE(outcome.error.find(place), std::string::npos) << outcome.error;
    EXPECT_NE(outcome.error.find(fault), std::string::npos) << outcome.error;
  }
  /// All commands refuse the model with one line that holds `place` and `fault`, and leave nothing behind.
  void expect_refused(const path& model, const std::string& place, const std::string& fault) const {
    const std::size_t entries = folder_.entries();
    const std::string m = quoted(model), o = " -o " + quoted(output_);
    expect_failure(quantize(model), place, fault);
    expect_failure(run("prune " + m + o), place, fault);
    expect_failure(run("prune " + m + o + " --metric wanda --calibration " + quoted(text_)), place, fault);
    expect_failure(run("perplexity " + m + " --text " + quoted(text_)), place, fault);
    expect_failure(run("generate " + m + " --prompt x"), place, fault);
    expect_failure(run("bench " + m), place, fault);
    expect_failure(run("quickstart " + m + o), place, fault);
    EXPECT_EQ(folder_.entries(), entries);
  }

  /// Replaces a file of the model.
  void damage(std::string_view name, std::string_view content) const { fixtures::write(model_ / name, content); }
  void damage_weights(const std::function<void(std::vector<io::TensorInfo>&)>& change) const {
    auto infos = tiny::tensors();
    change(infos);
    tiny::write_weights(weights_, infos);
  }
  static std::string with_header(const std::string& header, std::string_view data) {
    std::string file(8, '\0');
    pare::store_le(reinterpret_cast<std::uint8_t*>(file.data()), header.size(), 8);
    return file.append(header).append(data);
  }

  fixtures::Folder folder_;
  fixtures::Folder logs_;
  path model_ = folder_ / "model";
  path weights_ = folder_ / "model/model.safetensors";
  path text_ = folder_ / "text.txt";
  path output_ = folder_ / "out";
};

TEST_F(LlamaProgram, ExplainsItself) {
  for (const char* command :
       {"", "quantize", "convert", "prune", "perplexity", "generate", "bench", "inspect", "quickstart"}) {
    const Outcome help = run(std::string(command) + " --help");
    EXPECT_EQ(help.status, 0);
    EXPECT_NE(help.out.find("llama"), std::string::npos);
    EXPECT_EQ(help.error, "");
  }
  for (const char* scheme : {"int4-g32", "e2m1-g32-e8m0", "mxfp4"})
    EXPECT_NE(run("quantize --help").out.find(scheme), std::string::npos) << scheme;
}

TEST_F(LlamaProgram, WrongCommandLines) {
  const std::string m = quoted(model_), o = " -o " + quoted(output_);
  expect_failure(run(""), "a command is missing", "--help");
  expect_failure(run("quantify"), "quantify", "--help");
  expect_failure(run("quantize " + m + " --scheme int8"), "--output", "--help");
  expect_failure(run("quantize " + m + o), "--scheme", "--help");
  expect_failure(run("quantize " + m + o + " --scheme int8 --threads 100000"), "--threads", "--help");
  expect_failure(run("quantize " + m + o + " --scheme int8 --colour"), "--colour", "--help");
  expect_failure(run("quantize " + m + o + " --scheme int7-g9"), "int7-g9", "int4-g32");
  expect_failure(run("prune " + m + o + " --metric luck"), "--metric", "wanda");
  expect_failure(run("prune " + m + o + " --structure cubes"), "structure \"cubes\"", "neurons");
  expect_failure(run("prune " + m + o + " --structure 4:2"), "1 <= N <= M", "4 of 2");
  expect_failure(run("prune " + m + o + " --structure 0x4"), "0x4", "hold no weights");
  expect_failure(run("prune " + m + o + " --metric obc --structure 16x1"), "obc", "16x1");
  expect_failure(run("prune " + m + o + " --structure heads"), "--structure heads", "--calibration");
  expect_failure(run("prune " + m + o + " --metric sparsegpt --structure neurons"), "sparsegpt", "neurons");
  expect_failure(run("prune " + m + o + " --metric wanda --joint --scheme int4"), "--joint", "sparsegpt");
  expect_failure(run("prune " + m + o + " --sparsity 1.5"), "--sparsity", "1.5");
  expect_failure(run("prune " + m + o + " --sparsity nan"), "sparsity", "nan");
  expect_failure(run("prune " + m + o + " --metric wanda"), "wanda", "--calibration");
  expect_failure(run("perplexity " + m), "--text", "--ids");
  expect_failure(run("perplexity " + m + " --window 1 --text " + quoted(text_)), text_.string(), "window");
  expect_failure(run("generate " + m), "--prompt", "--help");
  expect_failure(run("generate " + m + " --prompt x --temperature nan"), model_.string(), "temperature");
  expect_failure(run("generate " + m + " --prompt x --activations int4"), "--activations", "int8");
  expect_failure(run("bench " + m + " --prompt 0 --generate 0"), model_.string(), "nothing to measure");
  expect_failure(run("bench " + m + " --generate 65"), "512 tokens", "context of 64");
  expect_failure(run("bench " + m + " --repetitions 0"), "--repetitions", "--help");
  expect_failure(run("bench " + m + " --prompt -1"), "--prompt", "--help");
  EXPECT_EQ(folder_.entries(), 2u);
}

TEST_F(LlamaProgram, QuantizesAndInspects) {
  const auto quantized = report(quantize(model_, "--json"));
  EXPECT_EQ(quantized["scheme"], "int4-g32");
  EXPECT_EQ(quantized["tensors"].size(), 14u);
  EXPECT_EQ(quantized["output_bytes"], fixtures::fs::file_size(output_ / "model.safetensors"));
  EXPECT_DOUBLE_EQ(quantized["bits_per_weight"], 5.0);
  EXPECT_GT(quantized["sqnr_db"], 15.0);
  EXPECT_EQ(folder_.entries(), 3u);

  const auto inspected = report(run("inspect " + quoted(output_) + " --json"));
  EXPECT_EQ(inspected["tensors"].size(), tiny::tensors().size());
  EXPECT_EQ(inspected["file_bytes"], quantized["output_bytes"]);
  const Outcome listed = run("inspect " + quoted(output_));
  EXPECT_NE(listed.out.find("int4-g32"), std::string::npos);
  expect_failure(run("quantize " + quoted(output_) + " --scheme int8 -o " + quoted(folder_ / "again")),
                 output_.string(), "packed as int4-g32 already");
}

TEST_F(LlamaProgram, QuantizesByCalibration) {
  const std::string m = quoted(model_), o = " --scheme int4-g32 --json -o " + quoted(output_);
  const std::string calibration = " --calibration " + quoted(text_);
  expect_failure(run("quantize " + m + o + " --method gptq"), "--method gptq", "--calibration");
  expect_failure(run("quantize " + m + o + " --method refined --layout marble" + calibration), "marble", "pare");
  expect_failure(run("quantize " + m + " --layout gguf:q4_0 --method gptq -o " + quoted(output_)), "gguf", "gptq");
  expect_failure(run("quantize " + m + o + " --fast"), "--fast", "gguf:TYPE");
  expect_failure(run("quantize " + m + o + " --method hqq"), "HQQ", "--layout hqq");
  expect_failure(run("quantize " + m + o + " --method aqlm" + calibration), "aqlm", "2x8");
  const std::string books = "quantize " + m + " --json --scheme 1x5-g4 -o " + quoted(output_) + calibration;
  expect_failure(run(books + " --method aqlm"), "--layout pare", "--layout aqlm");
  expect_failure(run(books + " --method gptq"), "1x5-g4", "--method aqlm");
  const std::string progressive = "quantize " + m + " --json --method qoq -o " + quoted(output_) + calibration;
  expect_failure(run(progressive + " --scheme int4-asym-g32 --layout gptq"), "products", "qserve:per-group");
  expect_failure(run(progressive + " --scheme int4-asym-channel"), "whole rows", "qserve:per-channel");
  expect_failure(run(progressive + " --scheme int4-g32"), "QoQ", "int4-asym-g128");
  EXPECT_EQ(folder_.entries(), 2u);

  const auto refined = report(run("quantize " + m + " --scheme int4-g32-f16 --json -o " + quoted(output_) +
                                  " --method refined --layout gptq" + calibration));
  EXPECT_EQ(refined["method"], "refined");
  EXPECT_EQ(refined["tensors"].size(), 14u);
  EXPECT_GT(refined["sqnr_db"], 10.0);
  EXPECT_EQ(refined["tensors"][0]["method"], "refined");
  EXPECT_EQ(folder_.entries(), 3u) << "the finished blocks go when the model is written";
  report(run("perplexity " + quoted(output_) + " --json --text " + quoted(text_)));

  const auto scaled = report(run("quantize " + m + " --scheme int8-asym-g32 --json --force -o " + quoted(output_) +
                                 " --method smoothquant" + calibration));
  EXPECT_GT(scaled["sqnr_db"], 30.0);
  const auto beside = report(
      run("perplexity " + quoted(output_) + " --json --text " + quoted(text_) + " --reference " + quoted(model_)));
  EXPECT_LT(beside["mean_divergence"].get<double>(), 1e-3) << "the norms have taken the scales in";
}

TEST_F(LlamaProgram, QuantizesToTheLayoutsOfQServeAndAqlm) {
  const std::string quantize = "quantize " + quoted(model_) + " --json --force -o " + quoted(output_);
  const std::string measure = "perplexity " + quoted(output_) + " --json --text " + quoted(text_);
  for (const std::string how :
       {"qoq --layout qserve:per-group --scheme int4-asym-g32", "qoq --scheme int4-asym-g32",
        "qoq --layout qserve:per-channel --scheme int4-asym-channel", "aqlm --layout aqlm --scheme 1x5-g4"}) {
    const auto written = report(run(quantize + " --calibration " + quoted(text_) + " --method " + how));
    EXPECT_GT(written["sqnr_db"], 1.0) << how;
    EXPECT_GT(written["bits_per_weight"], 1.0) << how;
    EXPECT_GT(report(run(measure))["perplexity"], 1.0) << how;
  }
  const auto config = nlohmann::json::parse(fixtures::read(output_ / "config.json"))["quantization_config"];
  EXPECT_EQ(config["quant_method"], "aqlm");
  EXPECT_EQ(config["num_codebooks"], 1);
  EXPECT_EQ(config["nbits_per_codebook"], 5);
  EXPECT_EQ(config["in_group_size"], 4);
}

TEST_F(LlamaProgram, PrunesWithAndWithoutPacking) {
  const std::string m = quoted(model_), o = " --force --json -o " + quoted(output_);
  const auto magnitude = report(run("prune " + m + o + " --structure per-layer --sparsity 0.25"));
  EXPECT_DOUBLE_EQ(magnitude["sparsity"], 0.25);
  EXPECT_EQ(magnitude["scheme"], nullptr);
  const auto wanda =
      report(run("prune " + m + o + " --metric wanda --structure 4:8 --scheme int8 --calibration " + quoted(text_)));
  EXPECT_DOUBLE_EQ(wanda["sparsity"], 0.5);
  EXPECT_EQ(wanda["scheme"], "int8-channel");
  EXPECT_GT(wanda["calibration_tokens"], 20);
  report(run("perplexity " + quoted(output_) + " --json --text " + quoted(text_)));
}

TEST_F(LlamaProgram, MakesSmallerModels) {
  const std::string m = quoted(model_), more = " --json --calibration " + quoted(text_);
  const auto pruned = [&](const std::string& arguments) {
    return report(run("prune " + m + " --force -o " + quoted(output_) + " " + arguments + more));
  };
  EXPECT_EQ(pruned("--metric flap --structure heads")["sizes"]["heads"], nlohmann::json({4, 2}));
  EXPECT_EQ(pruned("--metric influence --structure layers")["sizes"]["layers"], nlohmann::json({2, 1}));
  EXPECT_EQ(pruned("--metric flap --structure neurons --sparsity 0.25")["sizes"]["neurons"], nlohmann::json({96, 72}));
  const auto config = nlohmann::json::parse(fixtures::read(output_ / "config.json"));
  EXPECT_EQ(config["intermediate_size"], 72);
  EXPECT_EQ(config["head_dim"], 16);
  EXPECT_EQ(folder_.entries(), 3u);
  report(run("perplexity " + quoted(output_) + " --json --text " + quoted(text_)));
  const auto joint = pruned("--metric sparsegpt --structure 2:4 --joint --scheme int4-g32");
  EXPECT_EQ(joint["sparsity"], 0.5);
  EXPECT_EQ(joint["scheme"], "int4-g32");
  report(run("perplexity " + quoted(output_) + " --json --text " + quoted(text_)));
  expect_failure(run("prune " + m + " --force -o " + quoted(output_) +
                     " --metric flap --structure heads --sparsity 0.1 --calibration " + quoted(text_)),
                 "none of 2", "heads");
  EXPECT_EQ(folder_.entries(), 3u);
}

TEST_F(LlamaProgram, PrunedModelsBecomeGguf) {
  const std::vector<std::int32_t> ids = {1, 70, 71, 72, 1, 80, 81, 82};
  ASSERT_TRUE(io::write_npy(folder_ / "ids.npy", std::span<const std::int32_t>(ids), std::vector<std::size_t>{2, 4}));
  const std::string more = " --json --force --calibration " + quoted(text_);
  const path file = folder_ / "pruned.gguf";
  const auto perplexity = [&](const path& model) -> double {
    return report(run("perplexity " + quoted(model) + " --json --ids " + quoted(folder_ / "ids.npy")))["perplexity"];
  };
  const auto sizes = report(run("prune " + quoted(model_) + " -o " + quoted(output_) +
                                " --metric flap --structure units --sparsity 0.5" + more))["sizes"];
  EXPECT_EQ(sizes["heads"], nlohmann::json({4, 2}));
  EXPECT_EQ(sizes["key-value heads"], nlohmann::json({2, 1}));
  EXPECT_EQ(sizes["neurons"], nlohmann::json({96, 48}));
  report(run("quantize " + quoted(output_) + " --json --layout gguf:f32 -o " + quoted(file)));
  EXPECT_NEAR(perplexity(file), perplexity(output_), 1e-9);

  // Zeros and codes chosen together: the blocks hold the same codes.
  const auto joint = report(run("prune " + quoted(model_) + " -o " + quoted(output_) +
                                " --metric sparsegpt --structure 2:4 --joint --scheme int4-g32-f16" + more));
  EXPECT_EQ(joint["sparsity"], 0.5);
  report(run("convert " + quoted(output_) + " --json --force --layout gguf:q4_0 -o " + quoted(file)));
  EXPECT_NEAR(perplexity(file), perplexity(output_), 1e-9);
  expect_failure(run("prune " + quoted(output_) + " -o " + quoted(folder_ / "again") +
                     " --metric wanda --calibration " + quoted(text_)),
                 "packed", "start from the float model");
}

TEST_F(LlamaProgram, RefusesImpossiblePruning) {
  const auto expect = [&](const std::string& arguments, const std::string& place, const std::string& fault) {
    expect_failure(run("prune " + quoted(model_) + " -o " + quoted(output_) + " " + arguments), place, fault);
    EXPECT_FALSE(fixtures::fs::exists(output_)) << arguments;
  };
  const std::string calibration = " --calibration " + quoted(text_);
  expect("--structure 0:4", "1 <= N <= M", "0 of 4");
  expect("--structure 5:4", "1 <= N <= M", "5 of 4");
  expect("--structure 2:", "structure \"2:\"", "N:M");
  expect("--metric flap --structure 2:4", "flap", "2:4");
  expect("--metric influence --structure units", "influence", "units");
  expect("--sparsity -0.1", "--sparsity", "-0.1");
  expect("--metric flap --structure units --sparsity 1" + calibration, "all of 2", "key-value heads");
  expect("--metric flap --structure neurons --sparsity 1" + calibration, "all of 96", "neurons");
  expect("--metric flap --structure neurons --sparsity 0.001" + calibration, "none of 96", "neurons");
  expect("--metric influence --structure layers --sparsity 0.4" + calibration, "none of 2", "layers");
}

TEST_F(LlamaProgram, MeasuresTextsAndIds) {
  const auto of_text = report(run("perplexity " + quoted(model_) + " --json --text " + quoted(text_)));
  EXPECT_EQ(of_text["sequences"], 2);
  const std::vector<std::int32_t> ids = {1, 70, 71, 72, 1, 80, 81, 82};
  const std::vector<std::size_t> shape = {2, 4};
  ASSERT_TRUE(io::write_npy(folder_ / "ids.npy", std::span<const std::int32_t>(ids), shape));
  const auto of_ids = report(run("perplexity " + quoted(model_) + " --json --ids " + quoted(folder_ / "ids.npy")));
  EXPECT_EQ(of_ids["predictions"], 6);
  EXPECT_NEAR(of_ids["perplexity"].get<double>(), std::exp(of_ids["mean_nll"].get<double>()), 1e-9);

  const std::string same = " --reference " + quoted(model_);
  const auto beside =
      report(run("perplexity " + quoted(model_) + " --json --ids " + quoted(folder_ / "ids.npy") + same));
  EXPECT_EQ(beside["mean_nll"], of_ids["mean_nll"]);
  EXPECT_NEAR(beside["mean_divergence"].get<double>(), 0.0, 1e-12);
  EXPECT_EQ(beside["agreement"], 1.0);
  EXPECT_FALSE(of_ids.contains("mean_divergence"));
  expect_failure(run("perplexity " + quoted(model_) + " --reference nowhere --text " + quoted(text_)), "nowhere", "");

  const std::vector<std::int32_t> outside = {1, 70, 71, 259};
  ASSERT_TRUE(io::write_npy(folder_ / "ids.npy", std::span<const std::int32_t>(outside), std::vector<std::size_t>{4}));
  expect_failure(run("perplexity " + quoted(model_) + " --ids " + quoted(folder_ / "ids.npy")), "ids.npy", "259");
  fixtures::write(folder_ / "ids.npy", "no array");
  expect_failure(run("perplexity " + quoted(model_) + " --ids " + quoted(folder_ / "ids.npy")), "ids.npy", "");
  fixtures::write(text_, "\n \n");
  expect_failure(run("perplexity " + quoted(model_) + " --text " + quoted(text_)), text_.string(), "no text");
}

TEST_F(LlamaProgram, GeneratesTheSameForTheSameSeed) {
  const std::string command = "generate " + quoted(model_) + " --prompt 'Hello' --tokens 12 --temperature 1 --seed ";
  const auto first = report(run(command + "7 --json --threads 1"));
  EXPECT_EQ(report(run(command + "7 --json --threads 3"))["tokens"], first["tokens"]);
  EXPECT_NE(report(run(command + "8 --json"))["tokens"], first["tokens"]);
  EXPECT_EQ(first["text"].get<std::string>().find("Hello"), 0u);
  EXPECT_EQ(run(command + "7").out, first["text"].get<std::string>() + "\n");
}

TEST_F(LlamaProgram, PackedLayersTakeEightBitActivations) {
  report(run("quantize " + quoted(model_) + " --json --scheme int4-g32-f16 -o " + quoted(output_)));
  const std::string bench = " --prompt 9 --repetitions 2 --json --generate ";
  const auto speed = report(run("bench " + quoted(output_) + bench + "3"));
  EXPECT_EQ(speed["activations"], "int8");
  for (const char* kind : {"prompt", "generate"}) {
    EXPECT_EQ(speed[kind]["seconds"].size(), 2u) << kind;
    EXPECT_GT(speed[kind]["tokens_per_second"], 0.0) << kind;
  }
  EXPECT_EQ(report(run("bench " + quoted(model_) + bench + "3"))["activations"], "float");
  const auto prompts = report(run("bench " + quoted(output_) + bench + "0 --activations float"));
  EXPECT_EQ(prompts["activations"], "float");
  EXPECT_FALSE(prompts.contains("generate"));

  const std::string generate = "generate " + quoted(output_) + " --prompt Hello --tokens 12 --temperature 1 --json";
  const auto written = report(run(generate + " --threads 1"));
  EXPECT_EQ(written["activations"], "int8");
  EXPECT_EQ(report(run(generate + " --threads 3"))["tokens"], written["tokens"]);

  const std::string measure = "perplexity " + quoted(output_) + " --json --text " + quoted(text_) + " --activations ";
  const auto floats = report(run(measure + "float")), integers = report(run(measure + "int8"));
  EXPECT_EQ(integers["activations"], "int8");
  EXPECT_NE(floats["mean_nll"], integers["mean_nll"]);
  const auto rows = report(run(measure + "int8-row"));
  EXPECT_EQ(rows["activations"], "int8-row");
  EXPECT_NE(rows["mean_nll"], integers["mean_nll"]);
  for (const auto& eight_bits : {integers, rows})
    EXPECT_NEAR(floats["mean_nll"].get<double>(), eight_bits["mean_nll"].get<double>(), 0.02);
}

TEST_F(LlamaProgram, Quickstart) {
  const Outcome outcome = run("quickstart " + quoted(model_) + " -o " + quoted(output_));
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  for (const char* word : {"float", "INT4", "NF4", "MXFP4", "FP8", "INT8", "tokens/s"})
    EXPECT_NE(outcome.out.find(word), std::string::npos) << word;
  fixtures::write(model_ / "heldout.txt", fixtures::read(text_));
  const auto again = report(run("quickstart " + quoted(model_) + " --json -o " + quoted(output_)));
  EXPECT_EQ(again["schemes"].size(), 5u);
  EXPECT_EQ(again["evaluation"], (model_ / "heldout.txt").string());
  for (const auto& row : again["schemes"]) {
    EXPECT_NEAR(row["perplexity_after"].get<double>() / again["float_perplexity"].get<double>(), 1.0, 0.3);
    EXPECT_GT(row["sqnr_db"], 10.0);
  }
}

TEST_F(LlamaProgram, Llama2cModels) {
  const path source = fixtures::golden("formats/llama2c/v0_shared.bin");
  EXPECT_EQ(quantize(source).status, 0);
  EXPECT_TRUE(fixtures::fs::exists(output_ / "config.json"));
  const std::string whole = fixtures::read(source);
  const path bad = model_ / "bad.bin";
  const auto refused = [&](const std::string& content, const std::string& fault) {
    fixtures::write(bad, content);
    fixtures::fs::remove_all(output_);
    expect_refused(bad, "bad.bin", fault);
  };
  refused("", "");
  refused(whole.substr(0, 20), "");
  refused(whole.substr(0, whole.size() - 4), "");
  refused(whole + "x", "");
  refused(std::string(100, '\xff'), "");
}

TEST_F(LlamaProgram, ReplacesAFolderOnlyWhenToldTo) {
  EXPECT_EQ(quantize(model_).status, 0);
  const std::string old = fixtures::read(output_ / "model.safetensors");
  expect_failure(quantize(model_), output_.string(), "--force");
  expect_failure(run("prune " + quoted(model_) + " -o " + quoted(output_)), output_.string(), "--force");
  EXPECT_EQ(run("prune " + quoted(model_) + " --force -o " + quoted(output_)).status, 0);
  EXPECT_NE(fixtures::read(output_ / "model.safetensors"), old);
  EXPECT_EQ(folder_.entries(), 3u);
}

TEST_F(LlamaProgram, AFailedRunLeavesAnOldOutputAlone) {
  EXPECT_EQ(quantize(model_).status, 0);
  const std::string old = fixtures::read(output_ / "model.safetensors");
  damage("model.safetensors", "no safetensors file");
  expect_failure(quantize(model_, "--force"), weights_.string(), "header length");
  EXPECT_EQ(fixtures::read(output_ / "model.safetensors"), old);
  EXPECT_EQ(folder_.entries(), 3u);
}

TEST_F(LlamaProgram, DamagedWeights) {
  const std::string whole = fixtures::read(weights_);
  const auto refused = [&](std::string_view content, const std::string& fault) {
    damage("model.safetensors", content);
    expect_refused(model_, weights_.string(), fault);
    expect_failure(run("inspect " + quoted(model_)), weights_.string(), fault);
  };
  refused("", "too short");
  refused(whole.substr(0, 5), "too short");
  refused(whole.substr(0, 100), "exceeds the 92 bytes that follow");
  refused(whole.substr(0, whole.size() - 1), "exceed");
  refused(whole + "x", "trailing");
  refused("PK\x03\x04 a zip archive such as a .pt file", "header length");
  refused(std::string(8, '\xff') + whole.substr(8), "exceeds the limit");
  refused(with_header("{\"lm_head.weight\":", ""), "invalid JSON");
  refused(with_header(R"({"lm_head.weight":{"dtype":"F17","shape":[1],"data_offsets":[0,2]}})", "ab"),
          "unknown dtype \"F17\"");
  refused(with_header(R"({"w":{"dtype":"F16","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,2]}})", "ab"),
          "is too large");
}

TEST_F(LlamaProgram, TensorsThatDoNotFit) {
  const std::string up = "model.layers.1.mlp.up_proj.weight";
  const auto tensor = [&](std::vector<io::TensorInfo>& infos) -> io::TensorInfo& {
    return *std::ranges::find(infos, up, &io::TensorInfo::name);
  };
  damage_weights([&](auto& infos) { tensor(infos).name = "another"; });
  expect_refused(model_, weights_.string(), "tensor \"" + up + "\": expected shape [96, 64], found no tensor");
  damage_weights([&](auto& infos) { tensor(infos).shape = {64, 96}; });
  expect_refused(model_, weights_.string(), "tensor \"" + up + "\": expected shape [96, 64], found [64, 96]");
  damage_weights([&](auto& infos) { tensor(infos).shape = {96 * 64}; });
  expect_refused(model_, weights_.string(), "tensor \"" + up + "\": expected shape [96, 64], found [6144]");
  damage_weights([&](auto& infos) { tensor(infos).dtype = io::DType::i32; });
  expect_refused(model_, weights_.string(), "tensor \"" + up + "\": expected F32, F16 or BF16, found I32");
  damage_weights([&](auto& infos) { infos[1].shape = {63}; });
  expect_refused(model_, weights_.string(), "tensor \"model.norm.weight\": expected shape [64], found [63]");
}

TEST_F(LlamaProgram, StrangeTensorsAreCarriedAlong) {
  damage_weights([&](auto& infos) {
    infos.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", io::DType::f32, {8}});
    infos.push_back({"model.layers.7.mlp.up_proj.weight", io::DType::i64, {}});
    infos.push_back({"model.layers.00.mlp.up_proj.weight", io::DType::u8, {3}});
  });
  const auto quantized = report(quantize(model_, "--json"));
  EXPECT_EQ(quantized["tensors"].size(), 14u);
  EXPECT_EQ(report(run("inspect --json " + quoted(output_)))["tensors"].size(), tiny::tensors().size() + 3);
}

TEST_F(LlamaProgram, DamagedConfigurations) {
  const std::string config = fixtures::read(model_ / "config.json");
  const auto refused = [&](const std::string& from, const std::string& to, const std::string& fault) {
    std::string changed = config;
    const std::size_t at = changed.find(from);
    ASSERT_NE(at, std::string::npos);
    damage("config.json", changed.replace(at, from.size(), to));
    expect_refused(model_, (model_ / "config.json").string(), fault);
  };
  refused("\"num_hidden_layers\": 2", "\"num_hidden_layers\": -2", "num_hidden_layers");
  refused("\"hidden_size\": 64", "\"hidden_size\": 1e300", "hidden_size");
  refused("\"silu\"", "\"relu\"", "hidden_act");
  refused("{", "[", "");
  damage("config.json", "");
  expect_refused(model_, (model_ / "config.json").string(), "");
  fixtures::fs::remove(model_ / "config.json");
  expect_refused(model_, (model_ / "config.json").string(), "No such file");

  std::string more_layers = config;
  damage("config.json",
         more_layers.replace(more_layers.find("\"num_hidden_layers\": 2"), 22, "\"num_hidden_layers\": 3"));
  expect_refused(model_, weights_.string(), "model.layers.2.");
}

TEST_F(LlamaProgram, DamagedTokenizers) {
  damage("tokenizer.bin", "no tokenizer");
  expect_failure(run("generate " + quoted(model_) + " --prompt x"), (model_ / "tokenizer.bin").string(), "");
  fixtures::fs::remove(model_ / "tokenizer.bin");
  expect_failure(run("generate " + quoted(model_) + " --prompt x"), weights_.string(), "--tokenizer");
  EXPECT_EQ(quantize(model_).status, 0);
}

TEST_F(LlamaProgram, HostileMetadata) {
  auto writer = io::SafetensorsWriter::create(
      weights_, tiny::tensors(), {{"pare", R"({"version":1,"tensors":{"w":{"scheme":"int4","shape":[8,8]}}})"}});
  for (const io::TensorInfo& tensor : writer->tensors())
    ASSERT_TRUE(writer->write(tensor.name, tiny::elements(tensor)));
  ASSERT_TRUE(writer->finish());
  expect_failure(quantize(model_), weights_.string(), "w");
  EXPECT_FALSE(fixtures::fs::exists(output_));
}

TEST_F(LlamaProgram, FilesThatAreNotThere) {
  expect_refused(folder_ / "absent", (folder_ / "absent").string(), "No such file");
  expect_refused(folder_ / "absent.safetensors", "absent.safetensors", "No such file");
  expect_refused(text_, text_.string(), "is no model");
  fixtures::fs::create_directory(folder_ / "empty");
  expect_refused(folder_ / "empty", (folder_ / "empty").string(), "model.safetensors");
  expect_failure(run("perplexity " + quoted(model_) + " --text " + quoted(folder_ / "absent")), "absent",
                 "No such file");
  expect_failure(run("perplexity " + quoted(model_) + " --ids " + quoted(folder_ / "absent")), "absent",
                 "No such file");
}

TEST_F(LlamaProgram, NoPermission) {
  namespace fs = fixtures::fs;
  // Root may do everything, so that root's run goes on as somebody else.
  const bool root = ::geteuid() == 0;
  const std::string prefix = root ? "setpriv --reuid 65534 --regid 65534 --clear-groups" : "";
  if (root) {
    fs::permissions(folder_.path(), fs::perms::all);
    if (run("--help", ":", prefix).status != 0) GTEST_SKIP() << "cannot run the program as another user than root";
  }
  const std::string command = "quantize " + quoted(model_) + " --scheme int8 -o " + quoted(output_);
  fs::permissions(weights_, fs::perms::none);
  expect_failure(run(command, ":", prefix), weights_.string(), "Permission denied");
  fs::permissions(weights_, fs::perms::owner_all | fs::perms::others_read);
  fs::permissions(model_ / "tokenizer.bin", fs::perms::none);
  expect_failure(run(command, ":", prefix), "tokenizer.bin", "Permission denied");
  fs::permissions(model_ / "tokenizer.bin", fs::perms::owner_all | fs::perms::others_read);
  fs::permissions(folder_.path(),
                  fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec);
  expect_failure(run(command, ":", prefix), output_.string(), "Permission denied");
  fs::permissions(folder_.path(), fs::perms::all);
  EXPECT_EQ(folder_.entries(), 2u);
  EXPECT_EQ(run(command, ":", prefix).status, 0);
}

TEST_F(LlamaProgram, FullDisks) {
  // A limit on the size of files stands for a disk that fills up half way.
  expect_failure(quantize(model_, "", "ulimit -f 4"), output_.string(), "File too large");
  expect_failure(run("prune " + quoted(model_) + " -o " + quoted(output_), "ulimit -f 4"), output_.string(),
                 "File too large");
  expect_failure(run("quantize " + quoted(model_) + " --scheme int8 -o " + quoted(folder_ / "no/such/folder")),
                 "no/such/folder", "No such file");
  EXPECT_EQ(folder_.entries(), 2u);
  if (!fixtures::fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  const Outcome listed = run("inspect " + quoted(model_) + " >/dev/full");
  EXPECT_GT(listed.status, 0);
  EXPECT_EQ(std::ranges::count(listed.error, '\n'), 1) << listed.error;
  EXPECT_NE(listed.error.find("standard output: No space left"), std::string::npos) << listed.error;
}

}  // namespace
