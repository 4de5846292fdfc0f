#pragma once

#include <array>
#include <span>
#include <string_view>

#include "runner.hpp"

namespace golden {

std::span<const Method> round_to_nearest_methods();
std::span<const Method> adaround_methods();
std::span<const Method> aqlm_methods();
std::span<const Method> awq_methods();
std::span<const Method> calibration_methods();
std::span<const Method> double_quant_methods();
std::span<const Method> equalization_methods();
std::span<const Method> exl2_methods();
std::span<const Method> flap_methods();
std::span<const Method> gptq_methods();
std::span<const Method> hqq_methods();
std::span<const Method> nncf_grid_methods();
std::span<const Method> nncf_methods();
std::span<const Method> obc_methods();
std::span<const Method> obq_methods();
std::span<const Method> qoq_methods();
std::span<const Method> rotation_methods();
std::span<const Method> saliency_methods();
std::span<const Method> schedules_methods();
std::span<const Method> smoothquant_methods();
std::span<const Method> sparsegpt_methods();

/// The methods there are, by family: one source file each.
inline constexpr std::array families = {&round_to_nearest_methods,
                                        &adaround_methods,
                                        &aqlm_methods,
                                        &awq_methods,
                                        &calibration_methods,
                                        &double_quant_methods,
                                        &equalization_methods,
                                        &exl2_methods,
                                        &flap_methods,
                                        &gptq_methods,
                                        &hqq_methods,
                                        &nncf_grid_methods,
                                        &nncf_methods,
                                        &obc_methods,
                                        &obq_methods,
                                        &qoq_methods,
                                        &rotation_methods,
                                        &saliency_methods,
                                        &schedules_methods,
                                        &smoothquant_methods,
                                        &sparsegpt_methods};

/// Methods that the library does not have yet; their entries are printed as pending.
inline constexpr std::array<std::string_view, 3> pending_methods = {"qat_quantizers", "merge_kd", "rb_sparsity"};

}  // namespace golden
