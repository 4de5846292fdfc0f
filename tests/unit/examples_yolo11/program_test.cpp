#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "../examples_io/fixtures.hpp"
#include "models.hpp"

namespace {
using fixtures::fs::path;

/// One run of the program.
struct Outcome {
  int status = -1;
  std::string out;
  std::string error;
};

class Program : public testing::Test {
 protected:
  void SetUp() override { models::write(model_, models::tiny()); }

  /// Runs yolo11 by the shell, after the commands `before`.
  Outcome run(const std::string& arguments, const std::string& before = ":") const {
    const std::string command = before + "; '" + PARE_PROGRAM_DIR + "/yolo11' " + arguments;
    const std::string streams = " >'" + (logs_ / "out").string() + "' 2>'" + (logs_ / "error").string() + "'";
    const int status = std::system(("{ " + command + "; }" + streams).c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, fixtures::read(logs_ / "out"),
            fixtures::read(logs_ / "error")};
  }
  Outcome quantize(const path& model, const std::string& more = "", const std::string& before = ":") const {
    return run("quantize '" + model.string() + "' -o '" + output_.string() + "' --scheme int4-g32 " + more, before);
  }

  /// Quantizing and, unless it is only a matter of quantizing, inspecting fails with one line that holds `fault`.
  void expect_refused(const path& model, const std::string& fault, bool inspect = true) const {
    expect_failure(quantize(model), model.string(), fault);
    EXPECT_FALSE(fixtures::fs::exists(output_));
    EXPECT_EQ(folder_.entries(), fixtures::fs::exists(model) && model != model_ ? 2u : 1u);
    if (inspect) expect_failure(run("inspect '" + model.string() + "'"), model.string(), fault);
  }
  static void expect_failure(const Outcome& outcome, const std::string& place, const std::string& fault) {
    EXPECT_GT(outcome.status, 0);
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(outcome.error.starts_with("yolo11: ")) << outcome.error;
    EXPECT_EQ(std::ranges::count(outcome.error, '\n'), 1) << outcome.error;
    EXPECT_NE(outcome.error.find(place), std::string::npos) << outcome.error;
    EXPECT_NE(outcome.error.find(fault), std::string::npos) << outcome.error;
  }
  path damaged(std::string_view content) const {
    fixtures::write(folder_ / "bad.safetensors", content);
    return folder_ / "bad.safetensors";
  }
  static std::string with_header(const std::string& header, std::string_view data) {
    std::string file(8, '\0');
    pare::store_le(reinterpret_cast<std::uint8_t*>(file.data()), header.size(), 8);
    return file.append(header).append(data);
  }

