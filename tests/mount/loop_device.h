// SPDX-License-Identifier: Apache-2.0
//
// A loop device for one test.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/support/command.h"

namespace chainfs {

// A loop device on `file`, detached at the end whatever happens.
class LoopDevice {
 public:
  LoopDevice(const std::string& file, const std::string& direct_io) {
    const CommandResult result = RunCommand(
        {"losetup", "--find", "--show", "--nooverlap", "--direct-io=" + direct_io, file});
    EXPECT_TRUE(result.ok()) << result.Describe();
    device_ = result.out.substr(0, result.out.find('\n'));
  }
  ~LoopDevice() {
    if (!device_.empty()) RunCommand({"losetup", "--detach", device_});
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  const std::string& device() const { return device_; }

 private:
  std::string device_;
};

}  // namespace chainfs
