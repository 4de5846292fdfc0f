#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pare/core/result.hpp"

namespace io {

/// A zip archive in memory, such as a mapped file. Entries that are stored without compression can be used in place.
class ZipArchive {
 public:
  /// Whether `bytes` start as a zip archive does.
  static bool recognizes(std::span<const std::byte> bytes) noexcept;

  /// Reads the directory of the archive. `bytes` must outlive the result; `name` starts every message. Broken
  /// directories, names that are there twice and encryption are errors.
  static pare::Result<ZipArchive> parse(std::span<const std::byte> bytes, std::string_view name);

  ZipArchive(ZipArchive&&) noexcept;
  ZipArchive& operator=(ZipArchive&&) noexcept;
  ~ZipArchive();

  /// The names of the entries, sorted.
  [[nodiscard]] std::vector<std::string_view> names() const;

  [[nodiscard]] bool has(std::string_view entry) const { return entries_.contains(entry); }

  /// The content of an entry, decompressed where need be; checksums are verified. More than `limit` bytes are an
  /// unsupported error.
  [[nodiscard]] pare::Result<std::vector<std::byte>> read(std::string_view entry, std::size_t limit) const;

  /// The content of an entry where it lies in the archive, not read and so not verified; an unsupported error where it
  /// is compressed.
  [[nodiscard]] pare::Result<std::span<const std::byte>> view(std::string_view entry) const;

  /// Whether view() can give the entry.
  [[nodiscard]] bool is_stored(std::string_view entry) const;

 private:
  struct Entry {
    std::uint64_t index = 0;
    std::uint64_t size = 0;
    bool stored = false;
  };
  class Handle;

  ZipArchive();
  [[nodiscard]] pare::Result<const Entry*> require(std::string_view entry) const;

  std::string name_;
  std::unique_ptr<Handle> handle_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace io
