#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "yolo11/inspect.hpp"
#include "yolo11/quantize.hpp"

namespace yolo {

/// A table for people: a line for each layer, then the totals.
std::string to_text(const QuantizeReport& report);
std::string to_text(const Inspection& inspection);

/// The same for programs. Measures that are no numbers (the SQNR of a layer without error) are null.
nlohmann::json to_json(const QuantizeReport& report);
nlohmann::json to_json(const Inspection& inspection);

}  // namespace yolo
