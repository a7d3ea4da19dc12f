// SPDX-License-Identifier: Apache-2.0
#include "tests/support/temp_dir.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace chainfs {
namespace {

[[noreturn]] void Die(const std::string& message) {
  fmt::print(stderr, "test support: {}\n", message);
  std::abort();
}

}  // namespace

TempDir::TempDir() {
  const char* root = ::getenv("TMPDIR");
  path_ = fmt::format("{}/chainfs-test-XXXXXX", root != nullptr && *root != '\0' ? root : "/tmp");
  if (::mkdtemp(path_.data()) == nullptr) Die("cannot make a directory like " + path_);
}

TempDir::~TempDir() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error) fmt::print(stderr, "test support: cannot remove {}: {}\n", path_, error.message());
}

std::string TempDir::operator/(std::string_view name) const {
  return fmt::format("{}/{}", path_, name);
}

void WriteTextFile(const std::string& path, std::string_view contents) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  out.close();
  if (!out) Die("cannot write " + path);
}

std::string ReadTextFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) Die("cannot read " + path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace chainfs
