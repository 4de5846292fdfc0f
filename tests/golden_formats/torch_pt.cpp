// Files of torch.save: the tensors, how they lie in their storages, and what the archives hold.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "io/file.hpp"
#include "io/json.hpp"
#include "io/pickle.hpp"
#include "io/torch.hpp"
#include "io/torch_state.hpp"
#include "io/zip_archive.hpp"
#include "runner.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

std::vector<std::uint8_t> to_bytes(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return {data, data + bytes.size()};
}

/// Compares the model in a file with a safetensors file, order included.
void compare_tensors(const fs::path& file, const fs::path& expected_file, Report& report) {
  const auto expected = Vectors::open(expected_file, report);
  const auto model = io::TorchFile::open(file);
  report.check("file", model.has_value(), model ? std::string() : model.error().message);
  if (!expected || !model) return;
  report.check("tensors", model->tensors().size() == expected->file().tensors().size(),
               fmt::format("{} where there should be {}", model->tensors().size(), expected->file().tensors().size()));
  for (const io::TensorView& tensor : expected->file().tensors()) {
    const io::TensorView* found = model->find(tensor.name);
    const bool same = found != nullptr && found->dtype == tensor.dtype && found->shape == tensor.shape;
    report.check(tensor.name, same, "is missing or has another type or shape");
    if (same) report.equal(tensor.name, to_bytes(tensor.bytes), to_bytes(found->bytes));
  }
}

void run_state_dict(const fs::path& file, Report& report) {
  compare_tensors(file, file.parent_path() / "state_dict_expected.safetensors", report);
}

void run_module(const fs::path& file, Report& report) {
  compare_tensors(file, file.parent_path() / "fake_yolo11_expected.safetensors", report);
}

/// The pickle in an archive, which must have been mapped.
pare::Result<io::Pickle> read_pickle(const io::ZipArchive& archive, const std::string& entry) {
  constexpr std::size_t limit = std::size_t{1} << 30;
  const auto program = archive.read(entry, limit);
  if (!program) return program.error();
  return io::Pickle::parse(*program, entry);
}

/// The strides and offsets that the expected file's metadata states, against those in the pickle.
void run_state_dict_expected(const fs::path& file, Report& report) {
  const auto expected = Vectors::open(file, report);
  const auto mapped = io::MappedFile::open(file.parent_path() / "state_dict.pt");
  if (!mapped) return report.check("state_dict.pt", false, mapped.error().message);
  const auto archive = io::ZipArchive::parse(mapped->bytes(), "state_dict.pt");
  if (!archive) return report.check("state_dict.pt", false, archive.error().message);
  const auto pickle = read_pickle(*archive, "state_dict/data.pkl");
  if (!pickle) return report.check("data.pkl", false, pickle.error().message);
  const auto tensors = io::torch_state_dict(*pickle, "data.pkl");
  if (!tensors) return report.check("data.pkl", false, tensors.error().message);
  if (!expected) return;
  const json strides = json::parse(expected->metadata("strides"));
  const json offsets = json::parse(expected->metadata("offsets"));
  report.check("tensors", tensors->size() == strides.size(), "their number differs");
  for (const io::TorchTensor& tensor : *tensors) {
    report.check(tensor.name, strides.value(tensor.name, json()) == json(tensor.strides),
                 "has strides " + io::to_string(tensor.strides));
    report.check(tensor.name, offsets.value(tensor.name, json()) == json(tensor.offset),
                 fmt::format("has the offset {}", tensor.offset));
  }
}

/// The globals of the pickles and the places of the entries.
void run_inspection(const fs::path& file, Report& report) {
  const auto text = io::MappedFile::open(file);
  if (!text) return report.check("file", false, text.error().message);
  const auto inspection =
      io::parse_json({reinterpret_cast<const char*>(text->bytes().data()), text->bytes().size()}, "inspection.json");
  if (!inspection) return report.check("file", false, inspection.error().message);
  for (const auto& [name, expected] : inspection->items()) {
    const auto mapped = io::MappedFile::open(file.parent_path() / name);
    if (!mapped) {
      report.check(name, false, mapped.error().message);
      continue;
    }
    const auto archive = io::ZipArchive::parse(mapped->bytes(), name);
    report.check(name, archive.has_value(), archive ? std::string() : archive.error().message);
    if (!archive) continue;
    const auto pickle = read_pickle(*archive, fs::path(name).stem().string() + "/data.pkl");
    report.check(name, pickle.has_value(), pickle ? std::string() : pickle.error().message);
    if (!pickle) continue;
    std::set<std::string> globals;
    for (io::Pickle::Ref ref = 0; ref < pickle->count(); ++ref)
      if (const auto* global = pickle->get<io::Pickle::Global>(ref))
        globals.insert(global->module + " " + global->name);
    report.check(name, globals == expected.at("globals").get<std::set<std::string>>(), "has other globals");
    for (const json& entry : expected.at("data_offsets_mod64")) {
      const auto path = entry.at(0).get<std::string>();
      const auto content = archive->view(path);
      const std::size_t at = content ? static_cast<std::size_t>(content->data() - mapped->bytes().data()) : 0;
      report.check(path, content && (content->empty() || at == entry.at(1).get<std::size_t>()),
                   content ? fmt::format("lies at {}", at) : content.error().message);
    }
    for (const json& entry : expected.at("entries")) {
      const auto path = entry.at(0).get<std::string>();
      const auto content = archive->view(path);
      report.check(path, content && content->size() == entry.at(4).get<std::size_t>(), "has another size");
    }
  }
}

/// The names of the tensors of a module, in the order of its state_dict.
void run_module_expected(const fs::path& file, Report& report) {
  const auto expected = Vectors::open(file, report);
  const auto model = io::TorchFile::open(file.parent_path() / "fake_yolo11.pt");
  if (!model) return report.check("fake_yolo11.pt", false, model.error().message);
  if (!expected) return;
  std::set<std::string> names, expected_names;
  for (const io::TensorView& tensor : model->tensors()) names.insert(tensor.name);
  for (const io::TensorView& tensor : expected->file().tensors()) expected_names.insert(tensor.name);
  report.check("names", names == expected_names, "differ");
}

constexpr Check checks[] = {{"torch_pt/state_dict.pt", run_state_dict},
                            {"torch_pt/state_dict_legacy_tar.pt", run_state_dict},
                            {"torch_pt/state_dict_expected.safetensors", run_state_dict_expected},
                            {"torch_pt/fake_yolo11.pt", run_module},
                            {"torch_pt/fake_yolo11_expected.safetensors", run_module_expected},
                            {"torch_pt/inspection.json", run_inspection}};

}  // namespace

std::span<const Check> torch_pt_checks() { return checks; }

}  // namespace golden
