// SPDX-License-Identifier: Apache-2.0
//
// TempDir: a directory of the test's own beneath $TMPDIR or /tmp, removed with all it holds at the
// end. Unmount what was mounted in it first; removal does not.
#pragma once

#include <string>
#include <string_view>

namespace chainfs {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  // path()/name
  std::string operator/(std::string_view name) const;

 private:
  std::string path_;
};

// Plain helpers for files that a test prepares; they abort the test program on failure.
void WriteTextFile(const std::string& path, std::string_view contents);
std::string ReadTextFile(const std::string& path);

}  // namespace chainfs
