#pragma once

#include <span>
#include <string_view>

#include "runner.hpp"

namespace golden {

std::span<const Check> gguf_checks();
std::span<const Check> numeric_checks();
std::span<const Check> mx_checks();
std::span<const Check> nvfp4_checks();
std::span<const Check> torch_pt_checks();
std::span<const Check> container_checks();
std::span<const Check> gptq_checks();
std::span<const Check> awq_checks();
std::span<const Check> modelopt_checks();
std::span<const Check> compressed_tensors_checks();
std::span<const Check> sparse24_checks();

/// The checks of files that belong together.
struct Family {
  std::string_view name;
  std::span<const Check> (*checks)();
};

/// How the paths of layouts begin that pare does not have yet. They are listed, and none of them counts as verified.
inline constexpr std::string_view pending[] = {"aqlm/",     "bnb/",    "exl2/",           "hqq/", "mlc/", "onnx/",
                                               "openvino/", "qserve/", "sparse24/cutlass"};

/// The families, one line each; every one is a source file of its own.
inline constexpr Family families[] = {
    {"gguf", gguf_checks},
    {"numeric", numeric_checks},
    {"mx", mx_checks},
    {"nvfp4", nvfp4_checks},
    {"torch_pt", torch_pt_checks},
    {"container", container_checks},
    {"gptq", gptq_checks},
    {"awq", awq_checks},
    {"modelopt", modelopt_checks},
    {"compressed-tensors", compressed_tensors_checks},
    {"sparse24", sparse24_checks},
};

}  // namespace golden