  fixtures::Folder folder_;
  fixtures::Folder logs_;
  path model_ = folder_ / "model.safetensors";
  path output_ = folder_ / "out.safetensors";
};

TEST_F(Program, ExplainsItself) {
  for (const char* arguments : {"--help", "quantize --help", "inspect --help"}) {
    const Outcome help = run(arguments);
    EXPECT_EQ(help.status, 0);
    EXPECT_NE(help.out.find("yolo11"), std::string::npos);
    EXPECT_EQ(help.error, "");
  }
  for (const char* scheme : {"int4-g32", "e2m1-g32-e8m0", "mxfp4"})
    EXPECT_NE(run("quantize --help").out.find(scheme), std::string::npos) << scheme;
}

TEST_F(Program, WrongCommandLines) {
  const std::string model = "'" + model_.string() + "'", out = " -o '" + output_.string() + "'";
  expect_failure(run(""), "a command is missing", "--help");
  expect_failure(run("quantify"), "quantify", "--help");
  expect_failure(run("quantize " + model + " --scheme int8"), "--output", "--help");
  expect_failure(run("quantize " + model + out), "--scheme", "--help");
  expect_failure(run("quantize " + model + out + " --scheme int8 --threads x"), "--threads", "--help");
  expect_failure(run("quantize " + model + out + " --scheme int8 --threads 100000"), "--threads", "--help");
  expect_failure(run("quantize " + model + out + " --scheme int8 --colour"), "--colour", "--help");
  expect_failure(run("quantize " + model + out + " --scheme int7-g9"), "int7-g9", "int4-g32");
  expect_failure(quantize(model_, "--keep model.77"), model_.string(), "model.77");
  EXPECT_EQ(folder_.entries(), 1u);
}

TEST_F(Program, QuantizesAndInspects) {
  const Outcome quantized = quantize(model_);
  EXPECT_EQ(quantized.status, 0) << quantized.error;
  EXPECT_EQ(quantized.error, "");
  EXPECT_NE(quantized.out.find("model.2.cv1.conv.weight"), std::string::npos);
  EXPECT_NE(quantized.out.find("model.23.dfl.conv.weight"), std::string::npos);
  EXPECT_EQ(folder_.entries(), 2u);

  const Outcome inspected = run("inspect '" + output_.string() + "' --json");
  EXPECT_EQ(inspected.status, 0) << inspected.error;
  const auto report = nlohmann::json::parse(inspected.out, nullptr, false);
  ASSERT_TRUE(report.is_object()) << inspected.out;
  EXPECT_EQ(report["tensors"].size(), models::tiny().size());
  EXPECT_EQ(report["file_bytes"], fixtures::fs::file_size(output_));
  expect_failure(run("quantize '" + output_.string() + "' -o '" + (folder_ / "again").string() + "' --scheme int8"),
                 output_.string(), "quantized already");
}

TEST_F(Program, ReportsInJson) {
  const Outcome quantized = quantize(model_, "--json");
  ASSERT_EQ(quantized.status, 0) << quantized.error;
  const auto report = nlohmann::json::parse(quantized.out, nullptr, false);
  ASSERT_TRUE(report.is_object()) << quantized.out;
  EXPECT_EQ(report["scheme"], "int4-g32");
  EXPECT_EQ(report["layers"].size(), models::packed().size());
  EXPECT_EQ(report["kept_convolutions"], nlohmann::json({"model.23.dfl.conv.weight"}));
  EXPECT_EQ(report["file_bytes_after"], fixtures::fs::file_size(output_));
  EXPECT_GT(report["total"]["sqnr_db"], 10.0);
}

TEST_F(Program, ThreadsDoNotChangeTheBytes) {
  ASSERT_EQ(quantize(model_, "--threads 1").status, 0);
  const std::string one = fixtures::read(output_);
  ASSERT_EQ(quantize(model_, "--threads 3 --force").status, 0);
  EXPECT_EQ(fixtures::read(output_), one);
}

TEST_F(Program, ReplacesAnOutputOnlyWhenToldTo) {
  fixtures::write(output_, "precious");
  expect_failure(quantize(model_), output_.string(), "--force");
  EXPECT_EQ(fixtures::read(output_), "precious");
  EXPECT_EQ(quantize(model_, "--force").status, 0);
  EXPECT_NE(fixtures::read(output_), "precious");
  EXPECT_EQ(folder_.entries(), 2u);
  EXPECT_EQ(run("quantize '" + model_.string() + "' -o '" + model_.string() + "' --scheme int8 --force").status, 0);
  EXPECT_EQ(folder_.entries(), 2u);
}

TEST_F(Program, AFailedRunLeavesAnOldOutputAlone) {
  fixtures::write(output_, "precious");
  expect_failure(quantize(damaged("no safetensors file"), "--force"), "bad.safetensors", "header length");
  EXPECT_EQ(fixtures::read(output_), "precious");
}

TEST_F(Program, DamagedFiles) {
  const std::string whole = fixtures::read(model_);
  expect_refused(damaged(""), "too short");
  expect_refused(damaged(whole.substr(0, 5)), "too short");
  expect_refused(damaged(whole.substr(0, 100)), "exceeds the 92 bytes that follow");
  expect_refused(damaged(whole.substr(0, whole.size() - 1)), "exceed");
  expect_refused(damaged(whole + "x"), "trailing");
  expect_refused(damaged("PK\x03\x04 a zip archive such as a .pt file"), "header length");
  expect_refused(damaged(std::string_view("GGUF\x03\0\0\0 a file of another kind", 31)), "header length");
  expect_refused(damaged(std::string(8, '\xff') + whole.substr(8)), "exceeds the limit");
  expect_refused(damaged(with_header("{\"model.0.conv.weight\":", "")), "invalid JSON");
  expect_refused(
      damaged(with_header(R"({"model.0.conv.weight":{"dtype":"F17","shape":[1,1,1,1],"data_offsets":[0,2]}})", "ab")),
      "unknown dtype \"F17\"");
  expect_refused(
      damaged(with_header(
          R"({"w.weight":{"dtype":"F16","shape":[4294967296,4294967296,4294967296,1],"data_offsets":[0,2]}})", "ab")),
      "is too large");
}

TEST_F(Program, HostileMetadata) {
  models::write(folder_ / "bad.safetensors", models::tiny(), {{"pare", "{\"version\":1,\"tensors\":{\"w\":[]}}"}});
  expect_refused(folder_ / "bad.safetensors", "tensor \"w\": its description is not an object");
}

TEST_F(Program, FilesThatAreNoYolo) {
  models::write(folder_ / "bad.safetensors", {{"model.layers.0.q_proj.weight", io::DType::f16, {8, 8}}});
  expect_refused(folder_ / "bad.safetensors", "no convolution", false);
  auto incomplete = models::tiny();
  incomplete.erase(incomplete.begin());
  models::write(folder_ / "bad.safetensors", incomplete);
  expect_refused(folder_ / "bad.safetensors", "has no tensor \"model.0.conv.weight\"", false);
  auto doubles = models::tiny();
  doubles.front().dtype = io::DType::f64;
  models::write(folder_ / "bad.safetensors", doubles);
  expect_refused(folder_ / "bad.safetensors", "tensor \"model.0.conv.weight\": F64 elements cannot be quantized",
                 false);
}

TEST_F(Program, FilesThatCannotBeRead) {
  expect_refused(folder_ / "absent.safetensors", "No such file");
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const path secret = damaged(fixtures::read(model_));
  fixtures::fs::permissions(secret, fixtures::fs::perms::none);
  expect_refused(secret, "Permission denied");
}

TEST_F(Program, OutputsThatCannotBeWritten) {
  const std::string command = "quantize '" + model_.string() + "' --scheme int8 -o ";
  expect_failure(run(command + "'" + (folder_ / "no/such/folder").string() + "'"), "no/such/folder", "No such file");
  expect_failure(run(command + "'" + folder_.path().string() + "'"), folder_.path().string(), "is a folder");
  EXPECT_EQ(folder_.entries(), 1u);
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  fixtures::fs::permissions(folder_.path(), fixtures::fs::perms::owner_read | fixtures::fs::perms::owner_exec);
  expect_failure(quantize(model_), output_.string(), "Permission denied");
  fixtures::fs::permissions(folder_.path(), fixtures::fs::perms::owner_all);
  EXPECT_EQ(folder_.entries(), 1u);
}

TEST_F(Program, FullDisks) {
  if (!fixtures::fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  const std::string command = "quantize '" + model_.string() + "' --scheme int8 ";
  expect_failure(run(command + "-o /dev/full"), "/dev/full", "No space left");
  // A limit on the size of files stands for a disk that fills up half way.
  expect_failure(quantize(model_, "", "trap '' XFSZ; ulimit -f 4"), output_.string(), "File too large");
  EXPECT_EQ(folder_.entries(), 1u);
  const Outcome report = run("inspect '" + model_.string() + "' >/dev/full");
  EXPECT_GT(report.status, 0);
  EXPECT_NE(report.error.find("standard output: No space left"), std::string::npos) << report.error;
}

}  // namespace
