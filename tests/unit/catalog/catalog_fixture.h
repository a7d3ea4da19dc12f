// SPDX-License-Identifier: Apache-2.0
//
// CatalogTest: a directory with images made by qemu-img, and a catalog of it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace chainfs {

class CatalogTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = 1 << 20;

  std::string At(std::string_view name) const { return dir_ / name; }

  static void Qemu(const std::vector<std::string>& arguments) {
    const CommandResult result = RunCommand(arguments);
    ASSERT_TRUE(result.ok()) << result.Describe();
  }
  void MakeQcow2(const std::string& name) {
    Qemu({"qemu-img", "create", "-q", "-f", "qcow2", At(name), "1M"});
  }
  // The backing name goes into the header as it is given. -u: qemu-img need not find it.
  void MakeOverlay(const std::string& name, const std::string& backing,
                   const std::string& format = "qcow2") {
    Qemu({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", format, At(name),
          "1M"});
  }
  void MakeRaw(const std::string& name) { WriteTextFile(At(name), std::string(kSize, 'r')); }

  Status OpenAll(CatalogOptions options = {}) {
    return Open({{.path = dir_.path(), .name = {}, .format = {}}}, std::move(options));
  }
  Status Open(std::vector<SourceSpec> sources, CatalogOptions options = {}) {
    catalog_.reset();
    auto opened = Catalog::Open(std::move(sources), std::move(options));
    if (!opened) return std::unexpected(opened.error());
    catalog_ = *std::move(opened);
    return {};
  }

  // What goes away with the first scan is held by the lists until its end.
  void RescanTwice() {
    ASSERT_TRUE(catalog_->Rescan());
    ASSERT_TRUE(catalog_->Rescan());
  }

  std::vector<std::string> Shown() const {
    std::vector<std::string> names;
    for (const DiskPtr& disk : catalog_->Disks()) names.push_back(disk->name());
    return names;
  }
  // The error of a broken image; an error called "not broken" where it is not.
  Error BrokenError(std::string_view name) const {
    for (const BrokenImage& image : catalog_->Broken()) {
      if (image.name == name) return image.error;
    }
    return Error{.kind = ErrorKind::kIo, .sys_errno = 0, .message = "not broken"};
  }
  std::string NoteOf(std::string_view name) const {
    std::string all;
    for (const ImageNote& note : catalog_->Notes()) {
      if (note.name == name) all += note.text + "\n";
    }
    return all;
  }
  static void Fill(const DiskPtr& disk, uint64_t offset, size_t length, char with) {
    const std::string data(length, with);
    const Status written = disk->Write(GuestOffset(offset), std::as_bytes(std::span(data)));
    ASSERT_TRUE(written) << written.error().message;
  }
  static std::string Peek(const DiskPtr& disk, uint64_t offset, size_t length) {
    std::string data(length, '?');
    const Result<size_t> read =
        disk->Read(GuestOffset(offset), std::as_writable_bytes(std::span(data)));
    if (!read || *read != length) return "cannot read";
    return data;
  }

  TempDir dir_;
  std::unique_ptr<Catalog> catalog_;
};

}  // namespace chainfs
