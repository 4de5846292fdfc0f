#include "io/torch_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <utility>

#include "io/json.hpp"
#include "pare/core/bits.hpp"

namespace io {
using nlohmann::json;
using pare::Error;
using pare::ErrorCode;
using pare::Result;
using Ref = Pickle::Ref;

namespace {

/// The name of a class of storages, or of a dtype, and the elements.
struct NamedType {
  std::string_view name;
  DType dtype;
};
constexpr NamedType storage_types[] = {{"FloatStorage", DType::f32},
                                       {"HalfStorage", DType::f16},
                                       {"BFloat16Storage", DType::bf16},
                                       {"DoubleStorage", DType::f64},
                                       {"LongStorage", DType::i64},
                                       {"IntStorage", DType::i32},
                                       {"ShortStorage", DType::i16},
                                       {"CharStorage", DType::i8},
                                       {"ByteStorage", DType::u8},
                                       {"BoolStorage", DType::boolean},
                                       {"ComplexFloatStorage", DType::c64},
                                       {"UntypedStorage", DType::u8},
                                       {"Float8_e4m3fnStorage", DType::f8_e4m3},
                                       {"Float8_e5m2Storage", DType::f8_e5m2}};
constexpr NamedType dtype_names[] = {{"float32", DType::f32},
                                     {"float", DType::f32},
                                     {"float16", DType::f16},
                                     {"half", DType::f16},
                                     {"bfloat16", DType::bf16},
                                     {"float64", DType::f64},
                                     {"double", DType::f64},
                                     {"int64", DType::i64},
                                     {"long", DType::i64},
                                     {"int32", DType::i32},
                                     {"int", DType::i32},
                                     {"int16", DType::i16},
                                     {"short", DType::i16},
                                     {"int8", DType::i8},
                                     {"uint8", DType::u8},
                                     {"uint16", DType::u16},
                                     {"uint32", DType::u32},
                                     {"uint64", DType::u64},
                                     {"bool", DType::boolean},
                                     {"complex64", DType::c64},
                                     {"float8_e4m3fn", DType::f8_e4m3},
                                     {"float8_e5m2", DType::f8_e5m2},
                                     {"float8_e4m3fnuz", DType::f8_e4m3fnuz},
                                     {"float8_e5m2fnuz", DType::f8_e5m2fnuz},
                                     {"float8_e8m0fnu", DType::f8_e8m0}};

std::optional<DType> look_up(std::span<const NamedType> table, std::string_view name) {
  const auto row = std::ranges::find(table, name, &NamedType::name);
  if (row == table.end()) return std::nullopt;
  return row->dtype;
}

/// The text of a str, or of the bytes that Python 2 wrote for one.
std::optional<std::string_view> text_of(const Pickle& pickle, Ref ref) {
  if (const auto* text = pickle.get<std::string>(ref)) return *text;
  if (const auto* bytes = pickle.get<Pickle::Bytes>(ref)) return bytes->bytes;
  return std::nullopt;
}

/// An integer that is not negative.
std::optional<std::uint64_t> count_of(const Pickle& pickle, Ref ref) {
  const auto* number = pickle.get<std::int64_t>(ref);
  if (number == nullptr || *number < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

/// The counts of a tuple, or of a torch.Size that is given one.
std::optional<std::vector<std::uint64_t>> counts_of(const Pickle& pickle, Ref ref) {
  if (const auto* object = pickle.get<Pickle::Object>(ref)) {
    const auto* callee = pickle.callee(*object);
    const auto arguments = pickle.tuple(object->arguments);
    if (callee == nullptr || !callee->is("torch", "Size") || !arguments || arguments->size() != 1) return std::nullopt;
    ref = arguments->front();
  }
  const auto items = pickle.tuple(ref);
  if (!items) return std::nullopt;
  std::vector<std::uint64_t> counts;
  for (const Ref item : *items) {
    const auto count = count_of(pickle, item);
    if (!count) return std::nullopt;
    counts.push_back(*count);
  }
  return counts;
}

/// Whether a strided view stays inside `elements` of a storage; `count` is the number of its elements.
bool fits(std::size_t count, std::span<const std::size_t> shape, std::span<const std::uint64_t> strides,
          std::uint64_t offset, std::uint64_t elements) {
  if (count == 0) return true;
  std::size_t last = offset;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    std::size_t reach = 0;
    if (!pare::checked_multiply(shape[i] - 1, strides[i], reach) || reach > ~std::size_t{0} - last) return false;
    last += reach;
  }
  return last < elements;
}

/// Reads the tensors of one pickle.
class StateReader {
 public:
  StateReader(const Pickle& pickle, std::string_view file) : pickle_(pickle), file_(file) {}

  /// The dict or module that holds the model's tensors.
  Ref model() const {
    constexpr std::string_view keys[] = {"ema", "model", "state_dict", "model_state_dict", "module"};
    constexpr std::size_t max_descent = 4;
    Ref at = pickle_.root();
    for (std::size_t i = 0; i < max_descent; ++i) {
      std::optional<Ref> next;
      for (const std::string_view key : keys) {
        const auto found = pickle_.entry(at, key);
        if (!next && found && (pickle_.get<Pickle::Dict>(*found) != nullptr || is_module(*found))) next = found;
      }
      if (!next) break;
      at = *next;
    }
    return at;
  }

  /// The attributes of an object: its state, or the first of the two dicts of a state with slots.
  std::optional<Ref> attributes(Ref object) const {
    const auto* found = pickle_.get<Pickle::Object>(object);
    if (found == nullptr || !found->state) return std::nullopt;
    if (const auto pair = pickle_.tuple(*found->state); pair && pair->size() == 2) return pair->front();
    return found->state;
  }

  bool is_module(Ref ref) const {
    const auto state = attributes(ref);
    return state && pickle_.entry(*state, "_parameters") && pickle_.entry(*state, "_modules");
  }

  Result<std::vector<TorchTensor>> read() {
    const Ref from = model();
    if (is_module(from)) {
      if (auto done = add_module(from, "", 0); !done) return std::move(done).error();
    } else if (pickle_.get<Pickle::Dict>(from) != nullptr) {
      if (auto done = add_all(from, "", {}); !done) return std::move(done).error();
    }
    if (tensors_.empty()) return fault("holds no tensors: neither a state_dict nor a module", ErrorCode::corrupt_data);
    return std::move(tensors_);
  }

 private:
  Error fault(std::string_view what, ErrorCode code) const { return {code, fmt::format("{}: {}", file_, what)}; }
  Error fault(const std::string& tensor, std::string_view what, ErrorCode code = ErrorCode::corrupt_data) const {
    return fault(fmt::format("tensor {}: {}", quote(tensor), what), code);
  }

  const Pickle::Global* callee(Ref ref) const {
    const auto* object = pickle_.get<Pickle::Object>(ref);
    return object == nullptr ? nullptr : pickle_.callee(*object);
  }

  /// Whether `ref` is something that torch rebuilds into a tensor, of whatever kind.
  bool is_tensor(Ref ref) const {
    const auto* global = callee(ref);
    if (global == nullptr) return false;
    return (global->module == "torch._utils" || global->module == "torch._tensor") &&
           global->name.starts_with("_rebuild_");
  }

  /// Adds the tensors of a dict, except those that are named in `skipped`.
  Result<void> add_all(Ref dict, const std::string& prefix, const std::set<std::string_view>& skipped) {
    const auto* entries = pickle_.get<Pickle::Dict>(dict);
    if (entries == nullptr) return {};
    for (const auto& [key, value] : entries->items) {
      const auto name = text_of(pickle_, key);
      if (!name || !is_tensor(value) || skipped.contains(*name)) continue;
      if (auto done = add(value, prefix + std::string(*name)); !done) return done;
    }
    return {};
  }

  /// Adds the tensors of a module and of the modules in it.
  Result<void> add_module(Ref module, const std::string& prefix, std::size_t depth) {
    constexpr std::size_t max_depth = 200, max_visits = std::size_t{1} << 16;
    if (depth > max_depth || ++visits_ > max_visits)
      return fault(fmt::format("module {}: modules are nested too deep, or in a circle", quote(prefix)),
                   ErrorCode::corrupt_data);
    const auto state = attributes(module);
    if (!state) return {};
    if (const auto parameters = pickle_.entry(*state, "_parameters"))
      if (auto done = add_all(*parameters, prefix, {}); !done) return done;
    if (const auto buffers = pickle_.entry(*state, "_buffers"))
      if (auto done = add_all(*buffers, prefix, transient_buffers(*state)); !done) return done;
    const auto modules = pickle_.entry(*state, "_modules");
    const auto* children = modules ? pickle_.get<Pickle::Dict>(*modules) : nullptr;
    if (children == nullptr) return {};
    for (const auto& [key, child] : children->items) {
      const auto name = text_of(pickle_, key);
      if (!name || !is_module(child)) continue;
      std::string inner = fmt::format("{}{}.", prefix, *name);
      if (inner.size() > max_name) return fault(inner, "its name is too long");
      if (auto done = add_module(child, inner, depth + 1); !done) return done;
    }
    return {};
  }

  /// The names of the buffers that a module does not save.
  std::set<std::string_view> transient_buffers(Ref state) const {
    std::set<std::string_view> names;
    const auto found = pickle_.entry(state, "_non_persistent_buffers_set");
    if (!found) return names;
    const auto* set = pickle_.get<Pickle::List>(*found);
    if (const auto* object = pickle_.get<Pickle::Object>(*found)) {
      const auto arguments = pickle_.tuple(object->arguments);
      if (arguments && arguments->size() == 1) set = pickle_.get<Pickle::List>(arguments->front());
    }
    if (set != nullptr)
      for (const Ref item : set->items)
        if (const auto name = text_of(pickle_, item)) names.insert(*name);
    return names;
  }

  Result<void> add(Ref ref, std::string name) {
    if (name.size() > max_name || !is_utf8(name)) return fault(name, "its name is too long or not valid UTF-8");
    auto tensor = rebuild(ref, std::move(name));
    if (!tensor) return std::move(tensor).error();
    if (!names_.insert(tensor->name).second) return fault(tensor->name, "its name is taken");
    if (tensors_.size() == max_tensors)
      return fault(fmt::format("has more than {} tensors", max_tensors), ErrorCode::unsupported);
    tensors_.push_back(*std::move(tensor));
    return {};
  }

  Result<TorchTensor> rebuild(Ref ref, std::string name) const {
    const Pickle::Global* function = nullptr;
    std::span<const Ref> arguments;
    // A parameter wraps a tensor, and so does a tensor with attributes of its own; nothing wraps these twice.
    for (int wrapped = 0; wrapped < 3; ++wrapped) {
      const auto* object = pickle_.get<Pickle::Object>(ref);
      function = callee(ref);
      const auto given = object == nullptr ? std::nullopt : pickle_.tuple(object->arguments);
      if (function == nullptr || !given || given->empty()) return fault(name, "is no tensor");
      arguments = *given;
      if (function->name == "_rebuild_parameter" || function->name == "_rebuild_parameter_with_state") {
        ref = arguments[0];
      } else if (function->name == "_rebuild_from_type_v2" && arguments.size() >= 3) {
        function = pickle_.get<Pickle::Global>(arguments[0]);
        const auto inner = pickle_.tuple(arguments[2]);
        if (function == nullptr || !inner) return fault(name, "is no tensor");
        arguments = *inner;
        break;
      } else {
        break;
      }
    }
    const bool typed = function->name == "_rebuild_tensor_v3";
    if (!typed && function->name != "_rebuild_tensor_v2" && function->name != "_rebuild_tensor")
      return fault(name, fmt::format("{} is not supported", quote(function->name)), ErrorCode::unsupported);
    if (arguments.size() < (typed ? 7u : 4u)) return fault(name, "is rebuilt from too few arguments");
    return strided(std::move(name), arguments, typed);
  }

  Result<TorchTensor> strided(std::string name, std::span<const Ref> arguments, bool typed) const {
    TorchTensor tensor;
    tensor.name = std::move(name);
    const auto* persistent = pickle_.get<Pickle::Persistent>(arguments[0]);
    if (persistent == nullptr) return fault(tensor.name, "has no storage");
    auto storage = torch_storage(pickle_, persistent->id, fmt::format("{}: tensor {}", file_, quote(tensor.name)));
    if (!storage) return std::move(storage).error();
    tensor.storage = *std::move(storage);
    tensor.dtype = tensor.storage.dtype;
    std::uint64_t elements = tensor.storage.elements;
    if (typed) {
      const auto* type = pickle_.get<Pickle::Global>(arguments[6]);
      const auto dtype = type == nullptr ? std::nullopt : look_up(dtype_names, type->name);
      if (!dtype)
        return fault(tensor.name, fmt::format("dtype {} is not supported", type == nullptr ? "?" : quote(type->name)),
                     ErrorCode::unsupported);
      if (bits(*dtype) != bits(tensor.dtype) && tensor.dtype != DType::u8)
        return fault(tensor.name,
                     fmt::format("dtype {} does not fit its storage of {}", io::name(*dtype), io::name(tensor.dtype)));
      elements = elements * bytes_of(tensor.dtype) / bytes_of(*dtype);
      tensor.dtype = *dtype;
    }
    const auto offset = count_of(pickle_, arguments[1]);
    const auto shape = counts_of(pickle_, arguments[2]);
    auto strides = counts_of(pickle_, arguments[3]);
    if (!offset) return fault(tensor.name, "the storage offset is no count");
    if (!shape || shape->size() > max_dimensions)
      return fault(tensor.name, fmt::format("the size is no tuple of at most {} counts", max_dimensions));
    if (!strides || strides->size() != shape->size())
      return fault(tensor.name, fmt::format("the stride is no tuple of {} counts", shape->size()));
    tensor.offset = *offset;
    tensor.shape.assign(shape->begin(), shape->end());
    tensor.strides = *std::move(strides);
    const auto count = element_count(tensor.shape);
    if (!count || !byte_count(tensor.dtype, tensor.shape))
      return fault(tensor.name, fmt::format("size {} is too large", to_string(tensor.shape)));
    if (!fits(*count, tensor.shape, tensor.strides, tensor.offset, elements))
      return fault(tensor.name, fmt::format("size {} with stride {} at offset {} exceeds the {} elements of storage {}",
                                            to_string(tensor.shape), to_string(tensor.strides), tensor.offset, elements,
                                            quote(tensor.storage.key)));
    return tensor;
  }

  static constexpr std::size_t max_dimensions = 64;
  static constexpr std::size_t max_name = 1024;
  static constexpr std::size_t max_tensors = std::size_t{1} << 18;

  const Pickle& pickle_;
  std::string_view file_;
  std::vector<TorchTensor> tensors_;
  std::set<std::string> names_;
  std::size_t visits_ = 0;
};

/// A value of dicts, lists, texts and numbers as JSON; nothing where it holds anything else or is too large.
std::optional<json> to_json(const Pickle& pickle, Ref ref, std::size_t depth, std::size_t& budget) {
  constexpr std::size_t max_depth = 16;
  if (depth > max_depth || budget == 0) return std::nullopt;
  --budget;
  if (pickle.get<Pickle::None>(ref) != nullptr) return json();
  if (const auto* flag = pickle.get<bool>(ref)) return json(*flag);
  if (const auto* integer = pickle.get<std::int64_t>(ref)) return json(*integer);
  if (const auto* real = pickle.get<double>(ref)) return json(*real);
  if (const auto* text = pickle.get<std::string>(ref))
    return is_utf8(*text) ? std::optional(json(*text)) : std::nullopt;
  std::span<const Ref> items;
  if (const auto* list = pickle.get<Pickle::List>(ref)) items = list->items;
  if (const auto tuple = pickle.tuple(ref)) items = *tuple;
  if (const auto* dict = pickle.get<Pickle::Dict>(ref)) {
    json object = json::object();
    for (const auto& [key, value] : dict->items) {
      const auto name = to_json(pickle, key, depth + 1, budget);
      auto held = to_json(pickle, value, depth + 1, budget);
      if (!name || !held || name->is_structured()) return std::nullopt;
      object[name->is_string() ? name->get<std::string>() : name->dump()] = *std::move(held);
    }
    return object;
  }
  if (pickle.get<Pickle::List>(ref) == nullptr && !pickle.tuple(ref)) return std::nullopt;
  json array = json::array();
  for (const Ref item : items) {
    auto held = to_json(pickle, item, depth + 1, budget);
    if (!held) return std::nullopt;
    array.push_back(*std::move(held));
  }
  return array;
}

}  // namespace

Result<TorchStorage> torch_storage(const Pickle& pickle, Ref id, std::string_view file) {
  const auto fault = [&](std::string_view what, ErrorCode code = ErrorCode::corrupt_data) {
    return Error{code, fmt::format("{}: {}", file, what)};
  };
  const auto parts = pickle.tuple(id);
  if (!parts || parts->size() < 5 || text_of(pickle, (*parts)[0]) != "storage")
    return fault("a persistent identifier is no storage");
  const auto* type = pickle.get<Pickle::Global>((*parts)[1]);
  if (type == nullptr || !type->module.starts_with("torch")) return fault("the type of a storage is no class of torch");
  const auto dtype = look_up(storage_types, type->name);
  if (!dtype) return fault(fmt::format("storages of {} are not supported", quote(type->name)), ErrorCode::unsupported);
  const auto key = text_of(pickle, (*parts)[2]);
  if (!key) return fault("the key of a storage is no text");
  const auto count = count_of(pickle, (*parts)[4]);
  std::size_t bytes = 0;
  if (!count || !pare::checked_multiply(*count, bytes_of(*dtype), bytes))
    return fault(fmt::format("the size of storage {} is no count", quote(*key)));

  TorchStorage storage{std::string(*key), *dtype, *count, 0, *count};
  if (parts->size() < 6 || pickle.get<Pickle::None>((*parts)[5]) != nullptr) return storage;
  const auto view = pickle.tuple((*parts)[5]);
  const auto offset = view && view->size() == 3 ? count_of(pickle, (*view)[1]) : std::nullopt;
  const auto elements = offset ? count_of(pickle, (*view)[2]) : std::nullopt;
  if (!elements || *offset > *count || *elements > *count - *offset)
    return fault(fmt::format("a view of storage {} exceeds its {} elements", quote(*key), *count));
  storage.offset = *offset;
  storage.elements = *elements;
  return storage;
}

Result<std::vector<TorchTensor>> torch_state_dict(const Pickle& pickle, std::string_view file) {
  return StateReader(pickle, file).read();
}

Metadata torch_metadata(const Pickle& pickle) {
  Metadata metadata;
  std::size_t budget = 100'000;
  const auto put = [&](const std::string& key, Ref value) {
    const auto held = to_json(pickle, value, 0, budget);
    if (held && !held->is_null() && is_utf8(key))
      metadata.insert_or_assign(key, held->is_string() ? held->get<std::string>() : held->dump());
  };
  if (const auto* top = pickle.get<Pickle::Dict>(pickle.root()))
    for (const auto& [key, value] : top->items) {
      const auto* name = pickle.get<std::string>(key);
      const bool plain = pickle.get<std::string>(value) != nullptr || pickle.get<std::int64_t>(value) != nullptr ||
                         pickle.get<double>(value) != nullptr;
      if (name != nullptr && plain) put(*name, value);
    }
  const StateReader reader(pickle, {});
  const auto state = reader.attributes(reader.model());
  for (const char* attribute : {"names", "yaml"})
    if (const auto value = state ? pickle.entry(*state, attribute) : std::nullopt) put(attribute, *value);
  return metadata;
}

}  // namespace io
