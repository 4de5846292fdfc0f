#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "io/progress.hpp"
#include "io/thread_pool.hpp"
#include "pare/schemes/schemes.hpp"
#include "yolo11/inspect.hpp"
#include "yolo11/quantize.hpp"
#include "yolo11/report.hpp"

namespace {

using pare::Error;
using pare::ErrorCode;
using pare::Result;

constexpr int failure = 1;
constexpr int wrong_usage = 2;

/// What every command takes.
struct Common {
  std::string model;
  bool json = false;
  std::size_t threads = 0;
};

void add_common(CLI::App& command, Common& common) {
  command
      .add_option("MODEL", common.model,
                  "A .safetensors, .pt or .gguf file, a .safetensors.index.json or a folder with one")
      ->required();
  command.add_flag("--json", common.json, "Print one report as JSON on standard output");
  command.add_option("--threads", common.threads, "Threads to use; 0: one for each processor")
      ->check(CLI::Range(std::size_t{0}, std::size_t{1024}))
      ->capture_default_str();
}

std::string scheme_list() {
  std::string text = "Schemes:";
  for (const std::string_view name : pare::Catalog::names) text.append(" ").append(name);
  text += "\nShort names:";
  for (const auto& [alias, full] : pare::scheme_aliases) text += fmt::format(" {} ({})", alias, full);
  return text + "\n";
}

Result<void> print(const auto& report, bool json) {
  const std::string text =
      json ? to_json(report).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n" : to_text(report);
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    return Error{ErrorCode::io, fmt::format("standard output: {}", std::strerror(errno))};
  return {};
}

Result<void> quantize(const Common& common, yolo::QuantizeRequest request) {
  request.model = common.model;
  io::ThreadPool pool(common.threads);
  std::optional<io::Progress> bar;
  const auto report = yolo::quantize(request, pool, [&](std::uint64_t done, std::uint64_t total) {
    if (!bar) bar.emplace("quantizing", total);
    bar->update(done);
  });
  bar.reset();
  if (!report) return report.error();
  return print(*report, common.json);
}

Result<void> inspect(const Common& common) {
  const auto inspection = yolo::inspect(common.model);
  if (!inspection) return inspection.error();
  return print(*inspection, common.json);
}

/// One line on standard error.
int complain(std::string message, int status) {
  std::ranges::replace(message, '\n', ' ');
  fmt::print(stderr, "yolo11: {}\n", message);
  return status;
}

int run(int argc, char** argv) {
  CLI::App app("Makes YOLO11 weight files smaller", "yolo11");
  app.require_subcommand(0, 1);
  Common common;
  yolo::QuantizeRequest request;
  bool force = false;

  CLI::App& quantize_command =
      *app.add_subcommand("quantize", "Quantize every convolution and write a safetensors file");
  add_common(quantize_command, common);
  quantize_command.add_option("-o,--output", request.output, "The file to write")->required();
  quantize_command.add_option("--scheme", request.scheme, "How to quantize; the list is below")->required();
  quantize_command
      .add_option("--keep", request.keep, "Leave convolutions whose name starts so as they are; repeatable")
      ->allow_extra_args(false);
  quantize_command.add_flag("--force", force, "Replace an output that exists");
  quantize_command.footer(scheme_list());

  CLI::App& inspect_command = *app.add_subcommand("inspect", "List tensors, types, schemes, shapes and sizes");
  add_common(inspect_command, common);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wish) {
    return app.exit(wish);
  } catch (const CLI::ParseError& error) {
    return complain(std::string(error.what()) + " (--help explains the options)", wrong_usage);
  }
  if (app.get_subcommands().empty()) return complain("a command is missing (--help lists them)", wrong_usage);
  if (force) request.overwrite = io::Overwrite::yes;
  const Result<void> done = quantize_command.parsed() ? quantize(common, std::move(request)) : inspect(common);
  return done ? 0 : complain(done.error().message, failure);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    return complain(error.what(), failure);
  }
}
