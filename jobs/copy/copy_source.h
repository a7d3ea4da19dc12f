// SPDX-License-Identifier: Apache-2.0
//
// CopySource: layers on one another that a job copies from: where their bytes lie, and reading
// them.
//
// Threads: all methods, any thread. A view belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "blocklayer/chain/layer_stack.h"

namespace chainfs::jobs {

class CopySource {
 public:
  // The source as it is from EnterReading on: one list of layers, whose places stay valid while the
  // view lives. It keeps those places from being given away, so it lives for one chunk, not longer.
  class View {
   public:
    virtual ~View() = default;
    View() = default;
    View(const View&) = delete;
    View& operator=(const View&) = delete;

    // The extent that begins at `offset`, at most `length` (> 0) bytes long; layer 0 is the
    // uppermost one. Past the end of the source: kZero of layer 0.
    virtual Result<StackExtent> Map(GuestOffset offset, uint64_t length) const = 0;
    // Fills `out`; zeros past the end.
    virtual Status Read(GuestOffset offset, std::span<std::byte> out) const = 0;
    // The file in which the kernel finds what Map named with these; null where there is none.
    virtual File* HostFile(uint32_t layer, uint16_t source) const = 0;
  };

  virtual ~CopySource() = default;
  CopySource() = default;
  CopySource(const CopySource&) = delete;
  CopySource& operator=(const CopySource&) = delete;

  virtual uint64_t size() const = 0;  // bytes
  virtual std::unique_ptr<View> EnterReading() const = 0;
};

}  // namespace chainfs::jobs
