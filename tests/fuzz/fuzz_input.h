// SPDX-License-Identifier: Apache-2.0
//
// FuzzInput: the bytes that a fuzzer invents, taken from the front as values. What is not there any
// more is zero, so that every input means something.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

namespace chainfs {

class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : left_(std::as_bytes(std::span(data, size))) {}

  bool empty() const { return left_.empty(); }
  // Little-endian.
  template <typename Int>
  Int Take() {
    Int value = 0;
    const std::span<const std::byte> bytes = TakeBytes(sizeof value);
    std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  // 0 .. bound - 1.
  uint64_t Below(uint64_t bound) { return Take<uint16_t>() % bound; }
  std::span<const std::byte> TakeBytes(size_t most) {
    const std::span<const std::byte> taken = left_.first(std::min(most, left_.size()));
    left_ = left_.subspan(taken.size());
    return taken;
  }
  std::span<const std::byte> Rest() { return TakeBytes(left_.size()); }
  std::string_view RestAsText() { return AsText(Rest()); }
  // Up to `separator`, which is dropped, or the end.
  std::string_view TakeText(char separator) {
    const std::string_view text = AsText(left_);
    const size_t end = std::min(text.find(separator), text.size());
    left_ = left_.subspan(std::min(end + 1, left_.size()));
    return text.substr(0, end);
  }

 private:
  static std::string_view AsText(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::span<const std::byte> left_;
};

[[noreturn]] inline void FuzzFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: %s does not hold\n", file, line, condition);
  std::abort();
}

// What must hold whatever the input; a fuzzer keeps the input that breaks it.
#define FUZZ_ASSERT(condition) \
  ((condition) ? void() : chainfs::FuzzFailed(#condition, __FILE__, __LINE__))

}  // namespace chainfs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
