// SPDX-License-Identifier: Apache-2.0
//
// ScratchSink: a file without a name that stands for the image that a job would fill: it takes what
// that takes, and is written as quickly as the file system can. For measuring.
//
// Threads: as CopySink.
#pragma once

#include <memory>
#include <utility>

#include "jobs/copy/copy_sink.h"

namespace chainfs::jobs {

class ScratchSink final : public CopySink {
 public:
  // `like` outlives this. `file` null: nothing can be written.
  ScratchSink(CopySink& like, std::unique_ptr<File> file) : like_(like), file_(std::move(file)) {}

  File* file() const { return file_.get(); }

  uint64_t cluster_size() const override { return like_.cluster_size(); }
  Result<CopyRange> Taken(uint64_t begin, uint64_t end) override { return like_.Taken(begin, end); }
  Status Write(GuestOffset offset, std::span<const std::byte> data) override {
    return file_->WriteAt(HostOffset(offset.value), data);
  }
  Status Zero(GuestOffset /*offset*/, uint64_t /*length*/) override { return {}; }
  Status Share(GuestOffset offset, uint64_t length, File& file, HostOffset place) override {
    return file_->CopyRangeFrom(file, place, HostOffset(offset.value), length);
  }

 private:
  CopySink& like_;
  const std::unique_ptr<File> file_;
};

}  // namespace chainfs::jobs
