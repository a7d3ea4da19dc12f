// SPDX-License-Identifier: Apache-2.0
//
// The Directory of a MemHost; tests get it from MemHost::OpenRoot().
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/mem_host.h"

namespace chainfs {

class MemDirectory : public Directory {
 public:
  MemDirectory(std::shared_ptr<MemHost> host, std::string name, uint64_t inode);

  Result<std::unique_ptr<File>> Open(const std::string& name, OpenMode mode) override;
  Result<std::unique_ptr<File>> Create(const std::string& name, mode_t permissions) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status RenameNew(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& name) override;
  Status MakeDirectory(const std::string& name, mode_t permissions) override;
  Result<std::unique_ptr<Directory>> OpenDirectory(const std::string& name) override;
  Result<std::unique_ptr<Directory>> OpenRealDirectory(const std::string& name) override {
    return OpenDirectory(name);  // there are no links
  }
  Result<FileId> WhereLeads(const std::string& name) override;
  Result<std::vector<DirectoryEntry>> List() override;
  Result<FileStat> Stat() override;
  Status Sync() override;

 private:
  struct Place {
    uint64_t directory = 0;
    std::string leaf;
  };

  // Relative to the root of the host.
  std::string Full(const std::string& name) const;
  std::unexpected<Error> FailAt(int error, const std::string& name, HostOp op) const;
  // Hook and faults; what landed of a failed change is decided by the caller.
  MemHost::Verdict Ask(HostOp op, const std::string& name) const;
  Result<Place> FindPlace(const std::string& name) REQUIRES(host_->mutex_);
  Status Move(const std::string& from, const std::string& to, bool replace);
  Result<uint64_t> Add(HostOp op, const std::string& name, mode_t permissions);

  const std::shared_ptr<MemHost> host_;
  const std::string name_;
  const uint64_t inode_;
};

}  // namespace chainfs
