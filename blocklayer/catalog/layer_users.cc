// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/layer_users.h"

#include <fmt/format.h>

namespace chainfs {

std::string BuiltOn(const LayerUser& user, std::string_view but) {
  return fmt::format("{} is built on it{}{}", user.name, but, user.advice);
}

}  // namespace chainfs
