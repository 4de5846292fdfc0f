#include "io/file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <utility>

#include "fixtures.hpp"

namespace {
namespace fs = std::filesystem;
using fixtures::Folder;
using pare::ErrorCode;

/// Whether the result is an error of that kind whose message names `file` and says `reason`.
template <class T>
testing::AssertionResult fails(const pare::Result<T>& result, ErrorCode code, const fs::path& file,
                               std::string_view reason) {
  if (result) return testing::AssertionFailure() << "it succeeded";
  const auto& error = result.error();
  if (error.code != code || error.message.find(file.string()) == std::string::npos ||
      error.message.find(reason) == std::string::npos)
    return testing::AssertionFailure() << static_cast<int>(error.code) << ": " << error.message;
  return testing::AssertionSuccess();
}

/// Lowers the largest file that this process may write, as a full disk would.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    previous_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &previous_);
    const rlimit lowered{bytes, previous_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &lowered);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &previous_);
    std::signal(SIGXFSZ, previous_handler_);
  }

 private:
  rlimit previous_{};
  void (*previous_handler_)(int) = nullptr;
};

TEST(MappedFile, HoldsTheContent) {
  const Folder folder;
  fixtures::write(folder / "a", "some bytes");
  auto file = io::MappedFile::open(folder / "a");
  ASSERT_TRUE(file);
  EXPECT_EQ(fixtures::text(file->bytes()), "some bytes");
  const auto* address = file->bytes().data();
  const io::MappedFile moved = *std::move(file);
  EXPECT_EQ(moved.bytes().data(), address);
  EXPECT_TRUE(file->bytes().empty());
}

TEST(MappedFile, AnEmptyFileHasNoBytes) {
  const Folder folder;
  fixtures::write(folder / "empty", "");
  const auto file = io::MappedFile::open(folder / "empty");
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->bytes().empty());
  file->release(file->bytes());
}

TEST(MappedFile, SaysWhyItCannotOpen) {
  const Folder folder;
  EXPECT_TRUE(fails(io::MappedFile::open(folder / "none"), ErrorCode::io, folder / "none", "No such file"));
  EXPECT_TRUE(fails(io::MappedFile::open(folder.path()), ErrorCode::io, folder.path(), "directory"));
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(fails(io::MappedFile::open(folder / "pipe"), ErrorCode::io, folder / "pipe", "not a regular file"));
}

TEST(MappedFile, NeedsPermission) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const Folder folder;
  fixtures::write(folder / "secret", "x");
  fs::permissions(folder / "secret", fs::perms::none);
  EXPECT_TRUE(fails(io::MappedFile::open(folder / "secret"), ErrorCode::io, folder / "secret", "Permission denied"));
}

