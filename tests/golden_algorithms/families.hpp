#pragma once

#include <array>
#include <span>
#include <string_view>

#include "runner.hpp"

namespace golden {

std::span<const Method> round_to_nearest_methods();

/// The methods there are, by family: one source file each.
inline constexpr std::array families = {&round_to_nearest_methods};

/// Methods that the library does not have yet; their entries are printed as pending.
inline constexpr std::array<std::string_view, 43> pending_methods = {"gptq",
                                                                     "sparsegpt",
                                                                     "wanda",
                                                                     "magnitude",
                                                                     "flap",
                                                                     "obc_unstr",
                                                                     "obc_nm",
                                                                     "obc_quant",
                                                                     "awq",
                                                                     "smoothquant",
                                                                     "hqq",
                                                                     "venum",
                                                                     "magnitude_fine",
                                                                     "aqlm",
                                                                     "nncf_int8_sym",
                                                                     "nncf_int8_asym",
                                                                     "nncf_int4_sym",
                                                                     "nncf_int4_asym",
                                                                     "nncf_scale_estimation",
                                                                     "nncf_gptq",
                                                                     "nncf_awq",
                                                                     "nncf_lora_correction",
                                                                     "nncf_nf4",
                                                                     "nncf_fake_quantize_params",
                                                                     "nncf_mixed_precision_criteria",
                                                                     "nncf_channel_alignment",
                                                                     "qoq",
                                                                     "hist_calib",
                                                                     "exl2",
                                                                     "exl2_allocation",
                                                                     "hadamard",
                                                                     "rotate_w4a4",
                                                                     "cle",
                                                                     "adaround",
                                                                     "qat_quantizers",
                                                                     "merge_kd",
                                                                     "nf4_double_quant",
                                                                     "schedules",
                                                                     "flap_al_am",
                                                                     "kmeans_greedy",
                                                                     "octav",
                                                                     "fast_bias_correction",
                                                                     "rb_sparsity"};

}  // namespace golden
