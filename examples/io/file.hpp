#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pare/core/result.hpp"

namespace io {

/// A whole regular file mapped read-only. Another process that shortens the file meanwhile ends this one (SIGBUS), as
/// with any mapping; one that replaces it by rename, as OutputFile does, is harmless.
class MappedFile {
 public:
  /// Maps `path`. An io error names the file and the reason; folders and devices are refused.
  static pare::Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  /// The content; it stays at its address when the MappedFile moves.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

  /// Lets the system drop the pages of `part` from this process; reading them again loads them again. A part that is
  /// not inside this file is ignored. Called after each tensor, it keeps a pass over a large file small in memory.
  void release(std::span<const std::byte> part) const noexcept;

 private:
  std::span<const std::byte> bytes_;
};

/// Whether `path`, which a file names, leads to a file in that file's folder or below: it is relative, has a file name
/// and neither `..` nor a NUL byte.
bool stays_inside(const std::filesystem::path& path);

/// A file that appears whole or not at all: bytes go to a temporary beside its name, and commit() renames it. A path
/// that leads to a device or pipe is written directly.
class OutputFile {
 public:
  /// Creates the temporary. An existing file of that name is replaced on commit() and stays as it is without.
  /// Messages call the file `shown_as`, or its path where that is empty.
  static pare::Result<OutputFile> create(const std::filesystem::path& path, std::string shown_as = {});

  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  /// Removes the temporary unless commit() has succeeded.
  ~OutputFile();

  /// Appends `bytes`. After an error, which may concern earlier bytes, the file cannot be committed any more.
  pare::Result<void> write(std::span<const std::byte> bytes);
  pare::Result<void> write(std::string_view text);

  /// Flushes, waits until the bytes are on the disk, and gives the file its name. To be called once.
  pare::Result<void> commit();

  /// The name that messages use.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  OutputFile() = default;
  pare::Result<void> flush();
  pare::Result<void> put(std::span<const std::byte> bytes);
  pare::Error fail(int error);
  void discard() noexcept;

  std::string name_;
  std::filesystem::path final_;
  std::filesystem::path temporary_;  ///< empty where a device is written directly, and after commit()
  std::vector<std::byte> buffer_;
  int descriptor_ = -1;
  int error_ = 0;  ///< errno of the first fault
};

/// Whether an existing destination may be replaced.
enum class Overwrite { no, yes };

/// A folder that appears whole or not at all: its files go to a temporary folder beside its name, and commit() renames
/// that.
class OutputDirectory {
 public:
  /// Creates the temporary folder. An existing destination is an error unless `overwrite` is yes; even then only a
  /// folder that holds no folders is replaced, so that a mistyped name does not remove a tree.
  static pare::Result<OutputDirectory> create(const std::filesystem::path& path, Overwrite overwrite = Overwrite::no);

  OutputDirectory(OutputDirectory&& other) noexcept;
  OutputDirectory& operator=(OutputDirectory&& other) noexcept;
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;
  /// Removes the temporary folder and all in it unless commit() has succeeded.
  ~OutputDirectory();

  /// A new file `name` of the folder, to be committed before the folder is.
  pare::Result<OutputFile> create_file(std::string_view name) const;

  /// Writes a file `name` of the folder in one go.
  pare::Result<void> write_file(std::string_view name, std::string_view content) const;

  /// Copies `source` into the folder under its own name.
  pare::Result<void> copy_file(const std::filesystem::path& source) const;

  /// Gives the folder its name; an old folder of that name is removed afterwards. To be called once.
  pare::Result<void> commit();

 private:
  OutputDirectory() = default;
  void discard() noexcept;

  std::string name_;
  std::filesystem::path final_;
  std::filesystem::path temporary_;  ///< empty after commit()
  Overwrite overwrite_ = Overwrite::no;
};

}  // namespace io
