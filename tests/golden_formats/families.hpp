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
std::span<const Check> bitsandbytes_checks();
std::span<const Check> hqq_checks();
std::span<const Check> exl2_checks();
std::span<const Check> mlc_checks();
std::span<const Check> qserve_checks();
std::span<const Check> aqlm_checks();
std::span<const Check> openvino_checks();
std::span<const Check> onnx_checks();

/// The checks of files that belong together.
struct Family {
  std::string_view name;
  std::span<const Check> (*checks)();
};

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
    {"bitsandbytes", bitsandbytes_checks},
    {"hqq", hqq_checks},
    {"exl2", exl2_checks},
    {"mlc", mlc_checks},
    {"qserve", qserve_checks},
    {"aqlm", aqlm_checks},
    {"openvino", openvino_checks},
    {"onnx", onnx_checks},
};

}  // namespace golden