TEST(MappedFile, ReleasedPagesReadTheSame) {
  const Folder folder;
  std::string content(100'000, 'a');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7);
  fixtures::write(folder / "a", content);
  const auto file = io::MappedFile::open(folder / "a");
  ASSERT_TRUE(file);
  for (const auto& [offset, count] :
       {std::pair<std::size_t, std::size_t>{0, 100'000}, {5000, 1}, {4096, 4096}, {99'999, 1}}) {
    file->release(file->bytes().subspan(offset, count));
    EXPECT_EQ(fixtures::text(file->bytes()), content);
  }
}

TEST(MappedFile, ReleasesOnlyItsOwnBytes) {
  const Folder folder;
  fixtures::write(folder / "a", "content");
  const auto file = io::MappedFile::open(folder / "a");
  ASSERT_TRUE(file);
  const std::string other(1 << 20, 'x');
  file->release(fixtures::bytes(other));
  EXPECT_EQ(other, std::string(1 << 20, 'x'));
}

TEST(OutputFile, AppearsOnCommit) {
  const Folder folder;
  const std::string large(200'000, 'b');
  {
    auto file = io::OutputFile::create(folder / "out");
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write("first "));
    ASSERT_TRUE(file->write(large));
    ASSERT_TRUE(file->write(" last"));
    EXPECT_FALSE(fs::exists(folder / "out"));
    ASSERT_TRUE(file->commit());
  }
  EXPECT_EQ(fixtures::read(folder / "out"), "first " + large + " last");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputFile, WithoutCommitChangesNothing) {
  const Folder folder;
  fixtures::write(folder / "out", "old");
  {
    auto file = io::OutputFile::create(folder / "out");
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write(std::string(100'000, 'x')));
    const io::OutputFile moved = *std::move(file);
  }
  EXPECT_EQ(fixtures::read(folder / "out"), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputFile, AssignmentDropsTheOldTemporary) {
  const Folder folder;
  auto a = io::OutputFile::create(folder / "a");
  auto b = io::OutputFile::create(folder / "b");
  ASSERT_TRUE(a && b);
  ASSERT_TRUE(b->write("b"));
  *a = *std::move(b);
  EXPECT_EQ(folder.entries(), 1u);
  ASSERT_TRUE(a->commit());
  EXPECT_EQ(fixtures::read(folder / "b"), "b");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputFile, ReplacesAnExistingFile) {
  const Folder folder;
  fixtures::write(folder / "out", "a longer old content");
  auto file = io::OutputFile::create(folder / "out");
  ASSERT_TRUE(file && file->write("new") && file->commit());
  EXPECT_EQ(fixtures::read(folder / "out"), "new");
}

TEST(OutputFile, FollowsALink) {
  const Folder folder;
  fs::create_directory(folder / "elsewhere");
  fixtures::write(folder / "elsewhere/real", "old");
  fs::create_symlink(folder / "elsewhere/real", folder / "link");
  auto file = io::OutputFile::create(folder / "link");
  ASSERT_TRUE(file && file->write("new") && file->commit());
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(fixtures::read(folder / "elsewhere/real"), "new");
}

TEST(OutputFile, SaysWhyItCannotCreate) {
  const Folder folder;
  EXPECT_TRUE(fails(io::OutputFile::create(folder / "no/out"), ErrorCode::io, folder / "no/out", "No such file"));
  EXPECT_TRUE(fails(io::OutputFile::create(folder.path()), ErrorCode::io, folder.path(), "directory"));
  EXPECT_TRUE(fails(io::OutputFile::create(folder / "out/"), ErrorCode::io, folder / "out/", "No such file"));
  EXPECT_FALSE(io::OutputFile::create(""));
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(OutputFile, AFullDeviceIsAnError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  const Folder folder;
  fs::create_symlink("/dev/full", folder / "full");
  for (const fs::path& path : {fs::path("/dev/full"), folder / "full"}) {
    auto large = io::OutputFile::create(path);
    ASSERT_TRUE(large);
    EXPECT_TRUE(fails(large->write(std::string(1 << 20, 'x')), ErrorCode::io, path, "No space left"));
    EXPECT_TRUE(fails(large->commit(), ErrorCode::io, path, "No space left"));
    auto small = io::OutputFile::create(path);
    ASSERT_TRUE(small && small->write("x"));
    EXPECT_TRUE(fails(small->commit(), ErrorCode::io, path, "No space left"));
  }
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputFile, AFailedWriteLeavesNothing) {
  const Folder folder;
  fixtures::write(folder / "out", "old");
  const FileSizeLimit limit(100'000);
  {
    auto file = io::OutputFile::create(folder / "out");
    ASSERT_TRUE(file && file->write(std::string(70'000, 'x')));
    EXPECT_TRUE(fails(file->write(std::string(70'000, 'x')), ErrorCode::io, folder / "out", "too large"));
    EXPECT_FALSE(file->write("x"));
    EXPECT_TRUE(fails(file->commit(), ErrorCode::io, folder / "out", "too large"));
  }
  EXPECT_EQ(fixtures::read(folder / "out"), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputDirectory, AppearsOnCommit) {
  const Folder folder;
  fixtures::write(folder / "config.json", "{}");
  {
    auto model = io::OutputDirectory::create(folder / "model/");
    ASSERT_TRUE(model);
    ASSERT_TRUE(model->write_file("a", "text"));
    ASSERT_TRUE(model->copy_file(folder / "config.json"));
    auto file = model->create_file("b");
    ASSERT_TRUE(file);
    EXPECT_EQ(file->name(), (folder / "model/b").string());
    ASSERT_TRUE(file->commit());
    EXPECT_FALSE(fs::exists(folder / "model"));
    ASSERT_TRUE(model->commit());
  }
  EXPECT_EQ(fixtures::read(folder / "model/a"), "text");
  EXPECT_EQ(fixtures::read(folder / "model/config.json"), "{}");
  EXPECT_TRUE(fs::exists(folder / "model/b"));
  EXPECT_EQ(folder.entries(), 2u);
}

TEST(OutputDirectory, WithoutCommitLeavesNothing) {
  const Folder folder;
  {
    auto model = io::OutputDirectory::create(folder / "model");
    ASSERT_TRUE(model && model->write_file("a", "text"));
    const io::OutputDirectory moved = *std::move(model);
  }
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(OutputDirectory, KeepsWhatIsThere) {
  const Folder folder;
  fs::create_directory(folder / "model");
  fixtures::write(folder / "file", "x");
  const auto refused = ErrorCode::invalid_argument;
  EXPECT_TRUE(fails(io::OutputDirectory::create(folder / "model"), refused, folder / "model", "already exists"));
  EXPECT_TRUE(fails(io::OutputDirectory::create(folder / "file"), refused, folder / "file", "already exists"));
  EXPECT_FALSE(io::OutputDirectory::create(folder / "file", io::Overwrite::yes));
  EXPECT_FALSE(io::OutputDirectory::create("/", io::Overwrite::yes));
  EXPECT_TRUE(
      fails(io::OutputDirectory::create(folder / "no/model"), ErrorCode::io, folder / "no/model", "No such file"));
  EXPECT_EQ(folder.entries(), 2u);
}

TEST(OutputDirectory, ReplacesOnRequest) {
  const Folder folder;
  fs::create_directory(folder / "model");
  fixtures::write(folder / "model/old", "x");
  auto model = io::OutputDirectory::create(folder / "model", io::Overwrite::yes);
  ASSERT_TRUE(model && model->write_file("new", "y"));
  EXPECT_TRUE(fs::exists(folder / "model/old"));
  ASSERT_TRUE(model->commit());
  EXPECT_FALSE(fs::exists(folder / "model/old"));
  EXPECT_EQ(fixtures::read(folder / "model/new"), "y");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputDirectory, DoesNotReplaceATree) {
  const Folder folder;
  fs::create_directories(folder / "home/documents");
  EXPECT_TRUE(fails(io::OutputDirectory::create(folder / "home", io::Overwrite::yes), ErrorCode::invalid_argument,
                    folder / "home", "documents"));
  EXPECT_TRUE(fs::exists(folder / "home/documents"));
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputDirectory, LosesTheRaceForItsName) {
  const Folder folder;
  {
    auto model = io::OutputDirectory::create(folder / "model");
    ASSERT_TRUE(model && model->write_file("a", "mine"));
    fs::create_directory(folder / "model");
    fixtures::write(folder / "model/a", "theirs");
    EXPECT_TRUE(fails(model->commit(), ErrorCode::io, folder / "model", "not empty"));
  }
  EXPECT_EQ(fixtures::read(folder / "model/a"), "theirs");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputDirectory, FilesStayInside) {
  const Folder folder;
  const auto model = io::OutputDirectory::create(folder / "model");
  ASSERT_TRUE(model);
  for (const char* name : {"", ".", "..", "../x", "/x", "a/b"}) EXPECT_FALSE(model->create_file(name)) << name;
}

}  // namespace
