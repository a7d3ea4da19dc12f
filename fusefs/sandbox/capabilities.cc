// SPDX-License-Identifier: Apache-2.0
#include "fusefs/sandbox/capabilities.h"

#include <sys/capability.h>

#include <array>
#include <cerrno>
#include <memory>
#include <type_traits>

namespace chainfs::sandbox {
namespace {

constexpr std::array kKept = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER};

using Capabilities =
    std::unique_ptr<std::remove_pointer_t<cap_t>, decltype([](cap_t held) { ::cap_free(held); })>;

}  // namespace

Status DropCapabilities() {
  const auto failed = [] { return FailErrno(errno, "sandbox: capabilities"); };
  const Capabilities held(::cap_get_proc());
  const Capabilities left(::cap_init());
  if (held == nullptr || left == nullptr) return failed();
  // While we may: what is not in the bounding set, no exec brings back.
  cap_flag_value_t may_bound = CAP_CLEAR;
  ::cap_get_flag(held.get(), CAP_SETPCAP, CAP_EFFECTIVE, &may_bound);
  for (cap_value_t cap = 0; may_bound == CAP_SET && cap < ::cap_max_bits(); ++cap) {
    if (::cap_drop_bound(cap) != 0) return failed();
  }
  for (const cap_value_t cap : kKept) {
    cap_flag_value_t has = CAP_CLEAR;
    ::cap_get_flag(held.get(), cap, CAP_PERMITTED, &has);
    for (const cap_flag_t set : {CAP_PERMITTED, CAP_EFFECTIVE}) {
      if (::cap_set_flag(left.get(), set, 1, &cap, has) != 0) return failed();
    }
  }
  // Ambient ones go with the inheritable ones, of which there are none now.
  if (::cap_set_proc(left.get()) != 0) return failed();
  return {};
}

}  // namespace chainfs::sandbox
