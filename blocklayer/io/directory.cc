// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/directory.h"

#include <fmt/format.h>

#include <cerrno>
#include <span>

namespace chainfs {
namespace {

// The temporary file's name is fixed, so a crash leaves at most one behind, and the next attempt
// replaces it. Callers serialize writes of one name.
std::string TemporaryName(const std::string& name) { return fmt::format(".{}.tmp", name); }

Status WriteAndSync(Directory& directory, const std::string& name, std::string_view contents) {
  auto created = directory.Create(name, 0644);
  if (!created && created.error().kind == ErrorKind::kExists) {
    CHAINFS_TRY(directory.Remove(name));
    created = directory.Create(name, 0644);
  }
  if (!created) return std::unexpected(std::move(created).error());
  File& file = **created;
  CHAINFS_TRY(file.WriteAt(HostOffset(0), std::as_bytes(std::span(contents))));
  return file.DataSync();
}

}  // namespace

std::vector<FileStat> Directory::StatWay() { return {Stat().value_or(FileStat{})}; }

Status Directory::WriteFileAtomically(const std::string& name, std::string_view contents) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: not a file name within {}", name, path_));
  }
  const std::string temporary = TemporaryName(name);
  Status written = WriteAndSync(*this, temporary, contents);
  if (written) written = Rename(temporary, name);
  if (!written) {
    // Frees the space; if this fails too, the first error is the one to tell.
    [[maybe_unused]] const Status removed = Remove(temporary);
    return written;
  }
  return Sync();
}

Status Directory::RenameNew(const std::string& from, const std::string& to) {
  const Result<FileStat> there = StatAt(to);
  if (there) return FailErrno(EEXIST, fmt::format("{}/{}: exists already", path_, to));
  if (there.error().kind != ErrorKind::kNotFound) return std::unexpected(there.error());
  return Rename(from, to);
}

Result<FileStat> Directory::StatAt(const std::string& name) {
  CHAINFS_ASSIGN(const std::unique_ptr<File> file, Open(name, OpenMode::kReadOnly));
  return file->Stat();
}

Result<NamedLocation> Directory::Locate(const std::string& name, const NameFence& /*fence*/) {
  NamedLocation place{.directory = {}, .leaf = name, .path = name, .missing = false};
  std::string_view rest = name;
  if (rest.starts_with('/')) {
    if (!rest.starts_with(path_ + "/")) return place;
    rest.remove_prefix(path_.size() + 1);
  }
  const size_t slash = rest.rfind('/');
  place.leaf = rest.substr(slash == std::string_view::npos ? 0 : slash + 1);
  const std::string holder(slash == std::string_view::npos ? "." : rest.substr(0, slash));
  CHAINFS_ASSIGN(place.directory, OpenDirectory(holder));
  place.path = fmt::format("{}/{}", place.directory->path(), place.leaf);
  return place;
}

Result<FileId> Directory::Id() {
  CHAINFS_ASSIGN(const FileStat stat, Stat());
  return stat.id;
}

Status Directory::RemoveFile(const std::string& name, const FileId& id) {
  {
    CHAINFS_ASSIGN(const std::unique_ptr<File> file, Open(name, OpenMode::kReadOnly));
    CHAINFS_ASSIGN(const FileStat stat, file->Stat());
    if (stat.id != id) {
      return Fail(ErrorKind::kStale,
                  fmt::format("{}: it is another file by now, so it is not removed", file->path()));
    }
  }
  return Remove(name);
}

Result<std::string> Directory::ReadSmallFile(const std::string& name, size_t limit) {
  CHAINFS_ASSIGN(const std::unique_ptr<File> file, Open(name, OpenMode::kReadOnly));
  CHAINFS_ASSIGN(const uint64_t size, file->Size());
  const auto too_long = [&] {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: longer than {} bytes", file->path(), limit));
  };
  if (size > limit) return too_long();
  // One byte more shows whether it has grown past the limit meanwhile.
  std::string contents(limit < size + 1 ? limit + 1 : size + 1, '\0');
  CHAINFS_ASSIGN(const size_t read,
                 file->ReadAt(HostOffset(0), std::as_writable_bytes(std::span(contents))));
  if (read > limit) return too_long();
  contents.resize(read);
  return contents;
}

}  // namespace chainfs
