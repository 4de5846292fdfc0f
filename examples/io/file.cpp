#include "io/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <system_error>
#include <utility>

namespace io {
namespace fs = std::filesystem;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

constexpr std::size_t buffer_size = std::size_t{1} << 16;

Error io_error(std::string_view name, std::string_view action, int error) {
  return {ErrorCode::io, fmt::format("{}: cannot {}: {}", name, action, std::generic_category().message(error))};
}

/// Calls `create(path)`, which returns a negative number and sets errno on failure, with new hidden names in the folder
/// of `beside` until one is free. Returns that name, or an empty path with errno set.
template <class Create>
fs::path create_temporary(const fs::path& beside, Create&& create) {
  static std::atomic<unsigned> counter{0};
  constexpr int attempts = 1000;
  for (int i = 0; i < attempts; ++i) {
    fs::path path = beside.parent_path() / fmt::format(".pare-{}-{}.tmp", ::getpid(), counter++);
    if (create(path.c_str()) >= 0) return path;
    if (errno != EEXIST) break;
  }
  return {};
}

}  // namespace

Result<MappedFile> MappedFile::open(const fs::path& path) {
  // Without O_NONBLOCK, opening a pipe waits for its writer before it can be refused.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return io_error(path.string(), "open", errno);
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }
  } closer{descriptor};

  struct stat status{};
  if (::fstat(descriptor, &status) != 0) return io_error(path.string(), "read", errno);
  if (S_ISDIR(status.st_mode)) return io_error(path.string(), "read", EISDIR);
  if (!S_ISREG(status.st_mode)) return Error{ErrorCode::io, path.string() + ": is not a regular file"};

  MappedFile file;
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return file;
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (address == MAP_FAILED) return io_error(path.string(), "map", errno);
  file.bytes_ = {static_cast<const std::byte*>(address), size};
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  MappedFile old(std::move(other));
  std::swap(bytes_, old.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::release(std::span<const std::byte> part) const noexcept {
  const std::less_equal<const std::byte*> not_after;
  if (part.empty() || !not_after(bytes_.data(), part.data()) ||
      !not_after(part.data() + part.size(), bytes_.data() + bytes_.size()))
    return;
  // Rounding outwards takes the pages that two tensors share too: they are clean, so the other one reloads them.
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = static_cast<std::size_t>(part.data() - bytes_.data()) / page * page;
  const auto end = static_cast<std::size_t>(part.data() - bytes_.data()) + part.size();
  ::madvise(const_cast<std::byte*>(bytes_.data() + begin), end - begin, MADV_DONTNEED);
}

bool stays_inside(const fs::path& path) {
  return path.has_filename() && path.is_relative() && std::ranges::find(path, fs::path("..")) == path.end() &&
         path.native().find('\0') == std::string::npos;
}

Result<OutputFile> OutputFile::create(const fs::path& path, std::string shown_as) {
  OutputFile file;
  file.name_ = shown_as.empty() ? path.string() : std::move(shown_as);
  file.final_ = path;

  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (!path.has_filename() && !fs::exists(status)) return io_error(file.name_, "create", ENOENT);
  if (fs::is_directory(status)) return io_error(file.name_, "write", EISDIR);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    file.descriptor_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (file.descriptor_ < 0) return io_error(file.name_, "write", errno);
    return file;
  }
  if (fs::exists(status)) {
    if (::access(path.c_str(), W_OK) != 0) return io_error(file.name_, "write", errno);
    // A link keeps pointing at its file: the file is what gets replaced.
    file.final_ = fs::canonical(path, ignored);
    if (ignored) return io_error(file.name_, "write", ignored.value());
  }
  file.temporary_ = create_temporary(file.final_, [&](const char* candidate) {
    file.descriptor_ = ::open(candidate, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return file.descriptor_;
  });
  if (file.temporary_.empty()) return io_error(file.name_, "create", errno);
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : name_(std::move(other.name_)),
      final_(std::move(other.final_)),
      temporary_(std::exchange(other.temporary_, {})),
      buffer_(std::move(other.buffer_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      error_(other.error_) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  if (this == &other) return *this;
  discard();
  name_ = std::move(other.name_);
  final_ = std::move(other.final_);
  temporary_ = std::exchange(other.temporary_, {});
  buffer_ = std::move(other.buffer_);
  descriptor_ = std::exchange(other.descriptor_, -1);
  error_ = other.error_;
  return *this;
}

OutputFile::~OutputFile() { discard(); }

void OutputFile::discard() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

Error OutputFile::fail(int error) {
  error_ = error;
  return io_error(name_, "write", error);
}

Result<void> OutputFile::put(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> OutputFile::flush() {
  auto done = put(buffer_);
  buffer_.clear();
  return done;
}

Result<void> OutputFile::write(std::span<const std::byte> bytes) {
  if (error_ != 0) return fail(error_);
  if (buffer_.size() + bytes.size() > buffer_size) {
    if (auto done = flush(); !done) return done;
    if (bytes.size() >= buffer_size) return put(bytes);
  }
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  return {};
}

Result<void> OutputFile::write(std::string_view text) { return write(std::as_bytes(std::span(text))); }

Result<void> OutputFile::commit() {
  if (error_ != 0) return fail(error_);
  if (auto done = flush(); !done) return done;
  if (!temporary_.empty() && ::fsync(descriptor_) != 0) return fail(errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) return fail(errno);
  if (!temporary_.empty() && std::rename(temporary_.c_str(), final_.c_str()) != 0) return fail(errno);
  temporary_.clear();
  return {};
}

namespace {

/// Whether `folder` may be replaced: it is a folder, and holds no folders.
Result<void> check_replaceable(const fs::path& folder, const std::string& name) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const bool is_folder = fs::is_directory(entries->symlink_status(error));
    if (error) break;
    if (is_folder)
      return Error{ErrorCode::invalid_argument, fmt::format("{}: is not replaced, because it holds the folder {}", name,
                                                            entries->path().filename().string())};
  }
  if (error) return io_error(name, "replace", error.value());
  return {};
}

}  // namespace

Result<OutputDirectory> OutputDirectory::create(const fs::path& path, Overwrite overwrite) {
  OutputDirectory folder;
  folder.name_ = path.string();
  folder.overwrite_ = overwrite;
  std::error_code error;
  folder.final_ = fs::weakly_canonical(path, error);
  if (error) return io_error(folder.name_, "create", error.value());
  if (!folder.final_.has_filename()) folder.final_ = folder.final_.parent_path();
  if (!folder.final_.has_filename()) return io_error(folder.name_, "create", EEXIST);

  if (fs::exists(fs::symlink_status(folder.final_, error))) {
    if (overwrite == Overwrite::no) return Error{ErrorCode::invalid_argument, folder.name_ + ": already exists"};
    if (auto replaceable = check_replaceable(folder.final_, folder.name_); !replaceable)
      return std::move(replaceable).error();
  }
  folder.temporary_ = create_temporary(folder.final_, [](const char* candidate) { return ::mkdir(candidate, 0777); });
  if (folder.temporary_.empty()) return io_error(folder.name_, "create", errno);
  return folder;
}

OutputDirectory::OutputDirectory(OutputDirectory&& other) noexcept
    : name_(std::move(other.name_)),
      final_(std::move(other.final_)),
      temporary_(std::exchange(other.temporary_, {})),
      overwrite_(other.overwrite_) {}

OutputDirectory& OutputDirectory::operator=(OutputDirectory&& other) noexcept {
  if (this == &other) return *this;
  discard();
  name_ = std::move(other.name_);
  final_ = std::move(other.final_);
  temporary_ = std::exchange(other.temporary_, {});
  overwrite_ = other.overwrite_;
  return *this;
}

OutputDirectory::~OutputDirectory() { discard(); }

void OutputDirectory::discard() noexcept {
  if (temporary_.empty()) return;
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
  temporary_.clear();
}

Result<OutputFile> OutputDirectory::create_file(std::string_view name) const {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos)
    return Error{ErrorCode::invalid_argument, fmt::format("{}: {:?} is not a file name", name_, name)};
  return OutputFile::create(temporary_ / name, (fs::path(name_) / name).string());
}

Result<void> OutputDirectory::write_file(std::string_view name, std::string_view content) const {
  auto file = create_file(name);
  if (!file) return std::move(file).error();
  if (auto done = file->write(content); !done) return done;
  return file->commit();
}

Result<void> OutputDirectory::copy_file(const fs::path& source) const {
  const auto original = MappedFile::open(source);
  if (!original) return original.error();
  auto file = create_file(source.filename().string());
  if (!file) return std::move(file).error();
  if (auto done = file->write(original->bytes()); !done) return done;
  return file->commit();
}

Result<void> OutputDirectory::commit() {
  std::error_code error;
  fs::path old;
  if (overwrite_ == Overwrite::yes && fs::exists(fs::symlink_status(final_, error))) {
    if (auto replaceable = check_replaceable(final_, name_); !replaceable) return replaceable;
    old = create_temporary(final_, [](const char* candidate) { return ::mkdir(candidate, 0777); });
    if (old.empty()) return io_error(name_, "replace", errno);
    if (std::rename(final_.c_str(), old.c_str()) != 0) {
      const int reason = errno;
      ::rmdir(old.c_str());
      return io_error(name_, "replace", reason);
    }
  }
  if (std::rename(temporary_.c_str(), final_.c_str()) != 0) {
    const int reason = errno;
    if (!old.empty()) std::rename(old.c_str(), final_.c_str());
    return io_error(name_, "create", reason);
  }
  temporary_.clear();
  if (old.empty()) return {};
  fs::remove_all(old, error);
  if (error) return io_error(old.string(), "remove", error.value());
  return {};
}

}  // namespace io
