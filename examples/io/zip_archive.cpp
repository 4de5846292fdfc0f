#include "io/zip_archive.hpp"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "io/json.hpp"

namespace io {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

struct FileCloser {
  void operator()(zip_file_t* file) const noexcept { zip_fclose(file); }
};
using File = std::unique_ptr<zip_file_t, FileCloser>;

}  // namespace

/// An open archive, and the source from which the library reads it: it notes where the library reads, which is how the
/// place of a stored entry becomes known.
class ZipArchive::Handle {
 public:
  explicit Handle(std::span<const std::byte> bytes) noexcept : bytes_(bytes) { zip_error_init(&error_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (archive_ != nullptr) zip_discard(archive_);
    zip_error_fini(&error_);
  }

  /// What is wrong with the archive, or an empty text.
  std::string open() {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t* source = zip_source_function_create(&Handle::serve, this, &error);
    if (source != nullptr) archive_ = zip_open_from_source(source, ZIP_RDONLY, &error);
    std::string fault;
    if (archive_ == nullptr) {
      fault = zip_error_strerror(&error);
      if (source != nullptr) zip_source_free(source);
    }
    zip_error_fini(&error);
    return fault;
  }

  [[nodiscard]] zip_t* archive() const noexcept { return archive_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// Where the last read began.
  [[nodiscard]] std::size_t last_read() const noexcept { return last_read_; }

 private:
  static zip_int64_t serve(void* self, void* data, zip_uint64_t length, zip_source_cmd_t command) {
    return static_cast<Handle*>(self)->serve(data, length, command);
  }

  zip_int64_t serve(void* data, zip_uint64_t length, zip_source_cmd_t command) {
    switch (command) {
      case ZIP_SOURCE_OPEN:
        at_ = 0;
        return 0;
      case ZIP_SOURCE_READ: {
        const auto size = static_cast<std::size_t>(std::min<zip_uint64_t>(length, bytes_.size() - at_));
        if (size > 0) std::memcpy(data, bytes_.data() + at_, size);
        last_read_ = at_;
        at_ += size;
        return static_cast<zip_int64_t>(size);
      }
      case ZIP_SOURCE_SEEK: {
        const zip_int64_t to = zip_source_seek_compute_offset(at_, bytes_.size(), data, length, &error_);
        if (to < 0) return -1;
        at_ = static_cast<std::size_t>(to);
        return 0;
      }
      case ZIP_SOURCE_TELL:
        return static_cast<zip_int64_t>(at_);
      case ZIP_SOURCE_STAT: {
        auto* status = static_cast<zip_stat_t*>(data);
        zip_stat_init(status);
        status->size = bytes_.size();
        status->valid = ZIP_STAT_SIZE;
        return sizeof(*status);
      }
      case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&error_, data, length);
      case ZIP_SOURCE_CLOSE:
      case ZIP_SOURCE_FREE:
        return 0;
      case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL,
                                              ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_CLOSE, ZIP_SOURCE_FREE,
                                              ZIP_SOURCE_SUPPORTS, -1);
      default:
        zip_error_set(&error_, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
  }

  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  std::size_t last_read_ = 0;
  zip_error_t error_{};
  zip_t* archive_ = nullptr;
};

ZipArchive::ZipArchive() = default;
ZipArchive::ZipArchive(ZipArchive&&) noexcept = default;
ZipArchive& ZipArchive::operator=(ZipArchive&&) noexcept = default;
ZipArchive::~ZipArchive() = default;

bool ZipArchive::recognizes(std::span<const std::byte> bytes) noexcept {
  constexpr std::array magic{std::byte{'P'}, std::byte{'K'}, std::byte{3}, std::byte{4}};
  return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin());
}

Result<ZipArchive> ZipArchive::parse(std::span<const std::byte> bytes, std::string_view name) {
  const auto fault = [&](std::string_view what, ErrorCode code = ErrorCode::corrupt_data) {
    return Error{code, fmt::format("{}: zip archive: {}", name, what)};
  };
  ZipArchive archive;
  archive.name_ = name;
  archive.handle_ = std::make_unique<Handle>(bytes);
  if (const std::string broken = archive.handle_->open(); !broken.empty()) return fault(broken);

  zip_t* zip = archive.handle_->archive();
  const auto count = static_cast<zip_uint64_t>(zip_get_num_entries(zip, 0));
  for (zip_uint64_t i = 0; i < count; ++i) {
    zip_stat_t status;
    constexpr zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD;
    if (zip_stat_index(zip, i, ZIP_FL_ENC_RAW, &status) != 0 || (status.valid & needed) != needed)
      return fault(fmt::format("entry {}: {}", i, zip_strerror(zip)));
    if ((status.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 && status.encryption_method != ZIP_EM_NONE)
      return fault(fmt::format("entry {}: is encrypted", quote(status.name)), ErrorCode::unsupported);
    const Entry entry{status.index, status.size, status.comp_method == ZIP_CM_STORE};
    if (!archive.entries_.emplace(status.name, entry).second)
      return fault(fmt::format("entry {}: its name is taken", quote(status.name)));
  }
  return archive;
}

std::vector<std::string_view> ZipArchive::names() const {
  std::vector<std::string_view> names;
  names.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

Result<const ZipArchive::Entry*> ZipArchive::require(std::string_view entry) const {
  const auto found = entries_.find(entry);
  if (found != entries_.end()) return &found->second;
  return Error{ErrorCode::corrupt_data, fmt::format("{}: zip archive: has no entry {}", name_, quote(entry))};
}

bool ZipArchive::is_stored(std::string_view entry) const {
  const auto found = entries_.find(entry);
  return found != entries_.end() && found->second.stored;
}

Result<std::vector<std::byte>> ZipArchive::read(std::string_view entry, std::size_t limit) const {
  const auto found = require(entry);
  if (!found) return found.error();
  const auto fault = [&](std::string_view what, ErrorCode code = ErrorCode::corrupt_data) {
    return Error{code, fmt::format("{}: zip archive: entry {}: {}", name_, quote(entry), what)};
  };
  if ((*found)->size > limit)
    return fault(fmt::format("has {} bytes, more than {}", (*found)->size, limit), ErrorCode::unsupported);
  const File file(zip_fopen_index(handle_->archive(), (*found)->index, 0));
  if (file == nullptr) return fault(zip_strerror(handle_->archive()));

  // The size is what the directory says; memory is only taken for what there is.
  constexpr std::size_t step = std::size_t{1} << 20;
  const auto size = static_cast<std::size_t>((*found)->size);
  std::vector<std::byte> content;
  for (bool more = true; more;) {
    const std::size_t before = content.size();
    content.resize(std::min(size, before + step) + 1);  // one byte more, to reach the end and with it the checksum
    const zip_int64_t got = zip_fread(file.get(), content.data() + before, content.size() - before);
    if (got < 0) return fault(zip_file_strerror(file.get()));
    content.resize(before + static_cast<std::size_t>(got));
    if (content.size() > size) return fault("is longer than the directory says");
    more = got > 0;
  }
  if (content.size() != size) return fault(fmt::format("has {} bytes instead of {}", content.size(), size));
  return content;
}

Result<std::span<const std::byte>> ZipArchive::view(std::string_view entry) const {
  const auto found = require(entry);
  if (!found) return found.error();
  const auto fault = [&](std::string_view what, ErrorCode code = ErrorCode::corrupt_data) {
    return Error{code, fmt::format("{}: zip archive: entry {}: {}", name_, quote(entry), what)};
  };
  if (!(*found)->stored) return fault("is compressed", ErrorCode::unsupported);
  if ((*found)->size == 0) return std::span<const std::byte>{};
  const File file(zip_fopen_index(handle_->archive(), (*found)->index, ZIP_FL_COMPRESSED));
  if (file == nullptr) return fault(zip_strerror(handle_->archive()));
  std::byte first{};
  if (zip_fread(file.get(), &first, 1) != 1) return fault(zip_file_strerror(file.get()));
  const std::size_t at = handle_->last_read();
  if ((*found)->size > handle_->bytes().size() - at)
    return fault(fmt::format("its {} bytes at {} exceed the file", (*found)->size, at));
  return handle_->bytes().subspan(at, static_cast<std::size_t>((*found)->size));
}

}  // namespace io
