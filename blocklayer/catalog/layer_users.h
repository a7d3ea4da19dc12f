// SPDX-License-Identifier: Apache-2.0
//
// LayerUsers: who is built on a layer, or writes it, and what to tell people about that.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "blocklayer/io/file.h"

namespace chainfs {

struct LayerUser {
  std::string name;    // of a chain that is built on the layer, or writes it; or of a file
  std::string advice;  // what to do so that it is shown
};
using LayerUsers = std::map<FileId, LayerUser>;

// "vm1.snap1 is built on it", and what else there is to say.
std::string BuiltOn(const LayerUser& user, std::string_view but = {});

}  // namespace chainfs
