// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/shown_names.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <filesystem>
#include <string_view>

#include "blocklayer/io/posix.h"

namespace chainfs {
namespace {

constexpr std::string_view kFormat = "chainfs-names-1 ";
constexpr size_t kMostBytes = 64 << 20;
// Each mount renews what is older than a month, so that only what nobody mounts is forgotten.
constexpr time_t kRenewAfter = time_t{30} * 24 * 3600;
constexpr time_t kForgetAfter = time_t{365} * 24 * 3600;

bool IsOlderThan(Directory& directory, const std::string& file, time_t seconds) {
  const Result<FileStat> stat = directory.StatAt(file);
  return stat && ::time(nullptr) - stat->modified.tv_sec > seconds;
}

// FNV-1a: the same on every host and in every build.
std::string FileFor(std::string_view source) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : source) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

std::string_view TakeLine(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

std::string Format(const std::string& source, const ShownNames::Images& images) {
  std::string text = fmt::format("{}{}\n", kFormat, source);
  for (const auto& [file, inode] : images) text += fmt::format("{} {}\n", inode, file);
  return text;
}

ShownNames::Images Parse(const std::string& source, std::string_view text) {
  if (TakeLine(text) != fmt::format("{}{}", kFormat, source)) return {};
  ShownNames::Images images;
  while (!text.empty()) {
    const std::string_view line = TakeLine(text);
    uint64_t inode = 0;
    const auto [end, failed] = std::from_chars(line.data(), line.data() + line.size(), inode);
    const size_t digits = static_cast<size_t>(end - line.data());
    if (failed != std::errc() || digits + 1 >= line.size() || line[digits] != ' ') return {};
    images.emplace(line.substr(digits + 1), inode);
  }
  return images;
}

void ForgetTheOld(Directory& directory) {
  const auto entries = directory.List();
  if (!entries) return;
  for (const DirectoryEntry& entry : *entries) {
    if (IsOlderThan(directory, entry.name, kForgetAfter)) (void)directory.Remove(entry.name);
  }
}

}  // namespace

ShownNames::Images ShownNames::Load(const std::string& source) const {
  if (directory_.empty()) return {};
  const auto known = kept_.find(source);
  if (known != kept_.end()) return known->second;
  const auto directory = OpenPosixDirectory(directory_);
  if (!directory) return {};
  const Result<std::string> text = (*directory)->ReadSmallFile(FileFor(source), kMostBytes);
  return text ? Parse(source, *text) : Images();
}

void ShownNames::Keep(const std::string& source, const Images& images) {
  if (directory_.empty() || source.find('\n') != std::string::npos) return;
  const auto known = kept_.find(source);
  if (known != kept_.end() && known->second == images) return;
  const std::string file = FileFor(source);
  std::error_code failed;
  if (std::filesystem::create_directories(directory_, failed)) ::chmod(directory_.c_str(), 0700);
  const auto directory = OpenPosixDirectory(directory_);
  if (!directory) return;
  if (Load(source) != images || IsOlderThan(**directory, file, kRenewAfter)) {
    if (!(*directory)->WriteFileAtomically(file, Format(source, images))) return;
    ForgetTheOld(**directory);
  }
  kept_[source] = images;
}

}  // namespace chainfs
