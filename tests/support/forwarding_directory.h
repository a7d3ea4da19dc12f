// SPDX-License-Identifier: Apache-2.0
//
// ForwardingDirectory: a directory that passes everything on to another one, for tests that
// override what they want to disturb.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "blocklayer/io/directory.h"

namespace chainfs {

class ForwardingDirectory : public Directory {
 public:
  explicit ForwardingDirectory(std::unique_ptr<Directory> to)
      : Directory(to->path()), to_(std::move(to)) {}

  Result<std::unique_ptr<File>> Open(const std::string& name, OpenMode mode) override {
    return to_->Open(name, mode);
  }
  Result<std::unique_ptr<File>> Create(const std::string& name, mode_t permissions) override {
    return to_->Create(name, permissions);
  }
  Status Rename(const std::string& from, const std::string& to) override {
    return to_->Rename(from, to);
  }
  Status RenameNew(const std::string& from, const std::string& to) override {
    return to_->RenameNew(from, to);
  }
  Status Remove(const std::string& name) override { return to_->Remove(name); }
  Status MakeDirectory(const std::string& name, mode_t permissions) override {
    return to_->MakeDirectory(name, permissions);
  }
  Result<std::unique_ptr<Directory>> OpenDirectory(const std::string& name) override {
    return to_->OpenDirectory(name);
  }
  Result<std::unique_ptr<Directory>> OpenRealDirectory(const std::string& name) override {
    return to_->OpenRealDirectory(name);
  }
  Result<FileId> WhereLeads(const std::string& name) override { return to_->WhereLeads(name); }
  Result<std::vector<DirectoryEntry>> List() override { return to_->List(); }
  Result<FileStat> Stat() override { return to_->Stat(); }
  Status Sync() override { return to_->Sync(); }

 private:
  const std::unique_ptr<Directory> to_;
};

}  // namespace chainfs
